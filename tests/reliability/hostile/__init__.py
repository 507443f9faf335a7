"""Attacks on ``twistd smtpserver``; see ``tests/reliability/README.rst``."""
