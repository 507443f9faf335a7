"""What inspects a message before it is stored."""
