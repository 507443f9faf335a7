"""Of the servers that run in threads."""
