"""twisted.mail.smtp, with a delivery that counts."""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.logger import globalLogBeginner
from twisted.mail import smtp
from zope.interface import implementer

from benchmarks.servers.counting import Counts, listening


@implementer(smtp.IMessage)
class _Message:
    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._octets = 0

    def lineReceived(self, line: bytes) -> None:
        self._octets += len(line) + 2

    def eomReceived(self) -> Deferred[None]:
        self._counts.add(self._octets)
        return succeed(None)

    def connectionLost(self) -> None:
        """Nothing was kept."""


@implementer(smtp.IMessageDelivery)
class _Delivery:
    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._message: _Message | None = None

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b""

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        self._message = None
        return origin

    def validateTo(self, user: Any) -> Any:
        return self._make

    def _make(self) -> Any:
        # It asks once for each recipient; only the first one's copy is counted.
        if self._message is None:
            self._message = _Message(self._counts)
            return self._message
        return _Message(Counts())


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    given = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)

    from twisted.internet import reactor

    loop: Any = reactor
    counts = Counts()
    context = None
    if given.certificate:
        context = DefaultOpenSSLContextFactory(given.key, given.certificate)

    class Server(smtp.ESMTP):
        def __init__(self) -> None:
            super().__init__(contextFactory=context)
            self.delivery = _Delivery(counts)
            self.host = b"localhost"

    factory: Any = Factory.forProtocol(Server)
    factory.noisy = False
    port = loop.listenTCP(0, factory, backlog=511, interface="127.0.0.1")
    loop.addSystemEventTrigger("after", "shutdown", counts.report)
    listening(port.getHost().port, "Twisted")
    loop.run()


if __name__ == "__main__":
    main()
