"""A next hop in this process: a server of our own that can be killed and filled up."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from twisted_smtpserver import Accepted, Rejection, SMTPHandler, SMTPServerFactory


class NextHop(SMTPHandler):
    """
    Keeps what it accepts.

    :param options: those of the server.
    :ivar kept: the messages; with LMTP, each as often as it has recipients.
    :ivar envelopes: their envelopes.
    :ivar isFull: whether it has no space.
    """

    def __init__(self, **options: Any) -> None:
        self.kept: list[bytes] = []
        self.envelopes: list[Any] = []
        self.isFull = False
        self._options = options
        self.factory: Any = None
        self._port: Any = None

    def start(self) -> int:
        """Listen."""
        self.factory = SMTPServerFactory(
            self, logger=False, disableReverseLookup=True, name="next.example", **self._options
        )
        self._port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        return int(self._port.getHost().port)

    async def kill(self) -> None:
        """Be gone."""
        for connection in list(self.factory.connections):
            connection.transport.abortConnection()
        await self._port.stopListening()

    def onRcptTo(self, address: Any, session: Any) -> Any:
        """One isn't known; one has moved."""
        if address.local == "nobody":
            raise Rejection("No such user here", 550, "5.1.1")
        if address.local == "later":
            raise Rejection("Come back later", 450, "4.2.1")
        if address.local == "moved":
            return Accepted("will forward", code=251)
        return None

    async def onData(self, stream: Any, session: Any) -> Any:
        """Keep a message, but not for one of the recipients."""
        if self.isFull:
            raise Rejection("No space left", 452, "4.3.1")
        content = await stream.read()
        envelope = session.envelope
        results: list[Any] = []
        for recipient in envelope.rcptTo:
            if recipient.local == "overquota":
                results.append(Rejection("Mailbox full", 552, "5.2.2"))
            else:
                results.append(Accepted(f"kept for {recipient.local}"))
        if envelope.perRecipient:
            good = [each for each in results if isinstance(each, Accepted)]
            self.kept += [content] * len(good)
            self.envelopes.append(envelope)
            return results
        for result in results:
            if isinstance(result, Rejection):
                raise result
        self.kept.append(content)
        self.envelopes.append(envelope)
        return results[0]
