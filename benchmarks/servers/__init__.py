"""The servers that are measured, each a program of its own with the same, smallest handler."""
