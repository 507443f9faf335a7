"""Tests for :mod:`twisted_smtpserver.filters.filtered`."""

from __future__ import annotations

import errno
import inspect
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.filefakes import closedSpools
from tests.support.talk import HELLO, MAIL, RCPT, brief
from twisted_smtpserver import Chain, ConfigurationError, Rejection, SMTPHandler
from twisted_smtpserver.filters import Filtered, Message, filtered
from twisted_smtpserver.filters.filtered import FIELDS_AT_ONCE, MESSAGES_AT_ONCE
from twisted_smtpserver.filters.spool import READ_SIZE, Spool
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.session import Envelope
from twisted_smtpserver.testing import Client, RecordingHandler, connect, runInline

MESSAGE = b"Subject: hi\r\nFrom: joe@example.org\r\n\r\nHello\r\n"


class Store(SMTPHandler):
    """
    Keeps what it is given.

    :ivar messages: the messages.
    """

    def __init__(self, result: Any = None) -> None:
        self.messages: list[bytes] = []
        self.result = result

    async def onData(self, stream, session):
        """Keep it."""
        self.messages.append(await stream.read())
        return self.result


class Judge:
    """A filter that does what it is told to."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.seen: list[bytes] = []

    def onMessage(self, message: Message, session: Any) -> Any:
        """Do it."""
        return self.function(message)


def refuse(message: Message) -> None:
    """A filter's function that refuses."""
    raise Rejection("No, thanks")


class FilteredCase(SynchronousTestCase):
    """What the tests here share."""

    def setUp(self) -> None:
        self.store: Any = Store()
        self.clock = Clock()

    def serve(self, *functions: Any, options: Any = None, **keywords: Any) -> Client:
        """A client of a server with such filters."""
        filters = [Judge(each) if callable(each) else each for each in functions]
        keywords = {"runInThread": runInline, "reactor": self.clock, **keywords}
        handler = Filtered(self.store, *filters, **keywords)
        return connect(handler, reactor=self.clock, **(options or {}))

    def patchLog(self) -> list[str]:
        """The lines that the log gets from here on."""
        lines: list[str] = []

        class Log:
            def info(self, text: str, **values: Any) -> None:
                lines.append(text.format(**values))

            error = info

        self.patch(filtered, "_log", Log())
        return lines


