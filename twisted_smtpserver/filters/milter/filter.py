"""
A milter as a filter: it is asked at each SMTP command, and about the whole message.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.filters.milter.client import MilterConnection
from twisted_smtpserver.filters.milter.conversation import Conversation, Outcome
from twisted_smtpserver.filters.milter.pool import Pool
from twisted_smtpserver.filters.milter.symbols import CustomReply, MilterError, Verdict
from twisted_smtpserver.log.serverlog import client
from twisted_smtpserver.message.files import storageRefusal
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.text import escape

_log = Logger()

#: How long a connection, a reply, and a whole message may take, in seconds.
CONNECT_TIMEOUT = 10.0
COMMAND_TIMEOUT = 30.0
MESSAGE_TIMEOUT = 240.0

#: Replies to the client if the milter gives none of its own.
_REJECTED = Reply(550, "5.7.1", "Refused by a filter")
_TEMPFAILED = Reply(451, "4.7.1", "Service unavailable, try again later")
# Instead of a greeting, only these codes are allowed (RFC 5321 §3.1, §3.8).
_REJECTED_AT_CONNECT = Reply(554, "5.7.1", "No service for you here")
_TEMPFAILED_AT_CONNECT = Reply(421, "4.7.1", "Service unavailable, try again later")
_SHUTDOWN = Reply(421, "4.7.0", "A filter closes the connection")

#: The reply to the client when a milter has failed.
_ON_FAILURE = {
    "tempfail": Reply(451, "4.7.1", "Message can't be checked now, try again later"),
    "reject": Reply(550, "5.7.1", "Message can't be checked"),
    "accept": None,
}


class MilterRejection(Rejection):
    """A refusal that may have several lines."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text, reply.code, reply.enhanced, policy="milter")
        self._reply = reply

    def toReply(self, stage: Reply, isSender: bool = False) -> Reply:
        """See :meth:`~twisted_smtpserver.Rejection.toReply`."""
        return self._reply


