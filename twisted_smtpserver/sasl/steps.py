"""
What a SASL mechanism can say: a challenge, a question to the code that runs it, success, failure.

A mechanism does no I/O. :meth:`~twisted_smtpserver.sasl.mechanism.Mechanism.step` gets what the
client sent and returns one of these values; the code that runs the exchange does what the value
says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from twisted_smtpserver.sasl.credentials import Credentials


class Reason(Enum):
    """Why an exchange failed."""

    #: The response isn't what the mechanism asks for: 501 (RFC 4954 §4).
    MALFORMED = "malformed"
    #: The response is well formed and proves nothing: 535 (RFC 4954 §6).
    CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True)
class Challenge:
    """
    The client is to be sent a challenge, and will respond (RFC 4422 §3.3).

    :ivar data: the octets; over SMTP they travel as base64 behind 334 (RFC 4954 §4). Empty for
        "go ahead".
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class ScramQuery:
    """
    Whose stored secret a SCRAM exchange needs.

    :ivar username: the user name, prepared with SASLprep as RFC 5802 §5.1 demands.
    :ivar mechanism: the mechanism's name; both variants of SCRAM-SHA-256 use the same secret.
    """

    username: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class Ask:
    """
    The mechanism needs something that is stored: find it, then call
    :meth:`~twisted_smtpserver.sasl.mechanism.Mechanism.answer`, which returns the next step.

    :ivar query: what is needed.
    """

    query: ScramQuery


@dataclass(frozen=True, slots=True)
class Done:
    """
    The exchange is complete.

    :ivar credentials: what the client presented. Unless they are
        :attr:`~twisted_smtpserver.sasl.credentials.Credentials.verified`, nobody checked them yet.
    :ivar finalData: what the mechanism told the client along with success; ``None`` for mechanisms
        that tell nothing. SMTP has no place for data in a 235, so SCRAM sends it in a
        :class:`Challenge` before (RFC 4954 §4): it is here to be looked at, not to be sent again.
    """

    credentials: Credentials
    finalData: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """
    The exchange is over without success; every further step fails, too.

    :ivar reason: why.
    """

    reason: Reason


#: Whatever :meth:`~twisted_smtpserver.sasl.mechanism.Mechanism.step` may return.
Step: TypeAlias = Challenge | Ask | Done | Failed

MALFORMED = Failed(Reason.MALFORMED)
REFUSED = Failed(Reason.CREDENTIALS)
