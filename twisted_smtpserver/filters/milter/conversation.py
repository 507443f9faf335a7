"""
The conversation with a milter about one SMTP connection, command by command.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.filters.milter import codec
from twisted_smtpserver.filters.milter.client import MilterConnection
from twisted_smtpserver.filters.milter.edits import Edits
from twisted_smtpserver.filters.milter.macros import macrosFor
from twisted_smtpserver.filters.milter.symbols import (
    BODY_CHUNK,
    VERSION,
    Command,
    CustomReply,
    MilterError,
    Progress,
    Reply,
    Step,
    Verdict,
)
from twisted_smtpserver.session import Address, Session

#: How often a milter may say that it is still at work, for one command.
MAX_PROGRESS = 1000

#: How many fields are sent, and how many replies are read, before other work gets a turn.
MAX_AT_ONCE = 100

Outcome = Verdict | CustomReply


class Conversation:
    """
    Tells a milter about one SMTP connection. Make one call at a time.

    Each call raises :class:`~twisted_smtpserver.filters.milter.symbols.MilterError` if the milter
    is silent, is gone or breaks the protocol. Then drop the connection.

    :param connection: the connection to the milter.
    :param session: the client's session.
    :param hostName: our own name.
    :param timeout: how long the milter may take for a reply, in seconds.
    :param clock: the clock for that.
    :ivar isInMessage: whether the milter was told of a MAIL whose message isn't over.
    """

    def __init__(
        self,
        connection: MilterConnection,
        session: Session,
        hostName: str,
        timeout: float,
        clock: IReactorTime,
    ) -> None:
        self.connection = connection
        self._session = session
        self._hostName = hostName
        self._timeout = timeout
        self._clock = clock
        self._agreement = connection.agreement
        self.isInMessage = False

    # -- The commands of SMTP ----------------------------------------------------------------------

    async def connect(self) -> Outcome:
        """A client has connected."""
        session = self._session
        told = codec.connection(session.clientHostname, session.remoteAddress, session.remotePort)
        return await self._ask(Command.CONNECT, told)

    async def hello(self, name: str) -> Outcome:
        """The client said its name."""
        return await self._ask(Command.HELLO, codec.packet(Command.HELLO, codec.strings(name)))

    async def mail(self, address: Address) -> Outcome:
        """Send MAIL."""
        self.abort()  # the last MAIL, if another stage refused it
        self.isInMessage = True
        return await self._ask(Command.MAIL, _path(Command.MAIL, address), address)

    async def rcpt(self, address: Address) -> Outcome:
        """Send RCPT."""
        return await self._ask(Command.RCPT, _path(Command.RCPT, address), address)

    async def data(self) -> Outcome:
        """Send DATA."""
        return await self._ask(Command.DATA, codec.packet(Command.DATA))

    def edits(self, message: Message) -> Edits:
        """Make what collects the milter's changes of a message."""
        return Edits(message, bool(self._agreement.steps & Step.LEADING_SPACE), self._clock)

    async def message(self, message: Message, edits: Edits) -> Outcome:
        """
        The whole message.

        :param message: the message as it is now.
        :param edits: collects the milter's changes.
        """
        outcome = await self._header(message)
        if outcome is Verdict.CONTINUE:
            outcome = await self._body(message)
        if outcome in (Verdict.CONTINUE, Verdict.SKIP):
            outcome = await self._end(edits)
        self.isInMessage = False
        return outcome

    def abort(self) -> None:
        """The transaction is over, if there was one."""
        if self.isInMessage:
            self.isInMessage = False
            self.connection.send(codec.packet(Command.ABORT))

    def end(self, reuse: bool) -> bool:
        """
        The client is gone.

        :param reuse: whether the connection is wanted for another client.
        :returns: whether it can serve another client.
        """
        if not self.connection.isQuiet:
            return False
        self.abort()
        isReusable = reuse and self._agreement.version >= VERSION
        command = Command.NEW_CONNECTION if isReusable else Command.QUIT
        self.connection.send(codec.packet(command))
        return isReusable

    # -- Pieces of a message -----------------------------------------------------------------------

    async def _header(self, message: Message) -> Outcome:
        if self._agreement.wants(Command.HEADER):
            for number, field in enumerate(message.header, 1):
                if not number % MAX_AT_ONCE:  # the milter may answer none of them
                    await deferLater(self._clock, 0)
                told = codec.header(field.name, field.value, self._agreement)
                outcome = await self._exchange(Command.HEADER, told)
                if outcome is not Verdict.CONTINUE:
                    return outcome
        return await self._ask(Command.END_OF_HEADER, codec.packet(Command.END_OF_HEADER))

    async def _body(self, message: Message) -> Outcome:
        if not self._agreement.wants(Command.BODY):
            return Verdict.CONTINUE
        async for octets in message.body():
            for start in range(0, len(octets), BODY_CHUNK):
                told = codec.packet(Command.BODY, octets[start : start + BODY_CHUNK])
                outcome = await self._exchange(Command.BODY, told)
                if outcome is not Verdict.CONTINUE:
                    return outcome
        return Verdict.CONTINUE

    async def _end(self, edits: Edits) -> Outcome:
        self.connection.send(
            self._macros(Command.END_OF_MESSAGE) + codec.packet(Command.END_OF_MESSAGE)
        )
        replies = progress = 0
        while True:
            replies += 1
            if not replies % MAX_AT_ONCE:  # the milter may send a flood
                await deferLater(self._clock, 0)
            # The caller limits how long all of this may take.
            reply = await self.connection.receive()
            if isinstance(reply, (Verdict, CustomReply)):
                return _final(reply)
            if isinstance(reply, Progress):
                progress += 1
                _bound(progress)
            else:
                await edits.add(reply)

    # -- Asking ------------------------------------------------------------------------------------

    async def _ask(self, command: Command, told: bytes, address: Address | None = None) -> Outcome:
        if not self._agreement.wants(command):
            return Verdict.CONTINUE
        return await self._exchange(command, self._macros(command, address) + told)

    def _macros(self, stage: Command, address: Address | None = None) -> bytes:
        values = macrosFor(stage, self._session, self._agreement, self._hostName, address)
        return codec.macros(stage, values) if values else b""

    async def _exchange(self, command: Command, told: bytes) -> Outcome:
        self.connection.send(told)
        if not self._agreement.answers(command):
            if self.connection.isFull:
                await self._inTime(self.connection.room())
            return Verdict.CONTINUE
        for number in range(1, MAX_PROGRESS + 1):
            if not number % MAX_AT_ONCE:  # the milter may send a flood
                await deferLater(self._clock, 0)
            reply = await self._inTime(self.connection.receive())
            if isinstance(reply, (Verdict, CustomReply)):
                if reply is Verdict.SKIP and command is Command.BODY:
                    return reply
                return _final(reply)
            if not isinstance(reply, Progress):
                raise MilterError("it sent a change before the end of the message")
        raise MilterError("it sent nothing but progress")

    async def _inTime(self, waiting: Any) -> Any:
        answer: Deferred[Reply] = Deferred.fromCoroutine(waiting)
        if not answer.called:
            answer.addTimeout(self._timeout, self._clock)
        try:
            return await answer
        except DeadlineError:
            raise MilterError(f"it didn't answer within {self._timeout:g} s") from None


def _final(reply: Outcome) -> Outcome:
    if reply in (Verdict.SKIP, Verdict.CONNECTION_FAILED):
        raise MilterError(f"it sent {reply}, which makes no sense here")
    return reply


def _bound(progress: int) -> None:
    if progress > MAX_PROGRESS:
        raise MilterError("it sent nothing but progress")


def _path(command: Command, address: Address) -> bytes:
    parameters = (
        name if value is True else f"{name}={value}" for name, value in address.args.items()
    )
    return codec.path(command, address.address, parameters)
