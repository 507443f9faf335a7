"""The handler that forwards messages."""

from __future__ import annotations

import socket
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.headers import receivedHeader
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.results import Accepted
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.stores.base import (
    DEADLINE,
    MAX_HOPS,
    BackOff,
    Traced,
    Unavailable,
    oneAnswer,
    outcomes,
    readAuthorities,
)
from twisted_smtpserver.stores.forward.answers import Answer, refusal
from twisted_smtpserver.stores.forward.host import Host, parseURL
from twisted_smtpserver.stores.forward.pool import Pool, Settings
from twisted_smtpserver.stores.forward.transaction import Transaction

#: The most connections to one host by default. Each client in a transaction has one.
MAX_CONNECTIONS = 100

_log = Logger()

_LOCAL = ("localhost", "127.0.0.1", "::1")


class Forward(SMTPHandler):
    """
    Forwards each message to another server while it comes in: *cut-through*.

    MAIL and RCPT are passed on at once, so a recipient that the next hop refuses is refused at
    RCPT. The message is streamed at the slower side's pace, and the next hop's answer is the
    client's. There is no queue and no bounce: if no next hop can be reached, the client gets 451
    and keeps the message. A ``Received:`` field is added.

    What the client asks for by a parameter of MAIL or RCPT (8BITMIME, SMTPUTF8, SIZE, DSN,
    REQUIRETLS, …) is handed on, or refused if the next hop doesn't offer it.

    With a next hop of LMTP, each recipient has an answer at the end. A client of LMTP gets them as
    they are. A client of SMTP gets one: 250 if the message is stored for all, else a refusal, a
    temporary one if any is; the log names the recipients whose message is stored.

    Close it with :meth:`close` when the server is stopped.

    :param urls: the next hops by priority: the first that can be reached gets the message.
        ``smtp://host`` is in clear. ``smtps://host`` is TLS from the first octet on, and
        ``smtp+starttls://host`` requires STARTTLS; in both the certificate must be valid for the
        host. ``lmtp://host`` and ``lmtp:unix:/path`` are LMTP. A port goes behind the host, and
        ``user@`` before it for a login.
    :param password: for the hosts with a user.
    :param ca: the path of a PEM file with the certificates that those of the next hops must be
        signed by; by default the system's.
    :param hostName: our name in the hello and in ``Received:``; by default this machine's.
    :param deadline: how long to wait for a connection and for each reply, in seconds; for the reply
        at a message's end, four times as long.
    :param maxConnections: the most simultaneous connections to one host; beyond that MAIL gets 451.
    :param maxHops: a message with more ``Received:`` fields is going in circles: 554 5.4.6.
    :param backOff: makes what decides when to try a host again that was away.
    :param reactor: Twisted's, by default.
    :raises ConfigurationError: if that can't work.
    """

    def __init__(
        self,
        *urls: str,
        password: str = "",
        ca: str | None = None,
        hostName: str | None = None,
        deadline: float = DEADLINE,
        maxConnections: int = MAX_CONNECTIONS,
        maxHops: int = MAX_HOPS,
        backOff: Any = None,
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            reactor = theReactor()
        hosts = [_checked(parseURL(url), password) for url in urls]
        if not hosts:
            raise ConfigurationError("Forward: name a host to forward to")
        trust = None if ca is None else readAuthorities(ca, "Forward")
        self.hostName = hostName or socket.gethostname()
        self.maxHops = maxHops
        self._name = ", ".join(map(str, hosts))
        self._transactions: WeakKeyDictionary[Session, Transaction] = WeakKeyDictionary()
        settings = Settings(
            reactor=reactor,
            hostName=self.hostName,
            password=password,
            makeTLS=lambda name: optionsForClientTLS(name, trustRoot=trust),
            deadline=deadline,
            maxConnections=maxConnections,
            backOff=backOff or (lambda: BackOff(reactor)),
        )
        self._pool = Pool(hosts, settings)

    def __repr__(self) -> str:
        return f"<Forward to {self._name}>"

    async def onMailFrom(self, address: Address, session: Session) -> None:
        """
        Ask the next hop.

        :raises Rejection: what it says; 451 if no next hop can be reached.
        """
        self._abandon(session)
        with outcomes(self, session.envelope, address):
            self._transactions[session] = await Transaction.begin(
                self._pool, address, session.envelope
            )

    async def onRcptTo(self, address: Address, session: Session) -> Accepted | None:
        """Ask the next hop about the recipient; its answer is ours."""
        transaction = self._transactions.get(session)
        if transaction is None:  # MAIL wasn't put to us: then all is asked when the message comes
            return None
        with outcomes(self, session.envelope):
            answer = await transaction.add(address)
        return Accepted(answer.text, answer.enhanced, 251) if answer.code == 251 else None

    async def onData(self, stream: IncomingMessage, session: Session) -> object:
        """
        Hand the message on.

        :returns: the next hop's answer; one for each recipient if the client is to have that.
        :raises Rejection: if the next hop refuses, or the message goes in circles; 451 if the next
            hop doesn't answer.
        """
        envelope = session.envelope
        with outcomes(self, envelope):
            transaction, refusals = await self._ready(session)
            trace = receivedHeader(session, hostName=self.hostName)
            answers = await transaction.send(Traced(trace, stream, self.maxHops))
            self._note(envelope, transaction, answers)
            given = iter(answers)
            results = [
                refusals.get(number) or self._result(next(given), envelope)
                for number in range(len(envelope.rcptTo))
            ]
            return results if envelope.perRecipient else oneAnswer(results, self, envelope)

    async def _ready(self, session: Session) -> tuple[Transaction, dict[int, Rejection]]:
        """
        The transaction, whose recipients are those of the envelope without those refused.

        :returns: also the refusals, by the recipients' numbers.
        """
        envelope = session.envelope
        transaction = self._transactions.pop(session, None)
        if transaction is not None:
            if transaction.sender is envelope.mailFrom and _areSame(transaction, envelope):
                return transaction, {}
            # A filter has changed the envelope, or another stage has refused a recipient.
            transaction.abandon()
        assert envelope.mailFrom is not None
        transaction = await Transaction.begin(self._pool, envelope.mailFrom, envelope)
        try:
            refusals = await transaction.addAll(envelope.rcptTo)
            if refusals and not envelope.perRecipient:
                # No recipient has the message yet, so one answer is true for all.
                oneAnswer(list(refusals.values()), self, envelope)
        except BaseException:
            transaction.abandon()
            raise
        return transaction, refusals

    def _note(
        self, envelope: Envelope, transaction: Transaction, answers: list[Answer | Unavailable]
    ) -> None:
        """Log where the message went, and its name there: an operator may have to find it."""
        for answer in dict.fromkeys(map(str, filter(_isAcceptance, answers))):
            _log.info(
                "Message {id} is forwarded to {host}: {answer}",
                id=envelope.id,
                host=transaction.host,
                answer=answer,
            )

    def _result(self, answer: Answer | Unavailable, envelope: Envelope) -> object:
        """Turn a recipient's answer into one for our client."""
        try:
            with outcomes(self, envelope):
                if isinstance(answer, Unavailable):
                    raise answer
                if not answer.isPositive:
                    raise refusal(answer)
        except Rejection as refused:
            return refused
        return Accepted(f"Forwarded: {answer.text}")

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> None:
        """Give up what is left of the transaction."""
        self._abandon(session)

    def onClose(self, session: Session) -> None:
        """Give up the transaction of a client that has left."""
        self._abandon(session)

    def _abandon(self, session: Session) -> None:
        transaction = self._transactions.pop(session, None)
        if transaction is not None:
            transaction.abandon()

    def check(self) -> Deferred[None]:
        """
        Check whether a next hop can be reached; if none can, log that.

        :returns: fires when that is known.
        """
        return Deferred.fromCoroutine(self._check())

    async def ready(self) -> None:
        """
        Check whether a next hop can be reached.

        :raises Unavailable: if none can.
        """
        connection = await self._pool.acquire()
        connection.release()

    async def _check(self) -> None:
        try:
            connection = await self._pool.acquire()
        except Unavailable as error:
            _log.error(
                "{store} can't be reached: {reason}; clients get 451 until it can",
                store=self,
                reason=str(error),
            )
        else:
            _log.info("{store}: reached {host}", store=self, host=str(connection.host))
            connection.release()

    def close(self) -> Deferred[Any]:
        """
        Close idle connections now, and the others when their transactions end.

        :returns: fires when all are gone.
        """
        return self._pool.close()


def _isAcceptance(answer: Answer | Unavailable) -> bool:
    return isinstance(answer, Answer) and answer.isPositive


def _areSame(transaction: Transaction, envelope: Envelope) -> bool:
    """Whether the next hop has accepted the same recipients as we have."""
    ours, theirs = envelope.rcptTo, transaction.recipients
    return len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))


def _checked(host: Host, password: str) -> Host:
    if not host.user:
        return host
    if not password:
        raise ConfigurationError(f"Forward: {host}: the login of {host.user!r} needs a password")
    if host.isLmtp or not (host.isTLS or host.name in _LOCAL):
        raise ConfigurationError(f"Forward: {host}: a login needs smtps:// or smtp+starttls://")
    return host
