"""One connection: octets in, lines cut, replies out, and how it begins and ends."""
