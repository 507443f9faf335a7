"""One message on its way: its octets, its stream, its pace, its files."""
