"""Logins checked by Dovecot, and with it by PAM, LDAP, SQL and whatever else it asks."""

from twisted_smtpserver.users.dovecot.handler import DovecotAuth

__all__ = ["DovecotAuth"]
