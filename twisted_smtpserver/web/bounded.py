"""A web server that bounds what its clients can make it store."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.protocols.policies import WrappingFactory
from twisted.web.server import Request, Site

from twisted_smtpserver.web.turns import PacedConnection, Turns

#: Parameters of a query: twisted.web takes them apart before anybody asks for them.
MAX_PARAMETERS = 100


class BoundedRequest(Request):
    """
    A request to a site in :class:`BoundedConnections`. Its body is bounded, and is kept as octets;
    by default a body is refused.
    """

    #: The most octets of a body.
    mostOctets = 0

    _isRefused = False

    def gotLength(self, length: int | None) -> None:
        """
        The headers have come.

        :param length: the body's, if they say.
        """
        super().gotLength(length)
        self._received = 0
        if length is not None and length > self.mostOctets:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """
        A piece of the body has come.

        :param data: it.
        """
        self._received += len(data)
        if self._isRefused:
            return
        if self._received <= self.mostOctets:
            super().handleContentChunk(data)
        else:
            self._refuse()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """
        All of it has come.

        :param command: the method.
        :param path: with the query.
        :param version: of HTTP.
        """
        if self._isRefused:
            return
        if path.count(b"&") + path.count(b";") >= MAX_PARAMETERS:
            self._refuse(b"414 URI Too Long")
            return
        # By this header twisted.web would parse forms, which nobody sends and nothing bounds.
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Answer, when it is this request's turn."""
        channel: Any = self.channel
        connection: PacedConnection = channel.transport
        self.notifyFinish().addBoth(lambda _: connection.answered())
        connection.answer(super().process)

    def _refuse(self, status: bytes = b"413 Content Too Large") -> None:
        self._isRefused = True
        channel: Any = self.channel
        content: Any = self.content
        content.close()
        channel.transport.write(
            b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
        )
        channel.loseConnection()


class BoundedConnections(WrappingFactory):
    """
    Closes connections beyond a limit, and lets the others take turns.

    :param site: the web server.
    :param most: the number.
    :ivar turns: where requests wait for theirs.
    :ivar clock: the site's reactor.
    :ivar idleTime: how long a client may take nothing of an answer, or take for a request, in
        seconds; the site's timeout.
    """

    noisy = False
    protocol = PacedConnection

    def __init__(self, site: Site, most: int) -> None:
        super().__init__(site)
        self._most = most
        self.clock: Any = site.reactor
        self.turns = Turns(self.clock)
        self.idleTime = site.timeOut

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Accept a connection, if there is room for it.

        :param addr: where it comes from.
        """
        return None if len(self.protocols) >= self._most else super().buildProtocol(addr)

    def closeAll(self) -> None:
        """Close all connections when their output has been sent."""
        for protocol in list(self.protocols):
            protocol.loseConnection()


class QuietSite(Site):
    """No access log: clients that poll would fill it."""

    noisy = False

    def log(self, request: Any) -> None:
        """Log nothing."""
