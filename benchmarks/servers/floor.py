"""
The floor: what Twisted itself costs. It answers what it should, looks at next to nothing, and is no
mail server.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
from typing import Any

from twisted.internet.protocol import Factory
from twisted.logger import globalLogBeginner
from twisted.protocols.basic import LineReceiver

from benchmarks.servers.counting import Counts, listening

_ANSWERS = {b"MAIL": b"250 OK\r\n", b"RCPT": b"250 OK\r\n", b"DATA": b"354 Go on\r\n"}
_EHLO = b"250-localhost\r\n250 PIPELINING\r\n"
_END = b"\r\n.\r\n"


class _Floor(LineReceiver):
    counts: Counts
    isDirect = False
    transport: Any

    def connectionMade(self) -> None:
        self._answers: list[bytes] = []
        self._octets = 0
        self._last = b""
        self._write(b"220 localhost ESMTP\r\n")

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._answers:
            octets = b"".join(self._answers)
            self._answers.clear()
            self._write(octets)
            if octets.endswith(b"221 Bye\r\n"):
                self.transport.loseConnection()

    def _write(self, octets: bytes) -> None:
        transport: Any = self.transport
        if self.isDirect and not transport.dataBuffer and not transport._tempDataBuffer:
            sent = transport.writeSomeData(octets)
            octets = octets[sent:] if isinstance(sent, int) else octets
        if octets:
            transport.write(octets)

    def lineReceived(self, line: bytes) -> None:
        verb = line[:4]
        answer = _ANSWERS.get(verb)
        if answer is None:
            answer = (
                _EHLO if verb == b"EHLO" else b"221 Bye\r\n" if verb == b"QUIT" else b"250 OK\r\n"
            )
        self._answers.append(answer)
        if verb == b"DATA":
            self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        # No dots are undone, and the end is only seen at the end of a read: it will do for this.
        self._octets += len(data)
        self._last = (self._last + data)[-len(_END) :]
        if self._last == _END:
            self.counts.add(self._octets - len(b".\r\n"))
            self._octets = 0
            self._answers.append(b"250 OK\r\n")
            self.setLineMode()


def _share(listener: socket.socket, workers: int) -> None:
    """Return in each of the workers; the process that made them waits, and ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    children = []
    for _ in range(workers):
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            return
        children.append(child)
    listening(listener.getsockname()[1], "Twisted")
    signal.sigwait([signal.SIGTERM])
    for child in children:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    raise SystemExit


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--direct", action="store_true", help="try to send at once")
    parser.add_argument("--workers", type=int, default=0, help="processes that share the port")
    given = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    listener = socket.create_server(("127.0.0.1", 0), backlog=511)
    if given.workers:
        _share(listener, given.workers)

    from twisted.internet import reactor

    loop: Any = reactor
    _Floor.counts = Counts()
    _Floor.isDirect = given.direct
    factory: Any = Factory.forProtocol(_Floor)
    factory.noisy = False
    listener.setblocking(False)
    loop.adoptStreamPort(listener.fileno(), listener.family, factory)
    if not given.workers:
        loop.addSystemEventTrigger("after", "shutdown", _Floor.counts.report)
        listening(listener.getsockname()[1], "Twisted")
    loop.run()


if __name__ == "__main__":
    main()
