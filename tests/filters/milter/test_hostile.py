"""Milters and clients that mean harm, at :class:`~twisted_smtpserver.filters.Milter`."""

from __future__ import annotations

import struct
from typing import Any

from twisted.internet.defer import Deferred

from tests.filters.milter.test_filter import MilterCase
from tests.filters.test_filtered import MESSAGE, Store
from tests.support.milters import (
    ACCEPT,
    CONTINUE,
    DISCARD,
    PROGRESS,
    REJECT,
    FakeMilter,
    field,
    reply,
)
from tests.support.talk import HELLO, MAIL, RCPT, brief
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.filters.milter import conversation
from twisted_smtpserver.filters.milter import edits as module
from twisted_smtpserver.filters.milter.conversation import MAX_AT_ONCE
from twisted_smtpserver.filters.milter.edits import MAX_EDIT_LINES, MAX_EDITS
from twisted_smtpserver.filters.milter.symbols import MAX_PACKET, MAX_VALUE
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.testing import Client, connect, runInline

FIRST_FIELD = b"Subject: hi\r\n"


def begun(client: Client) -> Client:
    """A client that is about to send a message."""
    for line in (HELLO, MAIL, RCPT, "DATA"):
        client.say(line)
    return client


class MilterTests(MilterCase):
    """The milter means harm."""

    def test_drip(self) -> None:
        """A reply that comes octet by octet is no sooner complete, and puts nothing off."""
        fake = FakeMilter({"M": b""})
        client = self.client(fake)
        client.say(HELLO)
        client.send(f"{MAIL}\r\n".encode())
        for octet in struct.pack(">L", 20) + b"y550 no":
            client.wait(2.9)
            if not fake.transports[0].isClosed:
                fake.transports[0].protocol.dataReceived(bytes([octet]))
        self.assertEqual(brief(client.answers()[0]), (451, "4.7.1"))
        self.assertTrue(fake.transports[0].isClosed)
        self.assertIn("didn't answer within 30 s", self.lines[0])

    def test_drippingNegotiation(self) -> None:
        """Nor does it help to begin so: a connection has its time in all."""
        fake = FakeMilter({"O": b""})
        client = self.client(fake)
        for octet in struct.pack(">L", 13) + b"O\0\0":
            client.wait(1.9)
            if not fake.transports[0].isClosed:
                fake.transports[0].protocol.dataReceived(bytes([octet]))
        self.assertTrue(fake.transports[0].isClosed)
        self.assertEqual(client.answers()[0].code, 220)

    def test_lengths(self) -> None:
        """A packet of no length, or of gigabytes, isn't waited for."""
        for length in (0, MAX_PACKET + 1, 2**31, 2**32 - 1):
            answer = self.deliver({"E": struct.pack(">L", length) + b"a"})
            self.assertEqual(brief(answer), (451, "4.7.1"))
            self.assertIn(f"a packet of {length} octets", self.lines.pop())

    def test_recipients(self) -> None:
        """Ten thousand changes of the recipients are none; so many as it may make are made."""
        for code in (b"+", b"-"):
            many = b"".join(reply(code, b"<u%d@x.example>\0" % n) for n in range(10_000))
            self.assertEqual(brief(self.deliver({"E": many + CONTINUE})), (451, "4.7.1"))
        self.assertEqual(self.store.messages, [])
        some = b"".join(reply(b"+", b"<u%d@x.example>\0" % n) for n in range(MAX_EDITS))
        seen: list[int] = []
        fake = FakeMilter({"E": some + CONTINUE})
        client = self.serve(
            self.milter(fake), lambda message: seen.append(len(message.envelope.rcptTo))
        )
        client.send(f"{HELLO}\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
        client.send(MESSAGE + b".\r\n")
        for _ in range(50):  # as many turns as it takes
            client.wait(0)
        self.assertEqual((seen, client.answers()[-1].code), ([MAX_EDITS + 1], 250))

    def test_lines(self) -> None:
        """One field of a great many lines would take long to be read again."""
        for separator in (b"\n", b"\r"):
            flood = field(b"h", b"X", (b"a" + separator) * (MAX_EDIT_LINES + 1))
            self.assertEqual(brief(self.deliver({"E": flood + CONTINUE})), (451, "4.7.1"))
        self.assertEqual(self.store.messages, [])

    def test_places(self) -> None:
        """A place far out is the end, whatever the number is."""
        for place in (3, 2**31 - 1, 2**31, 2**32 - 1):
            for code in (b"i", b"m"):
                answer = self.deliver({"E": field(code, b"X", b"1", place) + CONTINUE})
                self.assertEqual(answer.code, 250)
                stored = self.store.messages.pop()
                self.assertEqual(stored, MESSAGE.replace(b"\r\n\r\n", b"\r\nX: 1\r\n\r\n"))
        self.deliver({"E": field(b"m", b"Subject", b"ho", 0) + CONTINUE})
        self.assertIn(b"Subject: ho\r\n", self.store.messages.pop())

    def test_nothingByHalves(self) -> None:
        """Where the last change makes no sense, none of them is made."""
        edits = field(b"m", b"Subject", b"", 1) + reply(b"e", b"<new@x.example>\0")
        edits += reply(b"q", b"odd\0") + reply(b"-", b"<jane@example.com>\0")
        fake = FakeMilter({"E": edits + reply(b"+", b"a b\0") + CONTINUE})
        seen: list[Any] = []

        def look(message: Any) -> None:
            envelope = message.envelope
            seen.append((str(envelope.mailFrom), len(envelope.rcptTo), message.quarantine))

        client = self.serve(self.milter(fake, onFailure="accept"), look)
        self.assertEqual(client.deliver(MESSAGE).code, 250)
        self.assertEqual(seen, [("joe@example.org", 1, None)])
        self.assertEqual(self.store.messages, [MESSAGE])

    def turns(self, place: Any) -> list[Deferred[None]]:
        """The turns that others are given, which the test ends."""
        turns: list[Deferred[None]] = []

        def turn(clock: Any, seconds: float) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        self.patch(place, "deferLater", turn)
        return turns

    def test_manyReplies(self) -> None:
        """A new body in pieces of one octet keeps nobody waiting."""
        turns = self.turns(conversation)
        fake = FakeMilter({"E": reply(b"b", b"x") * (3 * MAX_AT_ONCE) + CONTINUE})
        begun(client := self.client(fake)).send(MESSAGE + b".\r\n")
        for number in range(1, 4):
            self.assertEqual((len(turns), client.answers()), (number, []))
            turns[-1].callback(None)
        self.assertEqual(client.answers()[0].code, 250)
        self.assertTrue(self.store.messages[0].endswith(b"\r\n\r\n" + b"x" * 3 * MAX_AT_ONCE))

    def test_muchProgress(self) -> None:
        """Nor does progress upon progress before any other answer."""
        turns = self.turns(conversation)
        fake = FakeMilter({"M": PROGRESS * (3 * MAX_AT_ONCE) + CONTINUE})
        client = self.client(fake)
        client.say(HELLO)
        client.send(f"{MAIL}\r\n".encode())
        for number in range(1, 4):
            self.assertEqual((len(turns), client.answers()), (number, []))
            turns[-1].callback(None)
        self.assertEqual(client.answers()[0].code, 250)

    def test_manyChanges(self) -> None:
        """Nor do changes of a long header, each of which looks at all of it."""
        turns = self.turns(module)
        some = 2 * module.MAX_AT_ONCE
        fake = FakeMilter({"E": field(b"m", b"X", b"1", 9) * some + CONTINUE})
        begun(client := self.client(fake)).send(MESSAGE + b".\r\n")
        turns[0].callback(None)
        self.assertEqual((len(turns), self.store.messages), (2, []))
        turns[1].callback(None)
        self.assertEqual(client.answers()[0].code, 250)
        self.assertEqual(self.store.messages[0].count(b"X: 1\r\n"), 9)

    def test_emptyBodies(self) -> None:
        """A new body of nothing for ever ends with the message's time."""
        fake = FakeMilter({"E": b""})
        begun(client := self.client(fake, messageTimeout=100)).send(MESSAGE + b".\r\n")
        for _ in range(100):
            if fake.transports[0].isClosed:
                break
            fake.transports[0].protocol.dataReceived(reply(b"b") * 10)
            client.wait(2)
        self.assertEqual(brief(client.answers()[0]), (451, "4.7.1"))
        self.assertIn("no verdict within 100 s", self.lines[0])

    def test_twice(self) -> None:
        """A second verdict for one question isn't taken for the answer to the next."""
        fake = FakeMilter({"M": CONTINUE + REJECT, "R": lambda data: CONTINUE})
        client = self.client(fake)
        for line in (HELLO, MAIL):
            client.say(line)
        self.assertEqual(client.say(RCPT).code, 550)  # it said so, if too early
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 550)


