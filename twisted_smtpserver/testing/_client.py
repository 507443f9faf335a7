"""A client in memory, which tests control line by line."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import partial
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.threads import threadsWork
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import MAX_CHALLENGE_LINE, MAX_REPLY_LINE
from twisted_smtpserver.session import Session
from twisted_smtpserver.testing._outgoing import (
    checkLines,
    recipientsOf,
    rendered,
    senderOf,
)
from twisted_smtpserver.testing._transport import MemoryTransport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from twisted_smtpserver.keywords import Keywords

_LINE = re.compile(rb"([2-5][0-9][0-9])([- ])(?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) )?([^\r\n]*)\r\n")

#: The hook that each command calls.
_HOOKS = {
    "HELO": "onHello",
    "EHLO": "onHello",
    "LHLO": "onHello",
    "AUTH": "onAuth",
    "MAIL": "onMailFrom",
    "RCPT": "onRcptTo",
    "DATA": "onData",
}


def runInline(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Deferred[Any]:
    """
    Replace :func:`twisted.internet.threads.deferToThread`, without a thread.

    :param function: called at once.
    :returns: a Deferred that has fired with its result.
    """
    return maybeDeferred(function, *arguments, **keywords)


def makeFactory(
    handler: object = None,
    options: Options | None = None,
    reactor: Any = None,
    **keywords: Unpack[Keywords],
) -> SMTPServerFactory:
    """
    Make a factory for tests. Its time is a :class:`Clock`; it uses no threads.

    :param handler: as for :class:`~twisted_smtpserver.factory.SMTPServerFactory`.
    :param options: as for that class.
    :param reactor: as for that class, but a new :class:`Clock` by default.
    :param keywords: as for that class. The name is ``mx.test`` unless given.
    """
    if options is None:
        keywords.setdefault("name", "mx.test")
    factory = SMTPServerFactory(handler, options, reactor or Clock(), **keywords)
    factory.runInThread = runInline
    factory.runInSlices = partial(runInline, finish)
    return factory


def connect(
    handler: object = None,
    peer: IAddress | None = None,
    transport: Any = None,
    options: Options | None = None,
    reactor: Any = None,
    **keywords: Unpack[Keywords],
) -> Client:
    """
    Connect a client to a handler.

    :param handler: a handler, or a whole :class:`SMTPServerFactory`.
    :param peer: the client's address; by default 192.0.2.1, port 40000.
    :param transport: a :class:`MemoryTransport` of your own.
    :param options: as for :class:`~twisted_smtpserver.factory.SMTPServerFactory`.
    :param reactor: as for that class, but a new :class:`Clock` by default.
    :param keywords: options and hooks, unless a factory is given.
    :returns: the client. Its :attr:`Client.greeting` is there, unless the handler delays it.
    """
    if isinstance(handler, SMTPServerFactory):
        given = {"options": options, "reactor": reactor, **keywords}
        names = [name for name, value in given.items() if value is not None]
        if names:
            raise TypeError(f"the factory has its options already: {', '.join(names)}")
        factory = handler
    else:
        factory = makeFactory(handler, options, reactor, **keywords)
    return Client(factory, transport or MemoryTransport(peer))


@dataclass(frozen=True)
class Answer:
    """
    A reply as a client sees it.

    :ivar code: the reply code.
    :ivar enhanced: the enhanced status code, or ``None``.
    :ivar lines: the text of each line, without codes.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The texts of all lines, joined by spaces."""
        return " ".join(self.lines)


class Client:
    """
    A client in memory.

    :param factory: the server.
    :param transport: the connection.
    :ivar clock: the server's time.
    :ivar protocol: the server's side.
    :ivar transport: the connection.
    """

    def __init__(self, factory: SMTPServerFactory, transport: MemoryTransport) -> None:
        self.factory = factory
        self.clock: Any = factory.clock
        self.transport = transport
        self.protocol: Any = factory.buildProtocol(transport.getPeer())
        transport.protocol = self.protocol
        transport.clock = factory.clock
        self._received = b""
        self._tls: SSL.Connection | None = None
        self._isLost = False
        self.protocol.makeConnection(transport)
        self.settle()
        self.greeting: Answer | None = self.answer()

    @property
    def session(self) -> Session:
        """The server's session."""
        session: Session = self.protocol.session
        return session

    @property
    def isClosed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.transport.isClosed

    # -- Saying -----------------------------------------------------------------------------------

    def send(self, octets: bytes) -> None:
        """
        Send octets in one segment.

        :param octets: the octets; they are sent even if the server has paused reading.
        """
        if self.transport.isClosed:
            return
        if self._tls is not None:
            self._tls.sendall(octets)
            self._pumpTLS()
        else:
            self.transport.protocol.dataReceived(octets)
        self.settle()

    def say(self, line: str | bytes) -> Answer:
        """
        Send a line, and take the answer.

        :param line: without its CRLF.
        :raises AssertionError: if there isn't exactly one answer.
        """
        self.send(_octets(line) + b"\r\n")
        verb = _octets(line).partition(b" ")[0].upper()
        return self._only(self.answers(), f"{line!r}", _HOOKS.get(verb.decode("latin-1")))

    def pipeline(self, *lines: str | bytes) -> list[Answer]:
        """
        Send several lines in one segment (RFC 2920).

        :param lines: without their CRLFs.
        :returns: the answers that have come.
        """
        self.send(b"".join(_octets(line) + b"\r\n" for line in lines))
        return self.answers()

    def deliver(
        self,
        content: bytes | Message,
        sender: str | None = None,
        *recipients: str,
        hello: str | None = "EHLO client.example",
    ) -> Answer:
        """
        Deliver a message and take the final answer, or the first refusal.

        :param content: complete lines, which end in CRLF; dots are stuffed here. Or an
            :class:`email.message.EmailMessage`, which goes as :meth:`smtplib.SMTP.send_message`
            would send it: to those in To, Cc and Bcc, unless recipients are given.
        :param sender: by default the sender in the EmailMessage, else ``joe@example.org``.
        :param recipients: by default the recipients in the EmailMessage, else ``jane@example.com``.
        :param hello: the first line; ``None`` for a further message.
        :raises ValueError: if the content isn't complete lines.
        :raises AssertionError: if there isn't exactly one answer. The text says why, if that can be
            seen: the server has closed, a hook waits for a thread, or for something else.
        """
        if isinstance(content, Message):
            sender = senderOf(content) if sender is None else sender
            recipients = recipients or recipientsOf(content)
            content = rendered(content)
        checkLines(content)
        commands = [hello] if hello else []
        commands.append(f"MAIL FROM:<{'joe@example.org' if sender is None else sender}>")
        commands += [f"RCPT TO:<{recipient}>" for recipient in recipients or ("jane@example.com",)]
        for command in [*commands, "DATA"]:
            answer = self.say(command)
            if answer.code >= 400:
                return answer
        self.send(re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n")
        return self._only(self.answers(), "the message", "onData")

    def _only(self, answers: list[Answer], what: str, hook: str | None) -> Answer:
        if not answers:
            raise AssertionError(f"no answer to {what}: {self._silence(hook)}")
        assert len(answers) == 1, f"{len(answers)} answers to {what}: {answers}"
        return answers[0]

    def _silence(self, hook: str | None) -> str:
        """Say why there is no answer, as far as the client can tell."""
        if self.isClosed:
            return "the server has closed the connection"
        if hook is None or findHook(self.factory.handler, hook) is None:
            return "the server waits"
        if threadsWork(sys.modules.get("twisted.internet.reactor")):
            return (
                f"{hook} waits for a thread, whose result comes only when the reactor runs; in a "
                "test, patch deferToThread (or give runInThread) with "
                "twisted_smtpserver.testing.runInline"
            )
        return (
            f"{hook} hasn't answered; if it waits for time, call client.wait(seconds), if for a "
            "Deferred of the test's, fire it first"
        )

    # -- Listening --------------------------------------------------------------------------------

    def answer(self) -> Answer | None:
        """Take the next answer; ``None`` if it hasn't come."""
        self.settle()
        lines: list[str] = []
        first: re.Match[bytes] | None = None
        position = 0
        while True:
            found = _LINE.match(self._received, position)
            if found is None:
                assert b"\r\n" not in self._received[position:], self._received
                return None
            position = found.end()
            most = MAX_CHALLENGE_LINE if found.group(1) == b"334" else MAX_REPLY_LINE
            assert len(found.group()) <= most, "a reply line longer than RFC 5321 allows"
            assert found.group(1, 3) == (first or found).group(1, 3), "a reply with several codes"
            first = found
            lines.append(found.group(4).decode("utf-8"))
            if found.group(2) == b" ":
                break
        self._received = self._received[position:]
        enhanced = found.group(3).decode("ascii") if found.group(3) else None
        return Answer(int(found.group(1)), enhanced, tuple(lines))

    def answers(self) -> list[Answer]:
        """Take all answers that have come."""
        found = []
        while (answer := self.answer()) is not None:
            found.append(answer)
        return found

    # -- The connection ---------------------------------------------------------------------------

    def startTLS(self, serverName: str | None = None, context: SSL.Context | None = None) -> None:
        """
        Do the client's half of a TLS handshake, after STARTTLS was answered or on a secure port.

        :param serverName: the name to ask for (SNI).
        :param context: an :class:`OpenSSL.SSL.Context`; by default one that verifies nothing.
        :raises OpenSSL.SSL.Error: if the handshake fails.
        :raises AssertionError: if the server doesn't do its half.
        """
        connection = SSL.Connection(context or SSL.Context(SSL.TLS_METHOD), None)
        if serverName is not None:
            connection.set_tlsext_host_name(serverName.encode("ascii"))
        connection.set_connect_state()
        self._tls = connection
        for _ in range(8):  # a handshake takes two or three rounds
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                self._pumpTLS()
                self.settle()
            else:
                self._pumpTLS()
                self.settle()
                return
        raise AssertionError("the server didn't do its half of the handshake")

    def _pumpTLS(self) -> None:
        assert self._tls is not None
        while not self.transport.isClosed:
            try:
                octets = self._tls.bio_read(2**16)
            except SSL.WantReadError:
                return
            self.transport.protocol.dataReceived(octets)

    def settle(self) -> None:
        """Let the server do all work that needs no time to pass, and read its output."""
        self.clock.advance(0)
        octets = bytes(self.transport.output)
        self.transport.output.clear()
        if self._tls is None:
            self._received += octets
        elif octets:
            self._tls.bio_write(octets)
            self._readTLS()
        if self.transport.isClosed:
            self.lose(ConnectionDone())

    def _readTLS(self) -> None:
        assert self._tls is not None
        while True:
            try:
                self._received += self._tls.recv(2**16)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                return

    def wait(self, seconds: float) -> None:
        """
        Let time pass.

        :param seconds: how long.
        """
        self.clock.advance(seconds)
        self.settle()

    def finish(self) -> None:
        """
        Close the sending side only (FIN), as a client that still wants its answers. In TLS, that
        ends the connection.
        """
        if self._tls is None:
            self.protocol.readConnectionLost()
            self.settle()
        else:
            self.lose(ConnectionDone())

    def lose(self, reason: Exception | None = None) -> None:
        """
        Lose the connection.

        :param reason: by default a :class:`twisted.internet.error.ConnectionLost`.
        """
        if not self._isLost:
            self._isLost = self.transport.isClosed = True
            self.transport.protocol.connectionLost(Failure(reason or ConnectionLost()))


def _octets(line: str | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.encode("utf-8")
