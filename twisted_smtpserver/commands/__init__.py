"""The commands of RFC 5321, and what each has to pass before it runs."""
