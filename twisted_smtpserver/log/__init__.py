"""What is logged, and how the log is written."""
