"""
The protocol, as Twisted sees it: what its transports call.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver.connection.channel import Channel
from twisted_smtpserver.connection.ports import Factory
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.options import Options
from twisted_smtpserver.session import Session


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class SMTPProtocol(LineReceiver):
    """
    One connection. :class:`~twisted_smtpserver.factory.SMTPServerFactory` makes these.

    It is a shell: Twisted's calls go on to the channel.

    :param factory: the factory.
    :ivar channel: what does the work.
    :ivar factory: the factory.
    """

    # Not in a dictionary of each connection's own, for the memory.
    __slots__ = ("channel", "connected", "factory", "transport")

    def __init__(self, factory: Factory) -> None:
        self.channel = Channel(factory)
        self.connected = 0
        self.factory = factory
        # Twisted declares it as Optional; it is there from connectionMade() to the end.
        self.transport: Any = None

    @property
    def dialogue(self) -> Dialogue:
        """The conversation."""
        return self.channel.dialogue

    @property
    def options(self) -> Options:
        """The options that the connection began with."""
        return self.channel.dialogue.options

    @property
    def session(self) -> Session:
        """The client's session."""
        return self.channel.dialogue.session

    def connectionMade(self) -> None:
        """(Twisted's call.) The connection is open."""
        transport = self.transport
        isOurs = isPlain(transport)
        if isOurs:
            self.factory.watch(transport)
        # The transport then says when the peer doesn't read our answers.
        transport.registerProducer(self.channel, True)
        self.channel.connectionMade(transport, isOurs)

    def dataReceived(self, data: bytes) -> None:
        """(Twisted's call.) Octets came; the replies to all of them leave in one write."""
        self.channel.dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """Respond to a command, or to the answer to a challenge."""
        self.channel.respond(self.dialogue.lineReceived(line))

    def handshakeCompleted(self) -> None:
        """(Twisted's call.) TLS is up."""
        self.channel.handshakeCompleted()

    def readConnectionLost(self) -> None:
        """(Twisted's call.) The client sends no more, but may still read."""
        self.channel.inputEnded()

    def writeConnectionLost(self) -> None:
        """(Twisted's call.) Nothing: we never close our side alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """(Twisted's call.) The connection is closed or lost."""
        try:
            self.channel.connectionLost(reason)
        finally:
            self.factory.connectionGone(self)


def isPlain(transport: Any) -> bool:
    """
    Whether a transport is Twisted's own TCP connection, accepted by a server, of which it is known
    how it reads and writes. A subclass may do it in another way.

    :param transport: any transport.
    """
    return type(transport) is Server
