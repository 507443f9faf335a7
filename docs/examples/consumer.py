"""A message to another server while it comes in, at that server's pace."""

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol

from twisted_smtpserver import ConsumerStopped, Rejection, SMTPHandler


class Archive(SMTPHandler):
    """
    Writes each message to a connection of its own.

    :param endpoint: where to, for example ``"unix:/run/archive"``.
    """

    def __init__(self, endpoint):
        self.endpoint = clientFromString(reactor, endpoint)

    async def onData(self, stream, session):
        try:
            connection = await connectProtocol(self.endpoint, Protocol())
            octets = await stream.pipeTo(connection.transport)
        except (ConnectError, ConsumerStopped) as error:
            raise Rejection("The archive is away", code=451, enhanced="4.3.0") from error
        connection.transport.loseConnection()
        return f"{octets} octets archived"
