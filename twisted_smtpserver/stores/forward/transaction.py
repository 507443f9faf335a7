"""One mail transaction at the next hop (RFC 5321 §3.3)."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.session import Address, Envelope
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.stores.forward.answers import Answer, refusal
from twisted_smtpserver.stores.forward.client import Outlet
from twisted_smtpserver.stores.forward.dots import DotStuffer
from twisted_smtpserver.stores.forward.parameters import handOn, mailbox
from twisted_smtpserver.stores.forward.pool import MAX_IDLE, Connection, Pool

#: The end of the message is answered after the next hop has stored it. RFC 5321 §4.5.3.2.6 would
#: have us wait ten minutes; our own client doesn't. In deadlines.
FINAL_DEADLINES = 4

#: How many commands are sent without waiting for replies: that many replies fit into any buffer.
MAX_PIPELINED = 100

_NEEDS_8BIT = Rejection("The next hop doesn't take 8-bit messages", 554, "5.6.3")


class Transaction:
    """
    A transaction whose MAIL was accepted.

    :param connection: the connection to the next hop.
    :param sender: the sender.
    :param envelope: the client's transaction.
    :ivar sender: the sender.
    :ivar recipients: those that the next hop has accepted, in order.
    """

    def __init__(self, connection: Connection, sender: Address, envelope: Envelope) -> None:
        self.sender = sender
        self.recipients: list[Address] = []
        self._connection = connection
        self._utf8 = envelope.smtpUtf8
        self._isBinary = envelope.bodyType == "BINARYMIME"
        self._beginCommit = envelope.beginCommit

    @property
    def host(self) -> str:
        """The next hop, as the log names it."""
        return str(self._connection.host)

    @classmethod
    async def begin(cls, pool: Pool, sender: Address, envelope: Envelope) -> Transaction:
        """
        Send MAIL.

        :param pool: where to get a connection.
        :param sender: the client's, with its parameters.
        :param envelope: the client's.
        :raises Rejection: if the next hop refuses, or can't do what the client asked for.
        :raises Unavailable: if there is no next hop.
        """
        for _ in range(MAX_IDLE + 1):
            connection = await pool.acquire()
            transaction = cls(connection, sender, envelope)
            try:
                if await transaction._mail():
                    return transaction
            except Rejection:
                connection.release()
                raise
            except BaseException:
                connection.abort()
                raise
        raise Unavailable("it closed each connection that was kept open")

    async def _mail(self) -> bool:
        """Whether MAIL was accepted; not so if the connection has only just turned out dead."""
        connection = self._connection
        path = mailbox(self.sender, self._utf8, isSender=True)
        line = b"MAIL FROM:%s%s" % (path, handOn(self.sender, connection))
        try:
            answer = await connection.say(line)
        except Unavailable:
            # Which is how we learn that the next hop was restarted. A deadline isn't tried twice.
            if connection.messages and connection.lost.called:
                return False
            raise
        if answer.code == 421 and connection.messages:
            connection.abort()
            return False
        if not answer.isPositive:
            raise self._refusal(answer)
        return True

    async def add(self, recipient: Address) -> Answer:
        """
        Send RCPT.

        :param recipient: the client's, with its parameters.
        :returns: the next hop's reply.
        :raises Rejection: if the next hop refuses, or can't do what the client asked for.
        """
        answer = await self._connection.say(self._rcpt(recipient))
        self._judge(recipient, answer)
        return answer

    async def addAll(self, recipients: Sequence[Address]) -> dict[int, Rejection]:
        """
        Send RCPT for several recipients, all at once if the next hop has PIPELINING (RFC 2920).

        :param recipients: the recipients.
        :returns: the refusals, by the recipients' numbers.
        """
        refusals: dict[int, Rejection] = {}
        waiting: list[tuple[int, Deferred[Answer]]] = []
        isPipelined = "PIPELINING" in self._connection.offers
        for number, recipient in enumerate(recipients):
            try:
                answer = self._connection.begin(self._rcpt(recipient))
            except Rejection as refused:
                refusals[number] = refused
                continue
            waiting.append((number, answer))
            if not isPipelined or len(waiting) >= MAX_PIPELINED:
                await self._judgeAll(recipients, waiting, refusals)
        await self._judgeAll(recipients, waiting, refusals)
        return refusals

    async def _judgeAll(
        self,
        recipients: Sequence[Address],
        waiting: list[tuple[int, Deferred[Answer]]],
        refusals: dict[int, Rejection],
    ) -> None:
        try:
            while waiting:
                number, awaited = waiting.pop(0)
                try:
                    self._judge(recipients[number], await self._connection.answer(awaited))
                except Rejection as refused:
                    refusals[number] = refused
        except BaseException:
            self._connection.abort()  # nobody will hear the replies that are still to come
            for _, awaited in waiting:
                awaited.addErrback(_ignore)
            raise

    def _rcpt(self, recipient: Address) -> bytes:
        path = mailbox(recipient, self._utf8, isSender=False)
        return b"RCPT TO:%s%s" % (path, handOn(recipient, self._connection))

    def _judge(self, recipient: Address, answer: Answer) -> None:
        if not answer.isPositive:
            raise self._refusal(answer)
        self.recipients.append(recipient)

    def _refusal(self, answer: Answer) -> Rejection:
        if answer.code == 421:
            self._connection.abort()  # RFC 5321 §3.8: it is about to close
        return refusal(answer)

    def abandon(self) -> None:
        """The client has given the transaction up, or nobody is left to get the message."""
        Deferred.fromCoroutine(self._sayReset()).addErrback(_ignore)

    async def _sayReset(self) -> None:
        answer = await self._connection.say(b"RSET")
        if answer.isPositive:
            self._connection.release()
        else:
            self._connection.abort()

    # -- The message -------------------------------------------------------------------------------

    async def send(self, message: AsyncIterable[bytes]) -> list[Answer | Unavailable]:
        """
        Send the message.

        :param message: its octets. They aren't read before the next hop is ready for them.
        :returns: for each of :attr:`recipients` what the next hop said at the end; of SMTP, the one
            reply. :class:`Unavailable` where LMTP's reply didn't come: nobody knows then.
        :raises Rejection: if the next hop refuses the message before its end, or can't have it.
        :raises Unavailable: if the next hop isn't heard of.
        """
        if not self.recipients:
            self.abandon()
            return []
        connection = self._connection
        try:
            if self._isBinary:
                finals = await self._sendChunks(message)
            else:
                finals = await self._sendData(message)
        except _NotReadyError as error:
            self.abandon()
            raise self._refusal(error.answer) from None
        except BaseException:
            # The end of the message isn't sent: so the next hop must throw the rest away.
            connection.abort()
            raise
        answers = [await self._final(final) for final in finals]
        connection.release()
        return answers * (1 if connection.host.isLmtp else len(self.recipients))

    def _expectFinals(self) -> list[Deferred[Answer]]:
        """RFC 2033 §4.2: LMTP has one reply for each recipient."""
        isLmtp = self._connection.host.isLmtp
        return [self._connection.expect() for _ in self.recipients[: None if isLmtp else 1]]

    async def _final(self, final: Deferred[Answer]) -> Answer | Unavailable:
        try:
            answer: Answer = await self._connection.answer(final, FINAL_DEADLINES)
        except Unavailable as error:
            return error
        if answer.code == 421:
            self._connection.abort()
        return answer

    async def _sendData(self, message: AsyncIterable[bytes]) -> list[Deferred[Answer]]:
        answer = await self._connection.say(b"DATA")
        if answer.code != 354:
            raise _NotReadyError(answer)
        finals = self._expectFinals()
        outlet = Outlet(self._connection.transport)
        try:
            await self._pump(message, outlet, finals[0])
        except BaseException:
            for final in finals:
                final.addErrback(_ignore)
            raise
        finally:
            outlet.close()
        return finals

    async def _pump(
        self, message: AsyncIterable[bytes], outlet: Outlet, final: Deferred[Answer]
    ) -> None:
        stuffer = DotStuffer()
        is7bit = "8BITMIME" not in self._connection.offers
        async for chunk in message:
            if is7bit and not chunk.isascii():
                raise _NEEDS_8BIT
            gate = outlet.write(stuffer.feed(chunk))
            if gate is not None:
                await self._connection.answer(gate)
            if final.called:  # before its time
                answer = await final
                raise refusal(answer)
        self._beginCommit()
        outlet.write(stuffer.end())

    async def _sendChunks(self, message: AsyncIterable[bytes]) -> list[Deferred[Answer]]:
        connection = self._connection
        async for chunk in message:
            answer = await connection.say(b"BDAT %d" % len(chunk), chunk)
            if not answer.isPositive:
                raise _NotReadyError(answer)
        self._beginCommit()
        connection.transport.write(b"BDAT 0 LAST\r\n")
        return self._expectFinals()


class _NotReadyError(Exception):
    """The next hop doesn't want the message, or no more of it, and the connection goes on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def _ignore(failure: Any) -> None:
    """Ignore an error: another one was reported already, or the client has left."""
