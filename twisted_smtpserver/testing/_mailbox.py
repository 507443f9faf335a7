"""The messages that arrived, as a test sees them."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted_smtpserver.message.emailmessage import building
from twisted_smtpserver.message.latetext import LateMessage
from twisted_smtpserver.message.parsed import ParsedMessage, parseMessage
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.session import Envelope, Session

#: How long :meth:`Mailbox.waitFor` waits unless told otherwise, in seconds.
WAIT_SECONDS = 5.0

#: How many of the latest events the error tells when a wait was in vain.
REMEMBERED = 30


class CapturedMessage(LateMessage):
    """
    A message that arrived: an :class:`email.message.EmailMessage` with its envelope.

    :ivar content: its octets, as they came.
    :ivar envelope: its envelope: ``mailFrom``, ``rcptTo``, ``bodyType`` …
    :ivar session: the client's session: ``secure``, ``user`` … It shows the current state.
    """

    content: bytes = b""
    envelope: Envelope
    session: Session

    @property
    def sender(self) -> str:
        """The reverse-path: the address that MAIL named; empty for bounces."""
        mailFrom = self.envelope.mailFrom
        return "" if mailFrom is None else mailFrom.address

    @property
    def recipients(self) -> list[str]:
        """The forward-paths: the addresses of RCPT that the server accepted."""
        return [address.address for address in self.envelope.rcptTo]

    def parsed(self) -> ParsedMessage:
        """
        Parse the message: text, HTML, addresses and attachments, decoded. Parsing never fails.
        """
        return parseMessage(self.content)

    @property
    def text(self) -> str:
        """The text; an empty string if there is none."""
        return self.parsed().text

    @property
    def html(self) -> str:
        """The HTML; an empty string if there is none."""
        return self.parsed().html

    def describe(self) -> str:
        """Describe the message in one line, without control characters."""
        to = ", ".join(self.recipients)
        return f"{_subject(self)!r} from <{self.sender}> to {to}"


class NoSuchMail(AssertionError):
    """The message didn't arrive. The text says what did."""


class Mailbox:
    """Messages that arrive in one thread, and that other threads wait for."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._messages: list[CapturedMessage] = []
        self._happenings: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def messages(self) -> list[CapturedMessage]:
        """The messages that have arrived, in order; a list of your own."""
        with self._arrival:
            return list(self._messages)

    def add(self, content: bytes, envelope: Envelope, session: Session) -> None:
        """
        Take a message.

        :param content: its octets.
        :raises MessageTooComplex: if it is beyond a bound of
            :mod:`~twisted_smtpserver.message.bounds`.
        """
        built: Any = finish(building(content))
        built.__class__ = CapturedMessage
        message: CapturedMessage = built
        message.content, message.envelope, message.session = content, envelope, session
        with self._arrival:
            self._messages.append(message)
            self._arrival.notify_all()

    def remark(self, happening: str) -> None:
        """
        Remember an event for the error of a wait in vain.

        :param happening: the event, in a line.
        """
        with self._arrival:
            self._happenings.append(happening)

    def clear(self) -> None:
        """Forget everything."""
        with self._arrival:
            self._messages.clear()
            self._happenings.clear()

    def waitFor(
        self,
        subject: str | re.Pattern[str] | None = None,
        to: str | None = None,
        *,
        sender: str | None = None,
        where: Callable[[CapturedMessage], object] | None = None,
        timeout: float = WAIT_SECONDS,
    ) -> CapturedMessage:
        """
        Wait for a message. It must fit all arguments.

        :param subject: a part of the subject, or a regular expression to search it for.
        :param to: one of the envelope's recipients.
        :param sender: the envelope's sender.
        :param where: a function that takes a message, and returns whether it is the right one.
        :param timeout: how long to wait, in seconds.
        :returns: the first message that fits, whether it came before or comes now.
        :raises NoSuchMail: if none has come in time; the text says what has come.
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        wanted = {"subject": subject, "to": to, "sender": sender, "where": where}

        def fits(message: CapturedMessage) -> bool:
            return (
                (subject is None or _hasSubject(message, subject))
                and (to is None or _same(to, message.recipients))
                and (sender is None or _same(sender, [message.sender]))
                and (where is None or bool(where(message)))
            )

        with self._arrival:
            found = self._arrival.wait_for(
                lambda: next(filter(fits, self._messages), None), timeout
            )
            if found is None:
                raise NoSuchMail(self._complaint(_said(wanted), timeout))
            return found

    def waitForCount(self, count: int, timeout: float = WAIT_SECONDS) -> list[CapturedMessage]:
        """
        Wait until a number of messages have arrived.

        :param timeout: how long to wait, in seconds.
        :returns: all messages; there may be more.
        :raises NoSuchMail: if there are fewer; the text lists them.
        """
        __tracebackhide__ = True
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self._messages) >= count, timeout):
                raise NoSuchMail(self._complaint(f"count={count}", timeout))
            return list(self._messages)

    async def waitForAsync(self, *arguments: Any, **keywords: Any) -> CapturedMessage:
        """
        Wait as :meth:`waitFor` does, in an asyncio program. The loop goes on meanwhile.

        :param arguments: as for :meth:`waitFor`.
        """
        __tracebackhide__ = True
        return await asyncio.to_thread(self.waitFor, *arguments, **keywords)

    def _complaint(self, wanted: str, timeout: float) -> str:
        """Say why a wait was in vain."""
        lines = [f"no mail with {wanted} within {timeout:g} s."]
        if self._messages:
            lines.append(f"What did arrive ({len(self._messages)}):")
            lines += [f"  {message.describe()}" for message in self._messages[-REMEMBERED:]]
        else:
            lines.append("None has arrived at all.")
        if self._happenings:
            lines.append("What happened besides:")
            lines += [f"  {happening}" for happening in self._happenings]
        elif not self._messages:
            lines.append("No client has even connected: check the host and port that it uses.")
        return "\n".join(lines)


def _subject(message: CapturedMessage) -> str:
    """The subject; the email package fails on some that are malformed."""
    try:
        return str(message["Subject"] or "")
    except Exception:
        return ""


def _hasSubject(message: CapturedMessage, wanted: str | re.Pattern[str]) -> bool:
    subject = _subject(message)
    return wanted in subject if isinstance(wanted, str) else wanted.search(subject) is not None


def _same(wanted: str, addresses: list[str]) -> bool:
    """Whether an address is among others; domains are compared without case."""

    def canonical(address: str) -> tuple[str, str]:
        local, _, domain = address.rpartition("@")
        return local, domain.lower()

    return canonical(wanted) in map(canonical, addresses)


def _said(wanted: Mapping[str, object]) -> str:
    given = [f"{name}={value!r}" for name, value in wanted.items() if value is not None]
    return ", ".join(given) or "any subject"
