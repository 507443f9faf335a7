"""The tests: run by pytest, and by ``python -m twisted.trial tests``."""
