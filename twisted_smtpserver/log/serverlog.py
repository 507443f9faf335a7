"""
Structured events for the log, one method for each.

Everything that a peer said is escaped here before it goes into an event, so that no observer can be
fooled by it. Secrets never come here.
"""

from __future__ import annotations

import secrets
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.interfaces import IMetrics
from twisted_smtpserver.replies import BARE_NEWLINE, Reply, printable
from twisted_smtpserver.wire.ip import Networks
from twisted_smtpserver.wire.text import escape

if TYPE_CHECKING:
    from twisted_smtpserver.options import Options
    from twisted_smtpserver.session import Envelope, Session

_BARE_NEWLINE_HINT = ' (bareNewlines="normalize", --bare-newlines=normalize, would take it)'

#: After this many refused commands of a session, refused senders and recipients aren't logged one
#: by one.
MAX_LOGGED_REFUSALS = 100

#: The event of a message names this many recipients.
MAX_LOGGED_RECIPIENTS: Final = 100

_INFO: Final = LogLevel.info  # a lookup in an enumeration, for each message otherwise

# Longer names are cut off, in characters.
_LONG: Final = 256


class ServerLog:
    """
    Logs what happens to a server, and counts it.

    :param logger: where to; ``None`` for none at all.
    :param ignored: networks whose sessions aren't logged, but for bugs. They are counted.
    :param metrics: what counts; ``None`` if nothing does.
    """

    def __init__(
        self, logger: Logger | None, ignored: Networks, metrics: IMetrics | None = None
    ) -> None:
        self._logger = logger
        self._metrics = metrics
        self._ignored = ignored
        self._ignoresSome = bool(ignored)

    @classmethod
    def fromOptions(cls, options: Options) -> ServerLog:
        """
        :param options: the server's options, of which ``logger``, ``ignoredHosts`` and ``metrics``
            count.
        :raises ConfigurationError: if ``logger`` is none of Twisted's.
        """
        logger = options.logger
        if logger is None or logger is True:
            logger = Logger(namespace="twisted_smtpserver")
        elif logger is not False and not callable(getattr(logger, "failure", None)):
            # The standard library's loggers can't take structured events.
            raise ConfigurationError(f"logger: {logger!r} is not a twisted.logger.Logger")
        return cls(logger or None, options.ignoredNetworks, options.metrics)

    def _loggerFor(self, session: Session) -> Logger | None:
        """Where a session is logged; ``None`` if it isn't."""
        # Not the proxy's, of which the address is only where it connects for itself.
        isIgnored = self._ignoresSome and session.remoteAddress in self._ignored
        return None if isIgnored else self._logger

    def _info(self, event: dict[str, Any]) -> None:
        """
        Emit an event, for those of each message and session: in half the time that Logger.info()
        takes, most of which it spends on making sure that "info" is a level. Their text is made
        already, because the observers that write it take half of their time to do that.
        """
        logger = self._logger
        if type(logger) is not Logger:
            assert logger is not None
            logger.info("{text}", **event)
            return
        event["log_logger"] = logger
        event["log_level"] = _INFO
        event["log_namespace"] = logger.namespace
        event["log_source"] = logger.source
        event["log_format"] = "{text}"
        event["log_time"] = time.time()
        logger.observer(event)

    def messageEnded(
        self, session: Session, envelope: Envelope, octets: int, replies: list[Reply]
    ) -> None:
        """
        A message came in whole and was answered.

        :param octets: the length of its content.
        :param replies: the answer, or one for each recipient.
        """
        if self._metrics is not None:
            _countMessage(self._metrics, envelope, octets, replies)
        if self._logger is None or (self._ignoresSome and self._loggerFor(session) is None):
            return
        sender = "" if envelope.mailFrom is None else escape(envelope.mailFrom.address)
        (recipients, shown), count = _recipients(envelope), len(envelope.rcptTo)
        sessionId, envelopeId = session.id, envelope.id
        whose, how = client(session), session.transmissionType
        code = replies[0].code
        if len(replies) == 1:
            reply = _said(code, replies[0].lines)
        else:
            reply = " / ".join(dict.fromkeys([_said(each.code, each.lines) for each in replies]))
        self._info(
            {
                "event": "message",
                "session": sessionId,
                "envelope": envelopeId,
                "sender": sender,
                "recipients": recipients,
                "recipientCount": count,
                "client": whose,
                "transmissionType": how,
                "octets": octets,
                "reply": reply,
                "code": code,
                "text": f"{sessionId}: message {envelopeId} from <{sender}> to {shown},"
                f" client {whose} ({how}), {octets} octets: {reply}",
            },
        )

    def sessionEnded(self, session: Session, why: str, seconds: float) -> None:
        """
        A connection is gone: the summary.

        :param why: who closed it, and what for.
        :param seconds: how long it lasted.
        """
        if self._metrics is not None:
            self._metrics.disconnected(seconds)
        if self._loggerFor(session) is None:
            return
        whose, hello = client(session), escape(session.hostNameAppearsAs or "-")
        tls = session.tls.version if session.tls else "yes" if session.secure else "no"
        user, why = _user(session.user), escape(why)
        messages, octets, errors = session.messages, session.octets, session.errors
        error = escape(session.error) if session.error else ""
        last = f' last="{error}"' if error not in ("", why) else ""
        took = f"{seconds:.1f}"  # by itself: a format within makes mypyc format every piece
        self._info(
            {
                "event": "session",
                "session": session.id,
                "client": whose,
                "hello": hello,
                "tls": tls,
                "user": user,
                "messages": messages,
                "octets": octets,
                "errors": errors,
                "error": error,
                "seconds": seconds,
                "why": why,
                "text": f"{session.id}: {whose} hello={hello} tls={tls} user={user}"
                f" messages={messages} octets={octets} errors={errors}{last}"
                f" seconds={took}: {why}",
            },
        )

    def rejected(self, session: Session, command: str, address: Any, reply: Reply) -> None:
        """
        A hook refused a sender or a recipient. The first ones of a session are logged; the
        session's own line counts the others.

        :param command: MAIL or RCPT.
        :param address: the sender's or recipient's :class:`~twisted_smtpserver.session.Address`.
        """
        logger = self._loggerFor(session)
        if logger is None or session.errors >= MAX_LOGGED_REFUSALS:
            return
        sender = session.envelope.mailFrom
        origin = "" if sender is None else ", sender <{sender}>,"
        logger.info(
            "{session}: {command} <{address}>" + origin + " refused, client {client}: {reply}",
            event="rejected",
            session=session.id,
            command=command,
            address=escape(address.address),
            sender="" if sender is None else escape(sender.address),
            client=client(session),
            reply=_said(reply.code, reply.lines),
            code=reply.code,
        )

    def hookTimedOut(self, session: Session, hook: str) -> None:
        """
        A hook took longer than ``handlerTimeout``.

        :param hook: its name.
        """
        if self._metrics is not None:
            self._metrics.hookTimedOut(hook)
        logger = self._loggerFor(session)
        if logger is None:
            return
        logger.warn(
            "{session}: {hook} took longer than handlerTimeout, client {client}",
            event="hookTimedOut",
            session=session.id,
            hook=hook,
            client=client(session),
        )

    def loginFailed(self, session: Session, method: str, username: str) -> None:
        """
        A login was refused.

        :param method: the mechanism.
        :param username: who it was said to be; empty if the client didn't get so far.
        """
        if self._metrics is not None:
            self._metrics.loginEnded("failure")
        logger = self._loggerFor(session)
        if logger is None:
            return
        logger.warn(
            "{session}: login as <{username}> by {method} failed, client {client}",
            event="loginFailed",
            session=session.id,
            method=method,
            client=client(session),
            username=escape(username),
        )

    def replyLost(self, session: Session, envelope: Envelope, replies: list[Reply]) -> None:
        """A message was processed, but its client left before the reply."""
        if self._metrics is not None:
            self._metrics.replyLost()
        logger = self._loggerFor(session)
        if logger is None:
            return
        logger.warn(
            "{session}: message {envelope}: the client {client} left before the reply {reply}",
            event="replyLost",
            session=session.id,
            envelope=envelope.id,
            client=client(session),
            reply=replies[0].code,
        )

    def oversight(self, text: str) -> None:
        """
        A setting is valid, but hardly intended.

        :param text: what, and what to do.
        """
        if self._logger is not None:
            self._logger.warn("{text}", event="oversight", text=text)

    def refusedConnection(self, address: str, limit: str, value: str = "") -> None:
        """
        A connection was closed before it got a session.

        :param address: the peer's address.
        :param limit: the option that is the reason.
        :param value: what the log says after it.
        """
        if self._metrics is not None:
            self._metrics.connectionRefused(limit)
        if self._logger is not None and address not in self._ignored:
            self._logger.info(
                "connection from {client} refused: {why}",
                event="refused",
                client=escape(address),
                why=f"{limit} reached{value}",
            )

    def incident(
        self, failure: Failure, session: Session | None, hook: str = "", advice: str = ""
    ) -> str:
        """
        Something failed that shouldn't have.

        :param hook: its name, if that is what failed.
        :param advice: what to do about it, if that is known.
        :returns: the incident's id, which is all that the client learns.
        """
        identifier = secrets.token_hex(4)
        if self._metrics is not None:
            self._metrics.incident(hook)
        if self._logger is not None:
            self._logger.failure(
                "{session}: incident {incident}: {hook} failed (client {client}){advice}",
                failure,
                event="incident",
                session=session.id if session else "-",
                incident=identifier,
                hook=hook or "a handler",
                client=client(session) if session else "-",
                advice=f": {advice}" if advice else "",
            )
        return identifier


