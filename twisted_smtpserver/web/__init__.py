"""What a web server of ours has in common with others: it is bounded."""
