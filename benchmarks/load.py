"""
The client: a process of its own that does the jobs it reads from standard input.

One line of JSON is a job, and so is the answer to it. A job names its kind in ``do``:

``sessions``
    One message per connection, on so many connections at a time.
``open``, ``messages``, ``close``
    Open connections and say EHLO; send messages on those that are open; QUIT.

``sessions`` and ``messages`` end after ``count`` messages or ``seconds``, whichever comes first.
The answer has ``messages``, ``octets``, ``seconds`` and ``errors``: every reply is compared with
what it has to be.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from benchmarks.bodies import Message, makeMessage

#: A server that says nothing for so long has failed, in seconds.
PATIENCE = 30.0

#: Errors after which a server is taken to be gone.
TOO_MANY = 100

#: Connections that are opened at a time, below any server's backlog.
OPENING = 40

_KEYWORD = re.compile(rb"250[- ](\S+)")

_READ = select.EPOLLIN
_BOTH = select.EPOLLIN | select.EPOLLOUT

# What a talk yields: octets to send, and the codes of the replies to wait for. HANDSHAKE instead of
# octets makes the connection a TLS connection.
HANDSHAKE = (b"handshake",)
Step = tuple[Iterable[bytes], tuple[bytes, ...]]
Talk = Iterator[Step]

_OK = b"250"


class Failed(Exception):
    """A server answered something else than it should, or nothing."""


class Connection:
    """
    One connection, led by a talk.

    :param address: the server's.
    :param tls: for talks that have a handshake.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_codes",
        "_expected",
        "_isHandshaking",
        "_pending",
        "_tls",
        "isOpen",
        "keywords",
        "sock",
        "talk",
        "wanted",
    )

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.sock: Any = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(address)
        self.talk: Talk = iter(())
        self.wanted = _READ
        self.keywords = b""
        self.isOpen = True
        self._tls = tls
        self._buffer = b""
        self._chunks: Iterator[bytes] = iter(())
        self._codes: list[bytes] = []
        self._expected: tuple[bytes, ...] = ()
        self._isHandshaking = False
        self._pending = memoryview(b"")

    def begin(self, talk: Talk) -> bool:
        """Follow a talk from here on; see :meth:`handle`."""
        self.talk = talk
        return self._advance()

    def handle(self, events: int) -> bool:
        """
        The socket is ready.

        :returns: whether the talk goes on; not when it has come to its end.
        :raises Failed: if it has gone wrong.
        """
        if self._isHandshaking:
            return self._handshake()
        if events & ~select.EPOLLOUT and not self._receive():
            return False
        return self._send()

    def _advance(self) -> bool:
        for chunks, expected in self.talk:
            self._expected = expected
            if chunks is HANDSHAKE:
                return self._beginHandshake()
            self._chunks = iter(chunks)
            if not self._send() or expected:
                return True
        return False

    def _send(self) -> bool:
        while True:
            if not self._pending:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self.wanted = _READ
                    return True
                self._pending = memoryview(chunk)
            try:
                sent = self.sock.send(self._pending)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self.wanted = _BOTH
                return True
            self._pending = self._pending[sent:]

    def _receive(self) -> bool:
        try:
            octets = self.sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        if not octets:
            raise Failed("the server closed the connection")
        self._buffer += octets
        if not self._buffer.endswith(b"\r\n"):
            return True
        lines = self._buffer.split(b"\r\n")
        if lines[-2][3:4] == b"-":  # some servers send each line of a reply by itself
            return True
        self.keywords, self._buffer = self._buffer, b""
        self._codes += [line[:3] for line in lines if line[3:4] == b" "]
        if len(self._codes) < len(self._expected):
            return True
        if tuple(self._codes) != self._expected:
            wrong = [line for line in lines if line[:3] not in self._expected]
            raise Failed(f"expected {self._expected[-1]!r}, got {wrong[:1] or self._codes}")
        self._codes.clear()
        return self._advance()

    def _beginHandshake(self) -> bool:
        assert self._tls is not None
        self.sock = self._tls.wrap_socket(
            self.sock, server_hostname="localhost", do_handshake_on_connect=False
        )
        self._isHandshaking = True
        return self._handshake()

    def _handshake(self) -> bool:
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.wanted = _READ
        except ssl.SSLWantWriteError:
            self.wanted = _BOTH
        else:
            self._isHandshaking = False
            return self._advance()
        return True