def _countMessage(metrics: IMetrics, envelope: Envelope, octets: int, replies: list[Reply]) -> None:
    codes = [reply.code for reply in replies]
    accepted = sum(code < 400 for code in codes)
    outcome = "accepted" if accepted else "deferred" if min(codes) < 500 else "refused"
    # One reply is for all.
    recipients = len(envelope.rcptTo) if len(codes) == 1 else accepted
    metrics.messageEnded(outcome, octets, recipients)


def client(session: Session) -> str:
    """A session's client for the log: name, address and port."""
    address = session.remoteAddress
    if address is None:
        return "unix" if session.peerAddress is None else "unknown"  # so said XCLIENT
    return _client(session.clientHostname, address, session.remotePort)


@lru_cache(maxsize=256)
def _client(name: str, address: str, port: int | None) -> str:
    return f"{escape(name) or 'unknown'} [{address}]:{port}"


def _recipients(envelope: Envelope) -> tuple[list[str], str]:
    """The first recipients, those that need it escaped; and how a line shows all of them."""
    names = [each.address for each in envelope.rcptTo[:MAX_LOGGED_RECIPIENTS]]
    # Mostly none needs it, which one look at all of them tells.
    together = "".join(names)
    isShort = len(together) <= _LONG or max(map(len, names)) <= _LONG
    if not isShort or not together.isprintable() or "\\" in together:
        names = [escape(name) for name in names]
    if not names:
        return names, "nobody"
    others = len(envelope.rcptTo) - 1
    return names, f"<{names[0]}> and {others} more" if others else f"<{names[0]}>"


@lru_cache(maxsize=256)  # the same few, again and again; not by the reply, whose hash takes longer
def _said(code: int, lines: tuple[str, ...]) -> str:
    said = f"{code} {escape(printable(' '.join(lines)))}"
    # The reply says what the client can do; this is what the operator can do.
    return said + _BARE_NEWLINE_HINT if lines == BARE_NEWLINE.lines else said


def _user(user: object) -> str:
    # Any object may stand for a user, and its repr may hold anything: name its type only.
    if user is None:
        return "-"
    if isinstance(user, (str, bytes)):
        return escape(user)
    return type(user).__name__
