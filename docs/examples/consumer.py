"""A message to another server while it comes in, at that server's pace."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol, connectionDone

from twisted_smtpserver import ConsumerStopped, Rejection, SMTPHandler


class Connection(Protocol):
    """Collects what the archive says until it closes."""

    def __init__(self):
        self.said = b""
        self.closed = Deferred()

    def dataReceived(self, data):
        self.said = (self.said + data)[:100]

    def connectionLost(self, reason=connectionDone):
        self.closed.callback(self.said)


class Archive(SMTPHandler):
    """
    Writes each message to a connection of its own, and waits for the archive's ``OK``.

    :param endpoint: where to, for example ``"unix:/run/archive"``.
    """

    def __init__(self, endpoint):
        self.endpoint = clientFromString(reactor, endpoint)

    async def onData(self, stream, session):
        octets, answer = 0, b""
        try:
            connection = await connectProtocol(self.endpoint, Connection())
            octets = await stream.pipeTo(connection.transport)
            connection.transport.loseWriteConnection()
            answer = await connection.closed
        except (ConnectError, ConsumerStopped):
            pass
        if answer != b"OK\n":
            raise Rejection("The archive didn't take it", code=451, enhanced="4.3.0")
        return f"{octets} octets archived"