class MessageTests(FilteredCase):
    """What filters see, and what the store gets."""

    def test_unchanged(self) -> None:
        """Without changes the store gets the message octet for octet."""
        client = self.serve(lambda message: None)
        for content in (MESSAGE, b"\r\n", b"no header\r\n", b" blank\r\n", b"A: b\r\n"):
            self.assertEqual(client.deliver(content).code, 250)
        self.assertEqual(
            self.store.messages,
            [MESSAGE, b"\r\n", b"no header\r\n", b" blank\r\n", b"A: b\r\n"],
        )

    def test_handedOn(self) -> None:
        """A small message that came in one piece is handed on as it is; others by another way."""
        streams: list[Any] = []
        found: list[bytes] = []

        class Reading(SMTPHandler):
            async def onData(self, stream: Any, session: Any) -> None:
                streams.append(stream)
                found.extend([chunk async for chunk in stream])

        class Outside(SMTPHandler):
            inner = Filtered(Reading(), Judge(lambda message: None), runInThread=runInline)

            async def onData(self, stream: Any, session: Any) -> Any:
                streams.append(stream)
                return await self.inner.onData(stream, session)

        client = connect(Outside())
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        client.answers()
        for line in (MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE)
        client.send(b".\r\n")
        self.assertEqual(found, [MESSAGE, MESSAGE])
        self.assertIs(streams[0], streams[1])
        self.assertIsNot(streams[2], streams[3])

    def test_nested(self) -> None:
        """A Filtered in a Filtered may give a message back that the outer one has changed."""
        inner = Filtered(self.store, Judge(lambda message: None), runInThread=runInline)
        outer = Filtered(inner, Judge(lambda message: {"X-A": "b"}), runInThread=runInline)
        for content in (MESSAGE, MESSAGE * 5000):
            self.assertEqual(connect(outer).deliver(content).code, 250)
        front = b"X-A: b\r\n"
        self.assertEqual(self.store.messages, [front + MESSAGE, front + MESSAGE * 5000])

    def test_otherStream(self) -> None:
        """A stage before it may hand another stream on than the server's."""

        async def parts() -> AsyncIterator[bytes]:
            yield MESSAGE
            yield MESSAGE

        handler = Filtered(self.store, Judge(lambda message: None), runInThread=runInline)
        session: Any = SimpleNamespace(envelope=Envelope(), id="1")
        session.envelope.rcptTo.append("jane@example.com")
        self.successResultOf(Deferred.fromCoroutine(handler.onData(cast("Any", parts()), session)))
        self.assertEqual(self.store.messages, [MESSAGE * 2])

    def test_large(self) -> None:
        """A large message goes by way of a file, both when it is changed and when it isn't."""
        content = MESSAGE + b"0123456789abcdef" * 62 * 500 + b"\r\n"
        content = b"\r\n".join([MESSAGE, *[b"x" * 900] * 300, b""])
        self.assertGreater(len(content), 4 * READ_SIZE)
        client = self.serve(lambda message: None, memory=1000)
        self.assertEqual(client.deliver(content).code, 250)
        client = self.serve(lambda message: {"X-A": "b"}, memory=1000)
        self.assertEqual(client.deliver(content).code, 250)
        self.assertEqual(self.store.messages, [content, b"X-A: b\r\n" + content])

    def turns(self) -> list[Deferred[None]]:
        """The turns that others are given, which the test ends."""
        turns: list[Deferred[None]] = []

        def turn(clock: Any, seconds: float) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        self.patch(filtered, "deferLater", turn)
        return turns

    def test_turns(self) -> None:
        """Others have their turns between the messages that a client sends one upon the other."""
        turns = self.turns()
        client = self.serve(lambda message: None)
        client.say(HELLO)
        one = f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + MESSAGE + b".\r\n"
        client.send(one * 2 * MESSAGES_AT_ONCE)
        for number in (1, 2):
            stored = number * MESSAGES_AT_ONCE - 1
            self.assertEqual((len(turns), len(self.store.messages)), (number, stored))
            turns[-1].callback(None)
        self.assertEqual(len(self.store.messages), 2 * MESSAGES_AT_ONCE)

    def test_noTurns(self) -> None:
        """Clients that take turns by themselves, as nearly all do, cost no further ones."""
        turns = self.turns()
        handler = Filtered(self.store, Judge(lambda message: None), runInThread=runInline)
        clients = [connect(handler) for _ in range(2)]
        hello: str | None = HELLO
        for _ in range(2 * MESSAGES_AT_ONCE):
            for client in clients:
                self.assertEqual(client.deliver(MESSAGE, hello=hello).code, 250)
            hello = None
        self.assertEqual(turns, [])

    def test_turnForFields(self) -> None:
        """Others have a turn before a long header is judged."""
        turns = self.turns()
        client = self.serve(lambda message: None)
        client.say(HELLO)
        for count in (FIELDS_AT_ONCE, FIELDS_AT_ONCE + 1):
            one = b"A: b\r\n" * count + b"\r\n.\r\n"
            client.send(f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + one)
        self.assertEqual((len(turns), len(self.store.messages)), (1, 1))
        turns[0].callback(None)
        self.assertEqual(len(self.store.messages), 2)

    def test_headerInPieces(self) -> None:
        """A header is whole, also if its end didn't go where its beginning went."""
        client = self.serve(lambda message: {"X-A": "b"}, memory=2)
        for line in (HELLO, MAIL, RCPT):
            client.say(line)
        for part in (b"BDAT 3\r\nA: ", b"BDAT 5 LAST\r\nb\r\n\r\n"):
            client.send(part)
        self.assertEqual(self.store.messages, [b"X-A: b\r\nA: b\r\n\r\n"])

    def test_fields(self) -> None:
        """Fields are put in front, those of the last filter first; a dict or octets."""
        client = self.serve(lambda message: {"X-A": "1", "X-B": "2"}, lambda message: b"X-C: 3\r\n")
        client.deliver(MESSAGE)
        client.deliver(b" a body that begins with a blank\r\n", hello=None)
        client.deliver(b"\r\nno header\r\n", hello=None)
        front = b"X-C: 3\r\nX-A: 1\r\nX-B: 2\r\n"
        self.assertEqual(
            self.store.messages,
            [
                front + MESSAGE,
                front + b"\r\n a body that begins with a blank\r\n",
                front + b"\r\nno header\r\n",
            ],
        )

    def test_changes(self) -> None:
        """Fields may be taken out, and a body put in the place of another one."""

        async def change(message: Message) -> None:
            message.header.remove(lambda field: field.isCalled("from"))
            body = message.newSpool()
            await body.write(b"replaced ")
            message.replaceBody(body)
            body = message.newSpool()
            await body.write(b"twice\r\n")
            message.replaceBody(body)

        self.assertEqual(self.serve(change).deliver(MESSAGE).code, 250)
        self.assertEqual(self.store.messages, [b"Subject: hi\r\n\r\ntwice\r\n"])

    def test_noLineEnd(self) -> None:
        """A header whose last line isn't ended stays one when fields come behind it."""

        def change(message: Message) -> None:
            message.header.replace("A", 1, b"A: c\r\n")

        client = self.serve(change)
        for line in (HELLO, MAIL, RCPT):
            client.say(line)
        client.send(b"BDAT 11 LAST\r\nA: b\r\nB: cd")
        client.answers()
        client.send(b"RSET\r\n")
        self.assertEqual(self.store.messages, [b"A: c\r\nB: cd\r\n"])

    def test_reading(self) -> None:
        """A filter reads the message as often as it likes, whole or the body."""
        found: list[bytes] = []

        async def read(message: Message) -> dict[str, str]:
            found.append(b"".join([octets async for octets in message]))
            found.append(b"".join([octets async for octets in message.body()]))
            with message.open() as file:
                found.append(file.read())
            self.assertEqual(message.size, len(MESSAGE))
            return {"X-A": "b"}

        self.serve(read, read).deliver(MESSAGE)
        front, second = b"X-A: b\r\n", b"X-A: b\r\nX-A: b\r\n"
        whole, body = MESSAGE, b"Hello\r\n"
        self.assertEqual(found, [whole, body, whole, front + whole, body, front + whole])
        self.assertEqual(self.store.messages, [second + MESSAGE])

    def test_openReplaced(self) -> None:
        """A thread sees the body that has replaced another one."""
        found: list[bytes] = []

        async def change(message: Message) -> None:
            body = message.newSpool()
            await body.write(b"new\r\n")
            message.replaceBody(body)
            with message.open() as file:
                found.append(file.read())

        self.serve(change).deliver(MESSAGE)
        self.assertEqual(found, [MESSAGE.replace(b"Hello", b"new")])

    def test_headerTooLong(self) -> None:
        """A header that no filter can be shown in whole is refused."""
        content = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 900) for n in range(300)) + b"\r\n"
        answer = self.serve().deliver(content)
        self.assertEqual(brief(answer), (554, "5.6.0"))
        self.assertEqual(self.store.messages, [])

    def test_slowStore(self) -> None:
        """The store reads at its own pace; what it leaves unread is thrown away."""

        class Half(SMTPHandler):
            async def onData(self, stream, session):
                await stream.__anext__()
                return "enough"

        self.store = Half()
        client = self.serve(memory=10)
        self.assertEqual(client.deliver(MESSAGE * 5000).text, "enough")


