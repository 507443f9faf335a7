"""
The life of a connection: how it comes about, is secured, and ends.

::

    accepted ── PROXY header ── implicit TLS ── reverse lookup ── onConnect ── greeting ── dialogue
                (useProxy)      (secure)

What the client says in between belongs to :mod:`~twisted_smtpserver.dialogue`, the cutting of its
octets into lines to :mod:`~twisted_smtpserver.connection.lines`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    ISSLTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.states import Event, Phase
from twisted_smtpserver.tls.context import describeTLS, handshakeTrouble
from twisted_smtpserver.wire.proxy import ProxyError, ProxyParser, normalizeAddress

if TYPE_CHECKING:
    from twisted_smtpserver.factory import SMTPServerFactory

#: What is read from a socket at once, in octets. The more the better: the reactor's way to a read
#: costs as much as all that is done with 32 KiB. But from 128 KiB on, the C library has the memory
#: for each read mapped anew, which costs more than is saved.
READ_SIZE = 124 * 1024

#: How long a PROXY header may take, in seconds; the proxy is near, and sends it at once.
PROXY_TIME = 10.0

_PIPELINED_STARTTLS = Reply(
    503, "5.5.1", "STARTTLS must be the last command before the handshake"
)  # RFC 3207 §5


@implementer(IHandshakeListener, IHalfCloseableProtocol)
class SMTPProtocol(Dialogue):
    """
    One connection. :class:`~twisted_smtpserver.factory.SMTPServerFactory` makes these.

    :param factory: the factory.
    """

    __slots__ = ("_startedAt",)

    _reachedHandler = False
    _lookup: Deferred[Any] | None = None
    _block: int | str | None = None  # see limits.ClientCounts

    def __init__(self, factory: SMTPServerFactory) -> None:
        super().__init__(factory)
        self._startedAt = factory.clock.seconds()

    # -- The beginning ----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The connection is there; the client is told so when all is known about it."""
        self.start()
        self.factory.lifetimes.begin(self)
        session = self.session
        peer, host = self.transport.getPeer(), self.transport.getHost()
        session.peerAddress = session.remoteAddress = _address(peer)
        session.peerPort = session.remotePort = getattr(peer, "port", None)
        session.localAddress = _address(host)
        session.localPort = getattr(host, "port", None)
        session.secure = self.options.secured
        if self.options.noDelay and session.peerAddress is not None:
            _setNoDelay(self.transport)
        if getattr(self.transport, "bufferSize", READ_SIZE) < READ_SIZE:
            self.transport.bufferSize = READ_SIZE
        if self.options.useProxy:
            self._awaitProxyHeader()
        else:
            self._secureFirst()

    def _awaitProxyHeader(self) -> None:
        if self.session.peerAddress not in self.options.proxyNetworks:
            self._drop("not in useProxy, so no proxy of ours")
            return
        parser = ProxyParser()
        self.setTimer(PROXY_TIME, lambda: self._drop("no PROXY header in time"))

        def take(octets: bytes) -> None:
            header = parser.feed(octets)
            if isinstance(header, ProxyError):
                self._drop(header.value)
            elif header is not None:
                session = self.session
                session.proxyTLVs = header.tlvs
                if header.sourceAddress is not None:
                    session.remoteAddress = header.sourceAddress
                    session.remotePort = header.sourcePort
                    session.localAddress = header.destinationAddress
                    session.localPort = header.destinationPort
                self.stopTimer()
                self.endRaw(b"")
                self._countedFirst(parser.rest)

        self.beginRaw(take)

    def _countedFirst(self, early: bytes) -> None:
        """The client is another one than the socket's: is there room for it?"""
        if self.enter(self.session.remoteAddress):
            self._secureFirst(early)
        elif self.options.secure:
            self._drop("too many connections from one address")
        else:
            self.settle(replies.TOO_MANY_FROM_ADDRESS)

    def enter(self, address: str | None) -> bool:
        """
        Count the connection as one of its client's.

        :param address: the client's.
        :returns: whether there aren't too many of them.
        """
        try:
            self._block = self.factory.counts.enter(address)
        except OverflowError:
            self.factory.events.refusedConnection(str(address), "maxClientsPerAddress reached")
            return False
        return True

    def lastedTooLong(self) -> None:
        """``maxSessionTime`` is over."""
        if self._closing:
            return
        if self.handshakeDue or self.phase is Phase.CONNECTED:
            self._drop("session lasted too long")
            return
        self.closeAfterReply("session lasted too long")
        if self._waitToken is None:  # otherwise the reply that is due is the last one
            self._plain = False
            self.settle(replies.SESSION_TOO_LONG)

    def _secureFirst(self, early: bytes = b"") -> None:
        """
        Start or await implicit TLS (RFC 8314 §3).

        :param early: octets that came behind a PROXY header.
        """
        if ISSLTransport.providedBy(self.transport):  # an ssl: or tls: endpoint's
            self._awaitHandshake()
        elif self.options.secure:
            self._awaitHandshake()
            self.transport.startTLS(self.factory.contextFactory)
            if early:
                # They are the client's half of the handshake, and we had read them already.
                self.transport.protocol.dataReceived(early)
        elif early:
            self.settle(replies.EARLY_TALKER)
        else:
            self._lookUpClient()

    def _awaitHandshake(self) -> None:
        self.handshakeDue = True
        self.setTimer(self.options.handshakeTimeout, lambda: self._drop("no TLS handshake in time"))

    def _drop(self, why: str) -> None:
        """Close without a word: there is no dialogue to say it in."""
        self.closeReason = why
        self.abort()

    def _lookUpClient(self) -> None:
        self.hold()
        found = self.factory.lookUp(self.session.remoteAddress)
        if isinstance(found, Deferred):
            self._lookup = found
            # Canceled, because the client left: the reverse lookup has no other failure.
            found.addCallbacks(self._named, lambda failure: None)
        else:
            self._named(found)

    def _named(self, hostname: str) -> None:
        self._lookup = None
        if self._closing:
            return
        self.session.clientHostname = hostname
        if self.options.greetingDelay:
            self.setTimer(self.options.greetingDelay, self._welcome)
        else:
            self._welcome()

    def _welcome(self) -> None:
        self._reachedHandler = True
        self._plain = True  # RFC 2034 §4: no enhanced status code in the greeting
        self.settle(self.ask("onConnect", (self.session,), self._welcomed, self._turnAway))
        if self._waitToken is None:
            self.waitForClient()
            self.release()

    def _welcomed(self, result: object) -> Any:
        if self.session.tls is not None:
            return self.ask("onSecure", (self.session,), self._greet, self._distrust)
        return self._greet(result)

    def _greet(self, result: object) -> Reply:
        self.move(Event.WELCOMED)
        return self.greeting()

    def greeting(self) -> Reply:
        """See :meth:`~twisted_smtpserver.dialogue.dialogue.Dialogue.greeting`."""
        self._plain = True
        return self.factory.greeting

    def _turnAway(self, error: Exception) -> Reply:
        self.move(Event.REFUSED)
        return self.refuse(error, "onConnect")

    def _distrust(self, error: Exception) -> Reply:
        self.move(Event.REFUSED)
        self.unwelcome = self.refuse(error, "onSecure")
        return self.unwelcome

    def _distrustLater(self, error: Exception) -> Reply | None:
        # After STARTTLS nothing is due to the client: it hears of it with its next command.
        refusal = self._distrust(error)
        return refusal if refusal.code == 421 else None

    def startOver(self, claim: Callable[[], object], admitted: Callable[[object], Any]) -> Any:
        """See :meth:`~twisted_smtpserver.dialogue.dialogue.Dialogue.startOver`."""
        self._forget()
        claim()
        return self.ask("onConnect", (self.session,), admitted, self._turnAwayAgain)

    def _turnAwayAgain(self, error: Exception) -> Reply:
        refusal = self._turnAway(error)
        self.waitForClient()
        # This one answers a command, so unlike the greeting it has an enhanced status code.
        enhanced = refusal.enhanced or replies.defaultEnhanced(refusal.code)
        return Reply(refusal.code, enhanced, *refusal.lines)

    def inputHeld(self) -> None:
        """Nothing may be said before the greeting (RFC 5321 §4.3.1)."""
        if self.phase is Phase.CONNECTED and self._held:
            self.settle(replies.EARLY_TALKER)
        else:
            super().inputHeld()

    # -- TLS --------------------------------------------------------------------------------------

    def startTLS(self) -> Reply | None:
        """
        STARTTLS came (RFC 3207 §4).

        :returns: a refusal, or ``None``: then the 220 was written, and the handshake is due.
        """
        if self.waitingInput:
            # Octets behind it came in clear, from anybody; they must not be taken for the client's.
            self.closeAfterReply("octets behind STARTTLS")
            return _PIPELINED_STARTTLS
        self.send(replies.READY_FOR_TLS.encode())
        self._flush()
        self._awaitHandshake()
        self.transport.startTLS(self.factory.contextFactory)
        return None

    def handshakeCompleted(self) -> None:
        """(Twisted's call.) TLS is up."""
        if not self.handshakeDue or self._closing:
            return
        self.handshakeDue = False
        session = self.session
        session.secure = True
        session.tls = describeTLS(self.transport)
        if self.phase is Phase.CONNECTED:
            self.stopTimer()
            self._lookUpClient()
            return
        self._forget()
        session.forgetClaimedLogin()
        self._plain = False
        self.settle(self.ask("onSecure", (session,), lambda _: None, self._distrustLater))
        if self._waitToken is None:
            self.waitForClient()

    def _forget(self) -> None:
        """What was said in clear (RFC 3207 §4.2), or before XCLIENT, counts no more."""
        session = self.session
        self.reset()
        self.move(Event.RESTARTED)
        session.openingCommand = session.hostNameAppearsAs = session.user = None
        session.forgetXForward()

    def shutDown(self) -> None:
        """See :meth:`~twisted_smtpserver.dialogue.dialogue.Dialogue.shutDown`."""
        if self.handshakeDue or (self._sink is not None and self.phase is Phase.CONNECTED):
            # In a handshake or a PROXY header there is no place for a 421.
            self._drop("server shut down")
        else:
            super().shutDown()

    # -- The end ----------------------------------------------------------------------------------

    def readConnectionLost(self) -> None:
        """The client will say no more, but may listen: what it said is answered first."""
        self._inputEnded = True
        if not self._closing:
            self._checkWaiting()

    def writeConnectionLost(self) -> None:
        """We never close our side alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.isLost = self._closing = self.paused = True
        # Before anything of the handler's is called: that may end in whatever it likes.
        self.factory.lifetimes.end(self)
        self.factory.counts.leave(self._block)
        try:
            self._stop()
        finally:
            seconds = self.clock.seconds() - self._startedAt
            why = self.closeReason or _describe(reason, self.handshakeDue)
            self.factory.connectionGone(self)
            if self._reachedHandler:
                self.tell("onClose", self.session)
            self.factory.events.sessionEnded(self.session, why, seconds)

    def _stop(self) -> None:
        """End all that is under way, but not a message that is there as a whole."""
        if self.transfer is not None and self.transfer.isFinishing:
            # The timer may be that of our last word.
            self.setTimer(self.options.handlerTimeout, self._handlerTimedOut)
        else:
            self.stopTimer()
            self.transactionLost()
            self._waitToken = None
            self.giveUp()
        if self._lookup is not None:
            self._lookup.cancel()
        self._buffer = b""


def _describe(reason: Failure, inHandshake: bool) -> str:
    if inHandshake:
        trouble = handshakeTrouble(reason.value)
        return f"TLS handshake failed: {trouble}" if trouble else "TLS handshake failed"
    if reason.check(type(connectionDone.value)):
        return "client left"
    return f"connection lost: {reason.type.__name__ if reason.type else 'unknown'}"


def _address(end: Any) -> str | None:
    """An end's IP address in one spelling; a dual-stack listener shows IPv4 as IPv6."""
    host: str | None = getattr(end, "host", None)
    return host if host is None else normalizeAddress(host) or host


def _setNoDelay(transport: Any) -> None:
    setNoDelay = getattr(transport, "setTcpNoDelay", None)
    if setNoDelay is not None:
        setNoDelay(True)
