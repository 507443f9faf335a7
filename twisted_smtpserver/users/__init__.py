"""
Users: from a file of hashed passwords, or from Dovecot.
"""

from twisted_smtpserver.users.dovecot import DovecotAuth
from twisted_smtpserver.users.htpasswd import Htpasswd

__all__ = ["DovecotAuth", "Htpasswd"]
