"""What makes parts of the documentation that are kept with it."""
