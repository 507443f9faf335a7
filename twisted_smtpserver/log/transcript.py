"""
The transcript of some clients: every command and every reply, switched on while the server runs.

Secrets aren't in it, nor what is in messages; see :mod:`~twisted_smtpserver.log.redacted`. It has
bounds in time and size, and ends when it reaches one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import LogEvent, Logger

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.log.batches import BatchedLogObserver
from twisted_smtpserver.log.files import LogFile
from twisted_smtpserver.log.redacted import shownCommand, shownReply
from twisted_smtpserver.wire.ip import Networks
from twisted_smtpserver.wire.text import escape

_log = Logger()

#: How long a transcript lasts unless told otherwise, in minutes.
DEFAULT_MINUTES = 30

#: How long it may last, in minutes.
MAX_MINUTES = 24 * 60

#: How many lines one has at most; then it ends.
MAX_LINES = 100_000

#: How many octets one has at most.
MAX_OCTETS = 16 * 2**20

#: How many transcripts there may be at once.
MAX_RULES = 16


@dataclass(frozen=True)
class Rule:
    """
    Whose transcript goes where.

    :ivar who: an address or a network.
    :ivar path: the file that it is added to.
    :ivar until: when it ends, in seconds since 1970.
    """

    who: str
    path: str
    until: float
    networks: Networks = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", Networks([self.who], "transcript"))


def parseRules(text: str, now: float) -> list[Rule]:
    """
    Read rules: each line has an address or a network, the path of a file, and optionally how many
    minutes it lasts.

    :param text: the lines. What is behind ``#`` doesn't count.
    :param now: the time, in seconds since 1970.
    :raises ConfigurationError: if a line is invalid; the text says which, and what it should
        be.
    """
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        minutes = words[2] if len(words) == 3 else str(DEFAULT_MINUTES)
        isRight = len(words) in (2, 3) and words[1].startswith("/") and minutes.isdecimal()
        if not isRight or not 1 <= int(minutes[:9]) <= MAX_MINUTES:
            raise ConfigurationError(
                f"line {number}: write an address or a network, the whole path of a file, and"
                f" maybe for how many minutes, up to {MAX_MINUTES}: 192.0.2.7 /tmp/joe.log 30"
            )
        rules.append(Rule(words[0], words[1], now + 60 * int(minutes)))
    if len(rules) > MAX_RULES:
        raise ConfigurationError(f"there are {len(rules)} transcripts, more than {MAX_RULES}")
    return rules


class _Sink:
    """
    A file for the lines of a transcript.

    :param rule: its rule.
    :raises OSError: if it can't be opened.
    """

    def __init__(self, rule: Rule, reactor: Any) -> None:
        self.rule = rule
        # In a folder like /tmp a link may be somebody else's, and lead to any file of ours.
        self._file = LogFile(rule.path, 0, mode=0o600, flags=os.O_NOFOLLOW)
        self._lines = BatchedLogObserver(self._file, _lineOf, reactor)
        self._count = self._octets = 0

    @property
    def isFull(self) -> bool:
        """Whether it has as many lines, or octets, as it may have."""
        return self._count >= MAX_LINES or self._octets >= MAX_OCTETS

    def write(self, line: str) -> None:
        """Add a line."""
        self._count += 1
        self._octets += len(line)
        self._lines({"line": line})

    def close(self) -> None:
        """Write what waits, and close it."""
        self._lines.close()
        self._file.close()


def _lineOf(event: LogEvent) -> str:
    line: str = event["line"]
    return line


class Transcriber:
    """
    Writes transcripts.

    :param reactor: Twisted's.
    :param now: the time, in seconds since 1970.
    """

    def __init__(self, reactor: Any, now: Callable[[], float] = time.time) -> None:
        self._reactor = reactor
        self._now = now
        self._sinks: list[_Sink] = []
        self._taps: set[_Tap] = set()
        self._timer: IDelayedCall | None = None

    @property
    def isOn(self) -> bool:
        """Whether there is any transcript now."""
        return bool(self._sinks)

    def use(self, rules: Sequence[Rule], connections: Iterable[Any]) -> None:
        """
        Use other rules from here on. A transcript that there is already goes on.

        :param rules: the rules.
        :param connections: the connections that are open.
        """
        kept = [sink for sink in self._sinks if _same(sink.rule, rules)]
        for sink in self._sinks:
            if sink not in kept:
                self._end(sink, "it isn't asked for any more")
        self._sinks = kept
        for rule in rules:
            if rule.until > self._now() and not any(_same(sink.rule, [rule]) for sink in kept):
                self._begin(rule)
        if self._sinks:
            for connection in connections:
                self.attach(connection)
        self._settle()

    def _begin(self, rule: Rule) -> None:
        minutes = max(1, round((rule.until - self._now()) / 60))
        try:
            self._sinks.append(_Sink(rule, self._reactor))
        except OSError as error:
            _note(rule, f"can't be written: {error.strerror}", _log.error)
        else:
            _note(rule, f"begins, for {minutes} minutes", _log.info)

    def _end(self, sink: _Sink, why: str) -> None:
        sink.close()
        _note(sink.rule, f"ends: {why}", _log.info)

    def _settle(self) -> None:
        """Set the timer for the next end; without a transcript, let go of all connections."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._sinks:
            first = min(sink.rule.until for sink in self._sinks)
            self._timer = self._reactor.callLater(max(0, first - self._now()), self._timeOver)
            return
        for tap in list(self._taps):
            tap.detach()

    def _timeOver(self) -> None:
        now = self._now()
        over = [sink for sink in self._sinks if sink.rule.until <= now]
        self._sinks = [sink for sink in self._sinks if sink not in over]
        for sink in over:
            self._end(sink, "its time is over")
        self._settle()

    def stop(self) -> None:
        """End all transcripts."""
        self.use([], ())

    def attach(self, connection: Any) -> None:
        """
        Listen to a connection, as long as there is any transcript.

        :param connection: an :class:`~twisted_smtpserver.connection.protocol.SMTPProtocol`.
        """
        if self._sinks and not any(tap.connection is connection for tap in self._taps):
            self._taps.add(_Tap(connection, self))

    def detached(self, tap: _Tap) -> None:
        """(A connection's call.) It is listened to no more."""
        self._taps.discard(tap)

    def write(self, session: Any, lines: Iterable[str]) -> None:
        """
        Write lines to the transcripts that a session is in.

        :param session: the session.
        :param lines: without their ends.
        """
        for sink in [each for each in self._sinks if session.remoteAddress in each.rule.networks]:
            for line in lines:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
                sink.write(f"{when} {session.id} {line}\n")
            if sink.isFull:
                self._sinks.remove(sink)
                self._end(sink, "it is full")
                self._settle()


