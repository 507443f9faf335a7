"""
Files that the operator writes, and the server looks things up in: who receives mail, and who may
send as whom. A file that has changed is read again.
"""

from twisted_smtpserver.tables.recipients import Recipients
from twisted_smtpserver.tables.senders import Senders

__all__ = ["Recipients", "Senders"]
