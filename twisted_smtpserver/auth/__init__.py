"""Logging in: the SASL exchange over SMTP, what it presents, what failed."""