class ClientTests(MilterCase):
    """The client means harm."""

    def test_headers(self) -> None:
        """Whatever a header is like, the milter is told what fits, and the store gets all."""
        for content in (
            b"X: " + b"x" * 65_000 + b"\r\n\r\n",
            b"X:" + b"\r\n y" * 16_000 + b"\r\n\r\nbody\r\n",
            b"A:\r\nB:\r\n\r\n",
            b"A: b\r\n",
            b"\r\n",
            b"no header\r\n",
            b": no name\r\n\r\n",
            b"A: \xff\x80\xc3\r\nS\xc3\xbc: y\r\n\r\n\xff\r\n",
            b"A: b\0c\r\n\0: d\r\n\r\n\0\r\n",
        ):
            fake = FakeMilter()
            self.assertEqual(self.client(fake).deliver(content).code, 250, content[:20])
            self.assertEqual(self.store.messages.pop(), content)
            for told in fake.data("L"):
                self.assertEqual((told.count(b"\0"), told[-1:]), (2, b"\0"))
                self.assertLessEqual(len(told), MAX_VALUE + 10)

    def test_tenThousandFields(self) -> None:
        """A header of ten thousand fields is refused, and no milter is told half of it."""
        fake = FakeMilter()
        answer = self.client(fake).deliver(b"A: b\r\n" * 10_000 + b"\r\n")
        self.assertEqual((answer.code, fake.data("L")), (554, []))

    def test_leaving(self) -> None:
        """A client that leaves while the milter is asked, whatever it is asked, leaves nothing."""
        for stage in "CHMRT":
            fake = FakeMilter({stage: b""})
            client = self.client(fake)
            client.send(f"{HELLO}\r\n{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode())
            self.assertEqual(fake.said[-1:], stage)
            client.lose()
            self.assertEqual([each.isClosed for each in fake.transports], [True], stage)
        self.assertEqual((self.store.messages, self.lines), ([], []))

    def test_leavingBehind(self) -> None:
        """A message that has come in whole is judged, though its client is gone: no way around."""
        for stage in "LNBE":
            for verdict, count in ((ACCEPT, 1), (REJECT, 0), (DISCARD, 0)):
                fake, second = FakeMilter({stage: b""}), FakeMilter()
                begun(client := self.client(fake, second, onFailure="accept"))
                client.send(MESSAGE + b".\r\n")
                client.lose()
                self.assertEqual((fake.said[-1:], self.store.messages), (stage, []))
                fake.transports[0].protocol.dataReceived(verdict)
                self.assertEqual(len(self.store.messages), count, (stage, verdict))
                self.assertEqual(second.said.count("E"), count)
                for each in (fake, second):
                    self.assertEqual((each.said[-1], each.transports[0].isClosed), ("Q", True))
                self.store.messages.clear()
        self.assertEqual(self.lines, [])

    def test_leavingStores(self) -> None:
        """Milters of the stores of ByRecipient are left after each transaction."""
        fakes = [FakeMilter(), FakeMilter(), FakeMilter()]
        routes = {
            name: Filtered(Store(), self.milter(fake), runInThread=runInline)
            for name, fake in zip(("one.test", "two.test", "*"), fakes, strict=True)
        }
        client = connect(ByRecipient(routes, runInThread=runInline), reactor=self.clock)
        client.deliver(MESSAGE, "joe@x.test", "ann@one.test", "bob@two.test")
        client.deliver(MESSAGE, "joe@x.test", "ann@one.test", hello=None)
        client.lose()
        once = "CHMRTLLNBEQ"
        self.assertEqual([fake.said for fake in fakes], [once * 2, once, ""])

    def test_refusedByStore(self) -> None:
        """A milter of a store that refuses the sender is left as well."""
        fake = FakeMilter({"M": REJECT})
        routes = {"*": Filtered(Store(), self.milter(fake), runInThread=runInline)}
        client = connect(ByRecipient(routes, runInThread=runInline), reactor=self.clock)
        for line, code in ((HELLO, 250), (MAIL, 250), (RCPT, 550)):
            self.assertEqual(client.say(line).code, code)
        self.assertEqual((fake.said, fake.transports[0].isClosed), ("CHMAQ", True))

    def test_oneMilterForTwo(self) -> None:
        """One milter before several stores has a conversation about each store's message."""
        fake = FakeMilter({"R": lambda data: REJECT if b"bad" in data else CONTINUE, "E": b""})
        milter = self.milter(fake)
        stores = {name: Store() for name in ("one.test", "two.test")}
        routes = {
            name: Filtered(store, milter, runInThread=runInline) for name, store in stores.items()
        }
        client = connect(ByRecipient(routes, runInThread=runInline), reactor=self.clock)
        for line in (HELLO, MAIL, "RCPT TO:<ann@one.test>", "RCPT TO:<bob@two.test>", "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        first, second = fake.transports
        second.protocol.dataReceived(REJECT)
        first.protocol.dataReceived(CONTINUE)
        self.assertEqual(client.answers()[-1].code, 550)  # not for both
        counts = {name: len(store.messages) for name, store in stores.items()}
        self.assertEqual(counts, {"one.test": 1, "two.test": 0})
        self.assertEqual((first.isClosed, second.isClosed), (True, True))

    def test_pipelined(self) -> None:
        """What comes behind the slow answer of a milter waits, and each answer has its place."""
        fake = FakeMilter({"R": b""})
        client = self.client(fake)
        client.say(HELLO)
        lines = [MAIL, RCPT, "RCPT TO:<bob@example.com>", "DATA"]
        client.send("\r\n".join([*lines, ""]).encode() + MESSAGE + b".\r\nNOOP\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [250])
        protocol = fake.transports[0].protocol
        protocol.dataReceived(REJECT)
        self.assertEqual([answer.code for answer in client.answers()], [550])
        self.assertEqual(fake.said, "CHMRR")
        protocol.dataReceived(CONTINUE)
        codes = [answer.code for answer in client.answers()]
        self.assertEqual(codes, [250, 354, 250, 250])
        self.assertEqual(self.store.messages, [MESSAGE])

    def test_chunksOfLMTP(self) -> None:
        """LMTP, BDAT and a milter that takes one recipient away and adds another one."""
        edits = reply(b"-", b"<jane@example.com>\0") + reply(b"+", b"<new@example.com>\0")
        self.store.result = None
        client = self.client(FakeMilter({"E": edits + ACCEPT}), options={"lmtp": True})
        for line in ("LHLO x", MAIL, RCPT, RCPT.replace("jane", "jim")):
            client.say(line)
        half = len(MESSAGE) // 2
        client.send(b"BDAT %d\r\n%s" % (half, MESSAGE[:half]))
        client.send(b"BDAT %d LAST\r\n%s" % (len(MESSAGE) - half, MESSAGE[half:]))
        self.assertEqual([answer.code for answer in client.answers()], [250, 250, 250])
        self.assertEqual(self.store.messages, [MESSAGE])
        for line in (MAIL, RCPT):
            client.say(line)
        client.send(b"BDAT 3\r\nA: RSET\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [250, 250])
        self.assertEqual(len(self.store.messages), 1)

    def test_prdr(self) -> None:
        """With PRDR a milter's refusal is that of all recipients."""
        options = {"extensions": ["PRDR"]}
        for verdict, codes in ((ACCEPT, [353, 250, 250, 250]), (REJECT, [550])):
            client = self.client(FakeMilter({"E": verdict}), options=options)
            for line in (HELLO, f"{MAIL} PRDR", RCPT, RCPT.replace("jane", "jim"), "DATA"):
                client.say(line)
            client.send(MESSAGE + b".\r\n")
            self.assertEqual([answer.code for answer in client.answers()], codes)