class _Course:
    """
    The state of a milter for one client.

    :ivar conversation: the conversation with the milter; ``None`` without a connection.
    :ivar settled: the milter's verdict about the whole connection: accept or discard.
    :ivar settledForMessage: its verdict about the current message.
    :ivar isClientGone: whether the client has left while its message is judged.
    """

    def __init__(self) -> None:
        self.conversation: Conversation | None = None
        self.settled: Verdict | None = None
        self.settledForMessage: Verdict | None = None
        self.isClientGone = False

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is one."""
        return self.settled or self.settledForMessage

    @property
    def isReady(self) -> bool:
        """Whether the connection is still open."""
        return self.conversation is not None and self.conversation.connection.isQuiet


class Milter:
    """
    A filter for :class:`~twisted_smtpserver.filters.Filtered` that asks another program, by the
    milter protocol that sendmail and Postfix speak: ``Milter("unix:/run/rspamd/milter.sock")``.

    The milter is asked at each command, so that it can refuse a recipient in the answer to RCPT.
    When the message has come, the milter gets its header and body. Then it may refuse the message,
    change its header, body, sender and recipients, put it into quarantine, or throw it away.

    A milter that can't be reached, is silent, goes away or breaks the protocol has failed.
    ``onFailure`` says what becomes of the mail then. The next MAIL tries the milter again. A
    message that has come in whole is judged even if its client has left.

    :param endpoint: where the milter listens: one of Twisted's client endpoints, or the description
        of one, such as ``"tcp:127.0.0.1:11332"``.
    :param onFailure: ``"tempfail"`` (451 4.7.1: the client tries again), ``"reject"`` (550 5.7.1)
        or ``"accept"``: mail comes in as if there were no such milter.
    :param connectTimeout: how long a connection may take, in seconds.
    :param commandTimeout: how long a reply may take, in seconds.
    :param messageTimeout: how long the milter may take for a whole message, in seconds. Keep it
        below the server's ``handlerTimeout``.
    :param hostName: our name, which milters put into fields that they add; by default this
        machine's.
    :param reuse: whether a connection serves one client after the other. rspamd can do that.
        Debian's libmilter, and so OpenDKIM and ClamAV, says that it can (version 6 of the
        protocol), and then doesn't answer.
    :param reactor: by default the one that is installed.
    :raises ConfigurationError: if the endpoint or ``onFailure`` is wrong.
    """

    #: Filtered sets no limit: a milter has its own, and ``onFailure`` says what happens then.
    timeout = None

    #: See :func:`~twisted_smtpserver.handlers.check.descriptorsPerClient`.
    descriptorsPerClient = 1

    def __init__(
        self,
        endpoint: str | IStreamClientEndpoint,
        *,
        onFailure: str = "tempfail",
        connectTimeout: float = CONNECT_TIMEOUT,
        commandTimeout: float = COMMAND_TIMEOUT,
        messageTimeout: float = MESSAGE_TIMEOUT,
        hostName: str | None = None,
        reuse: bool = False,
        reactor: Any = None,
    ) -> None:
        if onFailure not in _ON_FAILURE:
            raise ConfigurationError(f"onFailure: {onFailure!r} isn't {', '.join(_ON_FAILURE)}")
        self._pool = Pool(endpoint, connectTimeout, reactor)
        self._onFailure = onFailure
        self._commandTimeout = commandTimeout
        self._messageTimeout = messageTimeout
        self._hostName = hostName or socket.gethostname()
        self._reuse = reuse
        # Not in session.data: the sessions that ByRecipient makes for its stores share that.
        self._courses: WeakKeyDictionary[Session, _Course] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Milter {self._pool!r}>"

    def close(self) -> Deferred[None]:
        """
        Close the connections that no client uses, and the others when their clients have left.

        :returns: a Deferred that fires when all are closed.
        """
        return Deferred.fromCoroutine(self._pool.close())

    # -- The hooks ---------------------------------------------------------------------------------

    async def onConnect(self, session: Session) -> None:
        """Ask the milter. Its refusal is 554, or its own reply."""
        self.onClose(session)  # after XCLIENT, this is another client
        course = self._courses[session] = _Course()
        try:
            await self._open(course, session)
        except MilterError as error:
            self._failed(course, session, error)  # MAIL tries again, and is refused if need be

    async def onHello(self, hostname: str, session: Session) -> None:
        """Ask the milter. Its refusal is 550, or its own reply."""
        course = self._course(session)
        if course.conversation is None or course.settled is not None:
            return
        try:
            await self._hello(course, hostname)
        except MilterError as error:
            self._failed(course, session, error)

    async def onMailFrom(self, address: Address, session: Session) -> None:
        """Ask the milter. Its refusal is 550, or its own reply."""
        course = self._course(session)
        course.settledForMessage = None
        if course.settled is not None:
            return
        try:
            if not course.isReady:
                await self._open(course, session)
                if course.verdict is None and session.hostNameAppearsAs is not None:
                    await self._hello(course, session.hostNameAppearsAs)
        except MilterError as error:
            self._giveUp(course, session, error)
        await self._transaction(session, lambda conversation: conversation.mail(address))

    async def onRcptTo(self, address: Address, session: Session) -> None:
        """Ask the milter. Its refusal is 550, or its own reply."""
        await self._transaction(session, lambda conversation: conversation.rcpt(address))

    async def onDataCommand(self, session: Session) -> None:
        """Ask the milter. Its refusal is 550, or its own reply."""
        await self._transaction(session, lambda conversation: conversation.data())

    async def onMessage(self, message: Message, session: Session) -> None:
        """Ask the milter. Its refusal is 550, or its own reply."""
        await self._transaction(session, lambda conversation: self._judge(conversation, message))
        message.discard = message.discard or self._course(session).verdict is Verdict.DISCARD

    def onTransactionEnd(self, envelope: Envelope, outcome: str, session: Session) -> None:
        """Tell the milter that the transaction is over."""
        course = self._course(session)
        course.settledForMessage = None
        if course.conversation is not None:
            try:
                course.conversation.abort()
            except MilterError as error:
                self._failed(course, session, error)
        if course.isClientGone:
            self._end(session)

    def onClose(self, session: Session) -> None:
        """The client is gone. A message that has come in whole is judged all the same."""
        if session.envelope.mailFrom is None:
            self._end(session)
        else:
            self._course(session).isClientGone = True

    def _end(self, session: Session) -> None:
        course = self._courses.pop(session, None)
        if course is None or course.conversation is None:
            return
        conversation, course.conversation = course.conversation, None
        if conversation.end(self._reuse):
            self._pool.giveBack(conversation.connection)
        else:
            conversation.connection.close()

    # -- What they share ---------------------------------------------------------------------------

    def _course(self, session: Session) -> _Course:
        return self._courses.setdefault(session, _Course())

    async def _open(self, course: _Course, session: Session) -> None:
        """Take a connection, and tell the milter about the client."""
        connection = await self._pool.take()
        try:
            await self._connect(course, session, connection)
        except MilterError:
            if not connection.isReused:
                raise
            # The milter may have closed it while it was free.
            await self._connect(course, session, await self._pool.connect())

    async def _connect(
        self, course: _Course, session: Session, connection: MilterConnection
    ) -> None:
        course.conversation = Conversation(
            connection, session, self._hostName, self._commandTimeout, self._pool.reactor
        )
        replies = _REJECTED_AT_CONNECT, _TEMPFAILED_AT_CONNECT
        course.settled = await self._step(course, Conversation.connect, *replies)

    async def _hello(self, course: _Course, name: str) -> None:
        course.settled = await self._step(course, lambda conversation: conversation.hello(name))

    async def _transaction(
        self, session: Session, ask: Callable[[Conversation], Awaitable[Outcome]]
    ) -> None:
        """Ask within a transaction, where ``onFailure`` applies."""
        course = self._course(session)
        if course.verdict is not None:
            return
        try:
            course.settledForMessage = await self._step(course, ask)
        except MilterError as error:
            self._giveUp(course, session, error)

    async def _step(
        self,
        course: _Course,
        ask: Callable[[Conversation], Awaitable[Outcome]],
        rejected: Reply = _REJECTED,
        tempfailed: Reply = _TEMPFAILED,
    ) -> Verdict | None:
        """
        Ask the milter.

        :returns: accept or discard, if that is its verdict.
        """
        conversation = course.conversation
        if conversation is None:
            raise MilterError("it failed before in this transaction")
        try:
            outcome = await ask(conversation)
        except BaseException:  # a cancellation, too: the milter's reply would come too late
            course.conversation = None
            conversation.connection.drop()
            raise
        refusal = _refusal(outcome, rejected, tempfailed)
        if refusal is not None:
            raise MilterRejection(refusal)
        return Verdict(outcome) if outcome in (Verdict.ACCEPT, Verdict.DISCARD) else None

    async def _judge(self, conversation: Conversation, message: Message) -> Outcome:
        edits = conversation.edits(message)
        judging: Deferred[Outcome] = Deferred.fromCoroutine(conversation.message(message, edits))
        judging.addTimeout(self._messageTimeout, self._pool.reactor)
        try:
            outcome = await judging
            if outcome in (Verdict.ACCEPT, Verdict.CONTINUE):
                await edits.apply()
        except DeadlineError:
            raise MilterError(f"it gave no verdict within {self._messageTimeout:g} s") from None
        except OSError as error:
            _log.error(
                "Message {id} can't be filtered: {error}", id=message.envelope.id, error=error
            )
            raise storageRefusal(error) from error
        finally:
            edits.forget()
        return outcome

    def _failed(self, course: _Course, session: Session, error: MilterError) -> None:
        course.conversation = None
        _log.error(
            "{milter} failed for {client}, message {id}: {error}",
            milter=self,
            client=client(session),
            id=session.envelope.id or "-",
            error=escape(str(error)),
        )

    def _giveUp(self, course: _Course, session: Session, error: MilterError) -> None:
        """Do what ``onFailure`` says."""
        self._failed(course, session, error)
        reply = _ON_FAILURE[self._onFailure]
        if reply is not None:
            raise MilterRejection(reply) from error
        course.settledForMessage = Verdict.ACCEPT


def _refusal(outcome: Outcome, rejected: Reply, tempfailed: Reply) -> Reply | None:
    if isinstance(outcome, CustomReply):
        stage = rejected if outcome.code >= 500 else tempfailed
        return Reply(outcome.code, outcome.enhanced or stage.enhanced, *outcome.lines)
    return {
        Verdict.REJECT: rejected,
        Verdict.TEMPFAIL: tempfailed,
        Verdict.SHUTDOWN: _SHUTDOWN,
    }.get(outcome)
