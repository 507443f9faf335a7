"""Real clients: other people's programs."""
