"""
Files that the operator writes and the server reads: who receives mail, and who may send as whom. A
file that has changed is read again.
"""

from twisted_smtpserver.tables.recipients import Recipients
from twisted_smtpserver.tables.senders import Senders

__all__ = ["Recipients", "Senders"]