class VerdictTests(FilteredCase):
    """What becomes of a message."""

    def test_refused(self) -> None:
        """The first refusal is the answer; the store sees nothing. The log has the filter."""
        lines = self.patchLog()
        after: list[Message] = []
        client = self.serve(refuse, after.append)
        answer = client.deliver(MESSAGE)
        self.assertEqual((*brief(answer), answer.text), (550, "5.7.1", "No, thanks"))
        self.assertEqual((self.store.messages, after), ([], []))
        self.assertIn("is refused by <Judge>, client ", lines[0])
        self.assertIn("550 No, thanks", lines[0])

    def test_ownCode(self) -> None:
        """A refusal may have a code of its own."""

        async def later(message: Message) -> None:
            raise Rejection("Later", 451, "4.7.1")

        self.assertEqual(brief(self.serve(later).deliver(MESSAGE)), (451, "4.7.1"))

    def test_bug(self) -> None:
        """A filter that fails is a bug: 451 and an incident; nothing is stored."""
        for bug in (
            lambda message: 1 / 0,
            lambda message: b"no field",
            lambda message: {"a b": "c"},
        ):
            client = self.serve(bug)
            answer = client.deliver(MESSAGE)
            self.assertEqual(brief(answer), (451, "4.3.0"))
            self.assertIn("incident", answer.text)
            self.assertEqual(len(self.flushLoggedErrors(Exception)), 1)
        self.assertEqual(self.store.messages, [])

    def test_tooSlow(self) -> None:
        """A filter has so much time, then it is canceled; the log has its name."""
        lines = self.patchLog()
        for seconds in (5, 7):
            slow = Judge(lambda message: Deferred())
            if seconds == 7:
                slow.timeout = 7  # type: ignore[attr-defined]
            client = self.serve(slow, timeout=5)
            for line in (HELLO, MAIL, RCPT, "DATA"):
                client.say(line)
            client.send(MESSAGE + b".\r\n")
            client.wait(seconds - 0.1)
            self.assertEqual(client.answers(), [])
            client.wait(0.2)
            self.assertEqual(brief(client.answers()[0]), (451, "4.3.0"))
        self.assertIn("<Judge> took longer than 5 s", lines[0])
        self.assertIn("took longer than 7 s", lines[1])

    def test_noLimit(self) -> None:
        """One that sees to its time itself isn't canceled."""
        waiting: Deferred[None] = Deferred()
        slow = Judge(lambda message: waiting)
        slow.timeout = None  # type: ignore[attr-defined]
        client = self.serve(slow, timeout=5)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        client.wait(100)
        waiting.callback(None)
        self.assertEqual(client.answers()[0].code, 250)

    def test_discard(self) -> None:
        """A message may be thrown away; no further filter sees it, and the log says so."""
        lines = self.patchLog()
        after: list[Message] = []

        def discard(message: Message) -> None:
            message.discard = True

        self.assertEqual(self.serve(discard, after.append).deliver(MESSAGE).code, 250)
        self.assertEqual((self.store.messages, after), ([], []))
        self.assertIn("is discarded by <Judge>, client ", lines[0])

    def test_quarantine(self) -> None:
        """A message in quarantine is stored elsewhere, with the reason in front."""

        def quarantine(message: Message) -> None:
            message.quarantine = "looks\r\nodd"

        apart = Store("held")
        client = self.serve(quarantine, quarantine=apart)
        self.assertEqual(client.deliver(MESSAGE).text, "held")
        self.assertEqual(self.store.messages, [])
        self.assertEqual(apart.messages, [b"X-Quarantine: looks\\x0d\\x0aodd\r\n" + MESSAGE])

    def test_noQuarantine(self) -> None:
        """Without a quarantine the message is refused for a while, and the log says what to do."""
        lines = self.patchLog()

        def quarantine(message: Message) -> None:
            message.quarantine = "odd"

        self.assertEqual(brief(self.serve(quarantine).deliver(MESSAGE)), (451, "4.7.1"))
        self.assertEqual(self.store.messages, [])
        self.assertIn("Filtered(quarantine=", lines[0])

    def test_diskFull(self) -> None:
        """A full disk is 452, and the log says so."""
        lines = self.patchLog()

        def full(spool: Spool, *parts: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(Spool, "_writeOut", full)
        answer = self.serve(lambda message: None, memory=0).deliver(MESSAGE)
        self.assertEqual(brief(answer), (452, "4.3.1"))
        self.assertIn("No space left", lines[0])

    def test_tooLarge(self) -> None:
        """What the stream raises is answered as ever."""
        client = self.serve(lambda message: None, options={"size": 20})
        self.assertEqual(brief(client.deliver(MESSAGE)), (552, "5.3.4"))
        self.assertEqual(self.store.messages, [])

    def test_forgotten(self) -> None:
        """A store that doesn't wait until it has read is a bug: 451, never 250."""
        self.store = SMTPHandler()
        path = self.mktemp()
        self.store.onData = lambda stream, session: stream.saveTo(path) and None

        def never(*_: Any) -> Deferred[Any]:
            return Deferred()

        for fields in (None, {"X-A": "b"}):
            client = self.serve(lambda message, fields=fields: fields, runInThread=never)
            self.patch(client.protocol.factory, "runInThread", never)
            self.assertEqual(brief(client.deliver(MESSAGE)), (451, "4.3.0"))
            (error,) = self.flushLoggedErrors(RuntimeError)
            self.assertIn("stream.saveTo()", str(error.value))

    def test_unread(self) -> None:
        """The store may accept a message without reading it."""
        self.store = SMTPHandler()
        self.store.onData = lambda stream, session: "as you say"
        self.assertEqual(self.serve(lambda message: None).deliver(MESSAGE).text, "as you say")

    def test_reactor(self) -> None:
        """Unless told otherwise the time is the reactor's."""
        waiting: Deferred[None] = Deferred()
        client = self.serve(lambda message: waiting, reactor=None)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        waiting.callback(None)
        self.assertEqual(client.answers()[0].code, 250)

    def test_unreadable(self) -> None:
        """If what was put aside can't be read any more the store learns it; nothing is accepted."""
        client = self.serve(lambda message: None, memory=0)
        read = Spool.read

        async def broken(self: Spool, start: int, length: int) -> bytes:
            if start == 0 and length == READ_SIZE:
                raise OSError(errno.EIO, "Input/output error")
            return await read(self, start, length)

        self.patch(Spool, "read", broken)
        content = b"\r\n".join([MESSAGE, *[b"x" * 900] * 300, b""])
        self.assertEqual(client.deliver(content).code, 451)
        self.flushLoggedErrors(OSError)


class DialogueTests(FilteredCase):
    """How it goes together with the rest of a server."""

    def deliverBDAT(self, client: Client) -> Any:
        """Deliver a message in two chunks."""
        for line in (HELLO, MAIL, RCPT):
            client.say(line)
        half = len(MESSAGE) // 2
        client.send(b"BDAT %d\r\n%s" % (half, MESSAGE[:half]))
        self.assertEqual(client.answers()[0].code, 250)
        client.send(b"BDAT %d LAST\r\n%s" % (len(MESSAGE) - half, MESSAGE[half:]))
        return client.answers()[0]

    def test_chunks(self) -> None:
        """BDAT as well as DATA."""
        self.assertEqual(self.deliverBDAT(self.serve(lambda message: None)).code, 250)
        self.assertEqual(self.store.messages, [MESSAGE])
        self.assertEqual(self.deliverBDAT(self.serve(refuse)).code, 550)

    def test_lmtp(self) -> None:
        """Of LMTP's recipients each gets the store's answer, or the filter's."""
        self.store.result = [None, Rejection("full", 452)]
        client = self.serve(lambda message: None, options={"lmtp": True})
        for line in ("LHLO x", MAIL, RCPT, RCPT.replace("jane", "jim"), "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [250, 452])
        client = self.serve(refuse, options={"lmtp": True})
        for line in ("LHLO x", MAIL, RCPT, RCPT.replace("jane", "jim"), "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [550, 550])

    def test_prdr(self) -> None:
        """With PRDR each recipient has an answer, too (draft-hall-prdr-00)."""
        self.store.result = [None, Rejection("full", 452)]
        client = self.serve(lambda message: None, options={"extensions": ["PRDR"]})
        for line in (HELLO, f"{MAIL} PRDR", RCPT, RCPT.replace("jane", "jim"), "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [353, 250, 452, 250])

    def test_recipientsChanged(self) -> None:
        """Whom a filter took away is answered 250 in LMTP; with nobody left nothing is stored."""

        def removeFirst(message: Message) -> None:
            del message.envelope.rcptTo[0]

        for recipients, result, codes in [
            (("jane", "jim"), [Rejection("full", 452)], [250, 452]),
            (("jane", "jim"), {"jim@example.com": Rejection("full", 452)}, [250, 452]),
            (("jane",), None, [250]),
            (("jane", "jim"), [None, None], [451, 451]),
            (("jane", "jim"), None, [250, 250]),
        ]:
            self.store.result = result
            client = self.serve(removeFirst, options={"lmtp": True})
            for line in ("LHLO x", MAIL, *(RCPT.replace("jane", name) for name in recipients)):
                client.say(line)
            client.say("DATA")
            client.send(MESSAGE + b".\r\n")
            self.assertEqual([answer.code for answer in client.answers()], codes)
        self.assertEqual(len(self.store.messages), 4)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_beforeData(self) -> None:
        """A filter may refuse in the answer to DATA; then nothing is sent."""

        class Early(Judge):
            def onDataCommand(self, session: Any) -> None:
                raise Rejection("Don't bother")

        client = self.serve(Early(lambda message: None))
        for line in (HELLO, MAIL, RCPT):
            client.say(line)
        self.assertEqual(brief(client.say("DATA")), (550, "5.7.1"))

    def test_hooks(self) -> None:
        """Filters are stages: their hooks come before the store's, and it may be one itself."""

        class Stage(Judge):
            def onRcptTo(self, address: Any, session: Any) -> None:
                if address.local == "nobody":
                    raise Rejection("No such user here")

        class Recording(RecordingHandler):
            async def onData(self, stream, session):
                await stream.read()

        store = Recording()
        stage = Stage(lambda message: None)
        handler = Chain(SMTPHandler(), Filtered(store, stage, runInThread=runInline))
        client = connect(handler)
        for line in (HELLO, MAIL):
            client.say(line)
        self.assertEqual(client.say("RCPT TO:<nobody@x.example>").code, 550)
        self.assertNotIn("onRcptTo", store.calls)
        client.say(RCPT)
        self.assertIn("onRcptTo", store.calls)
        self.assertFalse(hasattr(handler, "onAuth"))
        self.assertFalse(hasattr(Filtered(Store()), "nonsense"))
        self.assertIn("Filtered", repr(handler))

    def test_assignedHooks(self) -> None:
        """A hook that is assigned later counts, be it the store's or the Filtered's own."""
        store: Any = Store()
        handler: Any = Filtered(store)
        self.assertIsNone(findHook(handler, "onRcptTo"))
        self.assertIn("onRcptTo", dict(inspect.getmembers(Filtered)))  # as pydoc looks
        for each in (store, handler):
            each.onRcptTo = lambda address, session: None
            self.assertIs(findHook(handler, "onRcptTo"), each.onRcptTo)
        self.assertIsNone(findHook(Filtered(Store()), "onRcptTo"))

    def test_clientLeaves(self) -> None:
        """A client that leaves has the spool closed, and no filter sees half a message."""
        seen: list[Message] = []
        closed = closedSpools(self)
        client = self.serve(seen.append)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE)
        client.lose()
        self.assertEqual((seen, len(closed)), ([], 1))
        self.assertEqual(closed[0]._budget.used, 0)

    def test_configuration(self) -> None:
        """What can't work is refused when it is made, with the reason."""
        cases: list[tuple[list[Any], str]] = [
            ([Store(), object()], "no onMessage"),
            ([Store(), Store()], "no onMessage"),
            ([SMTPHandler()], "no onData"),
        ]
        for handlers, words in cases:
            error: Any = self.assertRaises(ConfigurationError, Filtered, *handlers)
            self.assertIn(words, str(error))
        wrong = Judge(lambda message: None)
        wrong.onMessage = lambda message: None  # type: ignore[method-assign, misc, assignment]
        error = self.assertRaises(ConfigurationError, Filtered, Store(), wrong)
        self.assertIn("but it is called with (message, session)", str(error))
        both = Judge(lambda message: None)
        both.onData = lambda stream, session: None  # type: ignore[attr-defined]
        error = self.assertRaises(ConfigurationError, Filtered, Store(), both)
        self.assertIn("it has onData", str(error))
        self.assertRaises(ConfigurationError, Filtered, Store(), quarantine=object())
