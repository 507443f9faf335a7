"""The extensions that every server has: PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver import replies
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.extensions.base import (
    Extension,
    ParameterParser,
    constant,
    flag,
    forParameters,
)
from twisted_smtpserver.options import Options
from twisted_smtpserver.session import Address, Envelope, Session

# RFC 1870 §4: 1*20DIGIT.
_SIZE_DIGITS = 20

_MAX_LIMIT = 999_999  # RFC 9422 §4.2: six digits


class Pipelining(Extension):
    """RFC 2920: nothing to do but to keep order, which the protocol does anyway."""

    keyword = "PIPELINING"


class EnhancedStatusCodes(Extension):
    """RFC 2034: the codes are in the replies themselves."""

    keyword = "ENHANCEDSTATUSCODES"


class Size(Extension):
    """
    RFC 1870: message size declaration.

    :param limit: the largest message in octets; 0 for no limit.
    :param hidden: don't tell the limit.
    """

    keyword = "SIZE"

    def __init__(self, limit: int = 0, hidden: bool = False) -> None:
        self._limit = limit
        self._advertised = str(limit) if limit and not hidden else ""
        self.mailParameters: dict[str, ParameterParser] = {"SIZE": self._parse}

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> Size:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        return cls(options.size, options.hideSize)

    @constant
    def advertise(self, session: Session) -> str | None:
        """The limit, unless it is hidden or there is none."""
        return self._advertised

    def _parse(self, value: str | bool) -> int:
        if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
            raise Rejection("SIZE needs a number")
        if len(value) > _SIZE_DIGITS:
            raise Rejection("SIZE has too many digits")
        size = int(value)
        if self._limit and size > self._limit:
            raise Rejection(code=552, text=replies.TOO_LARGE.lines[0], enhanced="5.3.4")
        return size


def parseBody(allowed: frozenset[str]) -> ParameterParser:
    """
    The parser of MAIL's ``BODY=`` (RFC 6152 §2, RFC 3030 §3).

    :param allowed: the values that the server supports, in upper case.
    """

    def parse(value: str | bool) -> str:
        word = value.upper() if isinstance(value, str) else ""
        if word not in allowed:
            raise Rejection("BODY must be one of " + ", ".join(sorted(allowed)))
        return word

    return parse


class EightBitMime(Extension):
    """RFC 6152: 8-bit text in messages."""

    keyword = "8BITMIME"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType(
        {"BODY": parseBody(frozenset({"7BIT", "8BITMIME"}))}
    )

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.bodyType`` is what MAIL said."""
        envelope.bodyType = address.values.get("BODY", "7BIT")


class SmtpUtf8(Extension):
    """RFC 6531: addresses and headers in UTF-8."""

    keyword = "SMTPUTF8"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType({"SMTPUTF8": flag})

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """``envelope.smtpUtf8`` is whether MAIL said so."""
        envelope.smtpUtf8 = "SMTPUTF8" in address.values


class Limits(Extension):
    """
    RFC 9422: limits, which a client would otherwise learn only from refusals.

    :param maxRecipients: recipients of one message.
    :param maxMessages: MAIL commands of one session. One that is as far away as the default isn't
        worth a word in the answer to each EHLO.
    """

    keyword = "LIMITS"

    def __init__(self, maxRecipients: int, maxMessages: int = Options.maxMessages) -> None:
        self._advertised = f"RCPTMAX={min(maxRecipients, _MAX_LIMIT)}"
        if maxMessages < Options.maxMessages:
            self._advertised += f" MAILMAX={maxMessages}"

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> Limits:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        return cls(options.maxRecipients, options.maxMessages)

    @constant
    def advertise(self, session: Session) -> str | None:
        """The limits that EHLO announces (RFC 9422)."""
        return self._advertised
