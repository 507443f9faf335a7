"""
The exceptions a handler raises or meets.

::

    SMTPServerError
     +-- Rejection                 refuse what the client asked for, with a code and a text
     |    +-- AuthenticationFailed (535 5.7.8) refuse a login
     |    +-- MessageTooLarge      (552 5.3.4) raised by the message stream over the size limit
     |    +-- MessageTooComplex    (554 5.6.0) raised by ``message()`` beyond its bounds
     |    +-- BareNewline          (550 5.6.0) raised by the message stream, see ``bareNewlines``
     +-- MessageIncomplete         raised by the message stream: the rest will never come
     |    +-- ConnectionLost       ... because the client is gone
     |    +-- TransactionReset     ... because the client gave the transaction up
     +-- ConsumerStopped           from ``pipeTo``: the consumer wanted no more
     +-- ConfigurationError        options or handlers that make no sense (a ValueError, too)

Any other exception that a handler lets escape is a bug: the client gets 451 with an incident id,
the log gets the traceback with the same id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")


class SMTPServerError(Exception):
    """The root of this library's exceptions."""


class ConfigurationError(SMTPServerError, ValueError):
    """The server was asked to be something it can't be; the text says what to change."""


def checkCode(code: int | None, enhanced: str | None, allowed: str = "45") -> None:
    """
    Refuse a reply code that a handler must not send.

    :param code: the reply code, of the form ``[45][0-5][0-9]`` for a refusal (RFC 5321 §4.2);
        ``None`` if it is left to the stage.
    :param enhanced: the enhanced status code, whose class must be the code's (RFC 2034 §4).
    :param allowed: the first digits that make sense here.
    :raises ValueError: this is a programming error, so the client gets 451 for it.
    """
    isNumber = type(code) is int
    if code is not None and not (isNumber and re.match(f"[{allowed}][0-5][0-9]\\Z", str(code))):
        raise ValueError(f"{code!r} is not a reply code, a number [{allowed}][0-5][0-9]")
    if enhanced is None:
        return
    if not _ENHANCED.match(enhanced) or enhanced[0] not in allowed:
        raise ValueError(f"{enhanced!r} is not an enhanced status code such as '{allowed[0]}.7.1'")
    if code is not None and enhanced[0] != str(code)[0]:
        raise ValueError(f"the class of {enhanced} is not that of {code} (RFC 2034 section 4)")


class Rejection(SMTPServerError):
    """
    Raised, or for a recipient of LMTP returned, by a handler to refuse what the client asked for.

    :param text: the text of the reply. Controls become spaces; long texts are wrapped.
    :param code: ``[45][0-5][0-9]``; by default the one of the hook (550 for a recipient, …).
        421 closes the connection.
    :param enhanced: the enhanced status code (RFC 3463), ``"5.1.1"`` for example; its class must be
        the first digit of the code. Left out, one that fits the code is taken.
    :param policy: the name of the policy that refuses, for those who count refusals.
    :raises ValueError: if the code or the enhanced code has a wrong form.
    """

    #: What a subclass's constructor fills in where it was given nothing; ``None``: the hook does.
    defaultReply: Reply | None = None

    def __init__(
        self,
        text: str = "",
        code: int | None = None,
        enhanced: str | None = None,
        *,
        policy: str = "",
    ):
        if not isinstance(text, str):
            raise ValueError(f"the text of a Rejection comes first: Rejection({code!r}, {text!r})")
        checkCode(code, enhanced)
        self.policy = policy
        self.text = text
        self.code = code
        self.enhanced = enhanced
        if self.defaultReply is not None:
            reply = self.toReply(self.defaultReply)
            self.text = text or reply.lines[0]
            self.code, self.enhanced = reply.code, reply.enhanced
        super().__init__(self.text)

    def toReply(self, stage: Reply, isSender: bool = False) -> Reply:
        """
        The reply for the client.

        :param stage: the refusal that the hook's stage has by default; it fills in what this
            rejection leaves open.
        :param isSender: whether it answers MAIL.
        """
        code = self.code
        if code is None:
            # Rejection("later", enhanced="4.2.0") at a 550 stage must not become "550 4.2.0".
            fits = self.enhanced is None or self.enhanced[0] == str(stage.code)[0]
            code = stage.code if fits else int(f"{self.enhanced[0]}50")  # type: ignore[index]
        enhanced = self.enhanced
        if enhanced is None:
            enhanced = (
                stage.enhanced if code == stage.code else replies.defaultEnhanced(code, isSender)
            )
        text = self.text or stage.lines[0]
        if (code, enhanced, (text,)) == (stage.code, stage.enhanced, stage.lines):
            return stage  # encoded already
        return Reply(code, enhanced, text)


class AuthenticationFailed(Rejection):
    """
    Raised by ``onAuth`` to refuse a login (RFC 4954 §6).

    :param text: the text of the reply; by default one that doesn't say what was wrong.
    :param code: by default 535.
    :param data: XOAUTH2's and OAUTHBEARER's error challenge, for example
        ``{"status": "401", "schemes": "bearer", "scope": "mail"}`` (RFC 7628 §3.2.2).
    :param enhanced: by default 5.7.8.
    :raises ValueError: if the code or the enhanced code has a wrong form.
    """

    defaultReply = replies.AUTH_FAILED

    def __init__(
        self,
        text: str = "",
        code: int | None = None,
        data: Mapping[str, str] | None = None,
        enhanced: str | None = None,
    ):
        super().__init__(text, code, enhanced)
        self.data = dict(data) if data is not None else None
        if not all(isinstance(text, str) for pair in (self.data or {}).items() for text in pair):
            raise ValueError("data must map text to text")


class MessageTooLarge(Rejection):
    """The message is larger than the ``size`` option, or than the limit of the read (RFC 1870)."""

    defaultReply = replies.TOO_LARGE


class MessageTooComplex(Rejection):
    """
    The message has more header fields, parameters, parts, … than ``stream.message()`` parses.

    :param what: the bound that was exceeded, in words for the client.
    """

    defaultReply = replies.TOO_COMPLEX

    def __init__(self, what: str = "") -> None:
        super().__init__(f"{replies.TOO_COMPLEX.text}: {what}" if what else "")


class BareNewline(Rejection):
    """The message has a CR or LF that is no part of a CRLF (RFC 5321 §2.3.8)."""

    defaultReply = replies.BARE_NEWLINE


class MessageIncomplete(SMTPServerError):
    """The message stream ended before the message did."""


class ConnectionLost(MessageIncomplete, ConnectionError):
    """The client went away in the middle of the message."""


class TransactionReset(MessageIncomplete):
    """The client gave the transaction up between two chunks (RSET, EHLO; RFC 3030 §2)."""


class ConsumerStopped(SMTPServerError):
    """The consumer that a message was piped to stopped before the message ended."""


def asRejection(error: BaseException) -> Rejection | None:
    """
    Tell a refusal from a bug.

    :param error: what a handler raised.
    :returns: the error itself if it is a :class:`Rejection`; one made from its text and
        ``responseCode`` if it has such an integer attribute; else ``None``.
    :raises ValueError: if ``responseCode`` is no code for a refusal.
    """
    if isinstance(error, Rejection):
        return error
    code = getattr(error, "responseCode", None)
    if not isinstance(code, int) or isinstance(code, bool):
        return None
    return Rejection(str(error), code=code)