Ended = Callable[[Connection], None]


class Load:
    """
    Drives connections.

    :ivar messages: those that were answered 250; :attr:`octets` of content.
    """

    def __init__(self) -> None:
        self.messages = self.octets = 0
        self.errors: list[str] = []
        self._poll = select.epoll()
        self._busy: dict[int, Connection] = {}
        self._registered: dict[int, int] = {}
        self._connected: list[Connection] = []
        self._facts: dict[str, Any] = {}

    # -- Jobs --------------------------------------------------------------------------------------

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do a job, and say how it went."""
        self.messages = self.octets = 0
        self.errors = []
        self._facts = {}
        before, usedBefore = time.perf_counter(), time.process_time()
        getattr(self, f"do{job['do'].capitalize()}")(job)
        return {
            "messages": self.messages,
            "octets": self.octets,
            "seconds": time.perf_counter() - before,
            "clientSeconds": time.process_time() - usedBefore,
            "errors": self.errors[:5],
            "errorCount": len(self.errors),
            **self._facts,
        }

    def doSessions(self, job: dict[str, Any]) -> None:
        """One message per connection."""
        address = (job["host"], job["port"])
        tls = _context(job["tls"]) if job.get("tls") else None
        isDue = self._due(job)

        def start() -> None:
            connection = Connection(address, tls)
            self._follow(connection, self._session(job, connection))

        def ended(connection: Connection) -> None:
            self._forget(connection)
            if isDue() and len(self.errors) < TOO_MANY:
                start()

        for _ in range(job["connections"]):
            if isDue():
                start()
        self._run(ended, ended)

    def doOpen(self, job: dict[str, Any]) -> None:
        """Connect, and say EHLO."""
        address = (job["host"], job["port"])
        left = job["connections"]

        def start() -> None:
            nonlocal left
            left -= 1
            connection = Connection(address)
            self._connected.append(connection)
            self._follow(connection, _hello())

        def ended(connection: Connection) -> None:
            if left:
                start()

        for _ in range(min(OPENING, left)):
            start()
        self._run(ended)
        if self._connected:
            found = _KEYWORD.findall(self._connected[0].keywords)
            self._facts["keywords"] = [keyword.decode("latin-1").upper() for keyword in found]

    def doMessages(self, job: dict[str, Any]) -> None:
        """Send on the open connections."""
        isDue = self._due(job)
        make = self._maker(job)

        def ended(connection: Connection) -> None:
            if isDue():
                self._follow(connection, make())

        for connection in filter(lambda each: each.isOpen, self._connected):
            ended(connection)
        self._run(ended)

    def doClose(self, job: dict[str, Any]) -> None:
        """QUIT on all of them."""
        for connection in filter(lambda each: each.isOpen, self._connected):
            self._follow(connection, iter([((b"QUIT\r\n",), (b"221",))]))
        self._run(self._forget)
        self._connected.clear()

    # -- Talks -------------------------------------------------------------------------------------

    def _session(self, job: dict[str, Any], connection: Connection) -> Talk:
        yield from _hello()
        if job.get("tls"):
            yield (b"STARTTLS\r\n",), (b"220",)
            yield HANDSHAKE, ()
            self._facts["tls"] = " ".join((connection.sock.version(), connection.sock.cipher()[0]))
            yield (b"EHLO client.example\r\n",), (_OK,)
        yield from self._maker(job)()
        yield (b"QUIT\r\n",), (b"221",)

    def _maker(self, job: dict[str, Any]) -> Callable[[], Talk]:
        message = makeMessage(job.get("size", 1024), job.get("kind", "base64"))
        count = job.get("recipients", 1)
        mail = b"MAIL FROM:<sender@client.example>\r\n"
        rcpts = [b"RCPT TO:<recipient%d@server.example>\r\n" % n for n in range(count)]
        if job.get("bdat"):
            command = b"BDAT %d LAST\r\n" % message.octets
            return lambda: self._bdat(b"".join([mail, *rcpts, command]), count, message)
        steps: list[Step] = [((mail,), (_OK,))]
        steps += [((rcpt,), (_OK,)) for rcpt in rcpts]
        steps += [((b"DATA\r\n",), (b"354",))]
        if job.get("pipelined"):
            octets = b"".join([mail, *rcpts, b"DATA\r\n"])
            steps = [((octets,), (_OK,) * (1 + count) + (b"354",))]
        # One piece, where it is small: one send.
        short = [b"".join(message.dotted())] if message.octets < 2**16 else None
        return lambda: self._data(steps, short or message.dotted(), message)

    def _data(self, steps: list[Step], dotted: Iterable[bytes], message: Message) -> Talk:
        yield from steps
        yield dotted, (_OK,)
        self._accepted(message)

    def _bdat(self, commands: bytes, recipients: int, message: Message) -> Talk:
        yield (commands, *message.content()), (_OK,) * (2 + recipients)
        self._accepted(message)

    def _accepted(self, message: Message) -> None:
        self.messages += 1
        self.octets += message.octets

    # -- Driving -----------------------------------------------------------------------------------

    def _due(self, job: dict[str, Any]) -> Callable[[], bool]:
        """Whether one more message is to be begun."""
        left: int = job.get("count", sys.maxsize)
        deadline: float = time.monotonic() + job.get("seconds", 600.0)

        def isDue() -> bool:
            nonlocal left
            left -= 1
            return left >= 0 and time.monotonic() < deadline

        return isDue

    def _follow(self, connection: Connection, talk: Talk) -> None:
        number = connection.sock.fileno()
        self._busy[number] = connection
        if number not in self._registered:
            self._registered[number] = _READ
            self._poll.register(number, _READ)
        try:
            connection.begin(talk)
        except OSError as error:
            self._fail(connection, error)
        else:
            self._await(number, connection)

    def _await(self, number: int, connection: Connection) -> None:
        if self._registered.get(number) != connection.wanted:
            self._registered[number] = connection.wanted
            self._poll.modify(number, connection.wanted)

    def _run(self, ended: Ended, failed: Ended | None = None) -> None:
        """
        Until no connection has anything to do.

        :param ended: told of each connection whose talk has come to its end.
        :param failed: told of each that has failed.
        """
        while self._busy:
            ready = self._poll.poll(PATIENCE)
            if not ready:
                for connection in list(self._busy.values()):
                    self._fail(connection, Failed("no answer in time"))
            for number, events in ready:
                connection = self._busy[number]
                try:
                    goesOn = connection.handle(events)
                except (Failed, OSError) as error:
                    self._fail(connection, error)
                    if failed is not None:
                        failed(connection)
                    continue
                if goesOn:
                    self._await(number, connection)
                else:
                    del self._busy[number]
                    ended(connection)

    def _fail(self, connection: Connection, error: Exception) -> None:
        self.errors.append(f"{type(error).__name__}: {error}")
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        number = connection.sock.fileno()
        self._busy.pop(number, None)
        if self._registered.pop(number, None) is not None:
            self._poll.unregister(number)
        connection.sock.close()
        connection.isOpen = False


def _hello() -> Talk:
    yield (), (b"220",)
    yield (b"EHLO client.example\r\n",), (_OK,)


def _context(settings: dict[str, str]) -> ssl.SSLContext:
    """The same version and group, whatever the server would rather have."""
    context = ssl.create_default_context(cafile=settings["certificate"])
    context.minimum_version = context.maximum_version = ssl.TLSVersion[settings["version"]]
    context.set_ecdh_curve(settings["group"])
    return context


def main() -> None:
    """Do jobs until there are no more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load()
    for line in sys.stdin:
        print(json.dumps(load.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
