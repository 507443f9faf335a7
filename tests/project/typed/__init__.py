"""What type checkers must know; see handlers.py."""
