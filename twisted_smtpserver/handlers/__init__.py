"""
Handlers to use, to subclass and to copy.
"""

from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.handlers.chain import Chain
from twisted_smtpserver.handlers.cred import CredHandler
from twisted_smtpserver.handlers.discard import Discard
from twisted_smtpserver.handlers.functions import fromFunctions
from twisted_smtpserver.handlers.maildir import Maildir

__all__ = ["Chain", "CredHandler", "Discard", "Maildir", "SMTPHandler", "fromFunctions"]
