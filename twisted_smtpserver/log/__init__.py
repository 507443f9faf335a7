"""What the log is told, and how it is written."""
