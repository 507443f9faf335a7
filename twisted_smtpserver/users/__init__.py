"""
Who may log in: by a file of hashed passwords, or by asking Dovecot.
"""

from twisted_smtpserver.users.dovecot import DovecotAuth
from twisted_smtpserver.users.htpasswd import Htpasswd

__all__ = ["DovecotAuth", "Htpasswd"]
