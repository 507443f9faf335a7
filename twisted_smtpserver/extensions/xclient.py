"""
XCLIENT, as Postfix documents it: a trusted proxy says who its client is, and the session starts
over as that client's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted_smtpserver.auth import askForLogin
from twisted_smtpserver.errors import AuthenticationFailed
from twisted_smtpserver.extensions.base import Extension, Verb
from twisted_smtpserver.networks import Networks
from twisted_smtpserver.options import Options
from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.resolver import addressLiteral
from twisted_smtpserver.sasl import Credentials
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.xclient import XCLIENT_ATTRIBUTES, Unavailable, parseXClient

if TYPE_CHECKING:
    from twisted_smtpserver.dialogue import Dialogue

#: What Postfix answers to a peer that it doesn't trust.
NOT_TRUSTED = Reply(550, "5.7.0", "Insufficient authorization")

#: What a client is called that can't be named; Postfix's word.
UNKNOWN = "unknown"
