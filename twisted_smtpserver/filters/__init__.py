"""
Filters inspect a message before it is stored: :class:`Filtered`, and filters for it.
"""

from twisted_smtpserver.filters.attachments import BlockAttachments
from twisted_smtpserver.filters.authentication import RequireAuthentication
from twisted_smtpserver.filters.fields import AddFields, RemoveFields, RequireFields
from twisted_smtpserver.filters.filtered import Filtered
from twisted_smtpserver.filters.header import Field, Header, makeField
from twisted_smtpserver.filters.interfaces import IDataCommandFilter, IMessageFilter, ITimedFilter
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.filters.milter import Milter
from twisted_smtpserver.filters.spool import Spool

__all__ = [
    "AddFields",
    "BlockAttachments",
    "Field",
    "Filtered",
    "Header",
    "IDataCommandFilter",
    "IMessageFilter",
    "ITimedFilter",
    "Message",
    "Milter",
    "RemoveFields",
    "RequireAuthentication",
    "RequireFields",
    "Spool",
    "makeField",
]
