"""
The mail server's side of the milter protocol.
"""

from twisted_smtpserver.filters.milter.filter import Milter

__all__ = ["Milter"]