def _same(rule: Rule, rules: Iterable[Rule]) -> bool:
    return any((rule.who, rule.path) == (each.who, each.path) for each in rules)


def _note(rule: Rule, what: str, log: Callable[..., None]) -> None:
    log(
        "The transcript of {who} in {path} {what}",
        event="transcript",
        who=escape(rule.who),
        path=escape(rule.path),
        what=what,
    )


class _Tap:
    """
    Listens to a connection.

    :param connection: an :class:`~twisted_smtpserver.connection.protocol.SMTPProtocol`.
    :param transcriber: what writes.
    """

    def __init__(self, connection: Any, transcriber: Transcriber) -> None:
        self.connection = connection
        self._transcriber = transcriber
        self._session = connection.session
        self._octets = self._session.octets
        self._tls = self._session.tls
        self._isNew = connection.transport is None
        connection.channel.listener = self
        if not self._isNew:
            self._write(f"-- already connected: {self._who()}")

    def detach(self) -> None:
        """Stop listening."""
        if self.connection.channel.listener is self:
            self.connection.channel.listener = None
            self._transcriber.detached(self)

    def _write(self, *lines: str) -> None:
        self._transcriber.write(self._session, lines)

    def _who(self) -> str:
        session = self._session
        address = f"[{session.remoteAddress}]:{session.remotePort}"
        return f"{escape(session.clientHostname)} {address}"

    def lineCame(self, line: bytes) -> None:
        """See :class:`~twisted_smtpserver.connection.ports.Listener`."""
        self._write(f"C: {shownCommand(line, self.connection.dialogue.awaitsAnswer)}")

    def lineTooLong(self) -> None:
        """See :class:`~twisted_smtpserver.connection.ports.Listener`."""
        self._write("C: (a line that is too long)")

    def repliesWritten(self, octets: bytes) -> None:
        """See :class:`~twisted_smtpserver.connection.ports.Listener`."""
        session = self._session
        lines = []
        if self._isNew:
            self._isNew = False
            lines.append(f"-- connected: {self._who()}")
        if session.tls is not self._tls:
            self._tls = session.tls
            lines.append(f"-- {escape(session.tls.version)}" if session.tls else "-- no TLS")
        if session.octets != self._octets:
            lines.append(f"-- a message of {session.octets - self._octets} octets")
            self._octets = session.octets
        lines += [f"S: {shownReply(each)}" for each in octets.split(b"\r\n") if each]
        self._write(*lines)

    def connectionLost(self) -> None:
        """See :class:`~twisted_smtpserver.connection.ports.Listener`."""
        why = self.connection.dialogue.closeReason or "connection lost, or the client left"
        self._write(f"-- closed: {escape(why)}")
        self.detach()
