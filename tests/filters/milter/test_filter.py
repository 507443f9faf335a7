"""Tests for :mod:`twisted_smtpserver.filters.milter.filter`, with milters in memory."""

from __future__ import annotations

import base64
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.filters.test_filtered import MESSAGE, FilteredCase
from tests.support.milters import (
    ACCEPT,
    CONTINUE,
    DISCARD,
    PROGRESS,
    REJECT,
    SKIP,
    TEMPFAIL,
    FakeMilter,
    field,
    reply,
)
from tests.support.talk import HELLO, MAIL, RCPT, brief
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.filters.milter import Milter
from twisted_smtpserver.filters.milter import filter as module
from twisted_smtpserver.filters.milter.edits import MAX_EDITS
from twisted_smtpserver.filters.milter.symbols import BODY_CHUNK
from twisted_smtpserver.testing import Client

#: What milters say, some of it in the wrong place.
SAID = [
    *(CONTINUE, ACCEPT, REJECT, TEMPFAIL, DISCARD, SKIP, PROGRESS, reply(b"4"), reply(b"f")),
    *(field(b"h", b"X", b"1"), field(b"m", b"Subject", b"", 1), field(b"i", b"A", b"\r\n\r\n", 9)),
    *(reply(b"b", b"new"), reply(b"q", b"odd\0"), reply(b"+", b"a@b.example\0")),
    *(reply(b"-", b"jane@example.com\0"), reply(b"e", b"<>\0"), reply(b"y", b"450 4.7.1 x\0")),
]


class MilterCase(FilteredCase):
    """What the tests here share."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        lines = self.lines

        class Log:
            def error(self, text: str, **values: Any) -> None:
                lines.append(text.format(**values))

        self.patch(module, "_log", Log())

    def milter(self, fake: FakeMilter, **keywords: Any) -> Milter:
        """A filter that asks it."""
        return Milter(fake, hostName="mx.test", reactor=self.clock, **keywords)  # type: ignore[arg-type]

    def client(
        self, *fakes: FakeMilter, options: Any = None, quarantine: Any = None, **keywords: Any
    ) -> Client:
        """A client of a server that asks these milters."""
        filters = [self.milter(fake, **keywords) for fake in fakes]
        more = {"options": options, "quarantine": quarantine, "authservId": "mx.test"}
        return self.serve(*filters, **more)

    def deliver(self, answers: dict[str, Any], content: bytes = MESSAGE) -> Any:
        """The answer to a message, with a milter that says this."""
        self.fake = FakeMilter(answers)
        return self.client(self.fake).deliver(content)


class StageTests(MilterCase):
    """Each command is told when it comes, and its answer is the milter's."""

    def test_everything(self) -> None:
        """All of a session, in order, with what belongs to it."""
        fake = FakeMilter()
        client = self.client(fake)
        client.deliver(MESSAGE, "joe@example.org", "ann@example.com", "bob@example.com")
        client.say("QUIT")
        self.assertEqual(fake.said, "CHMRRTLLNBEQ")
        said = dict(fake.commands)
        self.assertEqual(said["C"], b"[192.0.2.1]\x004\x9c\x40192.0.2.1\x00")
        self.assertEqual(said["H"], b"client.example\0")
        self.assertEqual(said["M"], b"<joe@example.org>\0")
        self.assertEqual(fake.data("R"), [b"<ann@example.com>\0", b"<bob@example.com>\0"])
        self.assertEqual(fake.data("L"), [b"Subject\0hi\0", b"From\0joe@example.org\0"])
        self.assertEqual(said["B"], b"Hello\r\n")
        self.assertEqual(self.store.messages, [MESSAGE])

    def test_parameters(self) -> None:
        """Parameters of MAIL and RCPT are told as they were sent."""
        fake = FakeMilter()
        client = self.client(fake)
        client.say(HELLO)
        client.say(MAIL + " SIZE=10 SMTPUTF8")
        self.assertEqual(fake.data("M"), [b"<joe@example.org>\0SIZE=10\0SMTPUTF8\0"])

    def test_refusals(self) -> None:
        """A milter may refuse at each command, for good or for a while, or in its own words."""
        custom = reply(b"y", b"550-5.7.9 Not\r\n550 5.7.9 you\0")
        for stage, rejected, tempfailed in [
            ("H", (550, None), (451, None)),
            ("M", (550, "5.7.1"), (451, "4.7.1")),
            ("R", (550, "5.7.1"), (451, "4.7.1")),
            ("T", (550, "5.7.1"), (451, "4.7.1")),
            ("L", (550, "5.7.1"), (451, "4.7.1")),
            ("N", (550, "5.7.1"), (451, "4.7.1")),
            ("B", (550, "5.7.1"), (451, "4.7.1")),
            ("E", (550, "5.7.1"), (451, "4.7.1")),
        ]:
            self.assertEqual(brief(self.deliver({stage: REJECT})), rejected, stage)
            self.assertTrue(self.fake.said.rstrip("A").endswith(stage))
            self.assertEqual(brief(self.deliver({stage: TEMPFAIL})), tempfailed, stage)
            answer = self.deliver({stage: custom})
            self.assertEqual((answer.code, answer.lines), (550, ("Not", "you")), stage)
            self.assertEqual(self.deliver({stage: reply(b"4")}).code, 421)
        self.assertEqual((self.store.messages, self.lines), ([], []))

    def test_atConnect(self) -> None:
        """At the connection the greeting says it; a refusal for a while closes."""
        for answer, code in [
            (REJECT, 554),
            (TEMPFAIL, 421),
            (reply(b"y", b"521 5.7.1 Away\0"), 521),
        ]:
            client = self.client(FakeMilter({"C": answer}))
            assert client.greeting is not None
            self.assertEqual(client.greeting.code, code)

    def test_recipient(self) -> None:
        """One recipient is refused, the message goes to the others."""
        fake = FakeMilter({"R": lambda data: REJECT if b"ann" in data else CONTINUE})
        client = self.client(fake)
        for line, code in [
            (HELLO, 250),
            (MAIL, 250),
            ("RCPT TO:<ann@example.com>", 550),
            ("RCPT TO:<bob@example.com>", 250),
            ("DATA", 354),
        ]:
            self.assertEqual(client.say(line).code, code)

    def test_accept(self) -> None:
        """Accepted at the beginning is for all of the connection, later for the message."""
        for stage, said in [
            ("C", "C"),
            ("H", "CH"),
            ("M", "CHMAMA"),
            ("R", "CHMRAMRA"),
            ("T", "CHMRTAMRTA"),
            ("L", "CHMRTLMRTL"),
            ("B", "CHMRTLLNBMRTLLNB"),
            ("E", "CHMRTLLNBEMRTLLNBE"),
        ]:
            fake = FakeMilter({stage: ACCEPT})
            client = self.client(fake)
            self.assertEqual(client.deliver(MESSAGE).code, 250)
            self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)
            self.assertEqual(fake.said, said)
        self.assertEqual(len(self.store.messages), 16)

    def test_discard(self) -> None:
        """What is thrown away is answered 250, and isn't stored."""
        for stage in "CHMRTLNBE":
            self.assertEqual(self.deliver({stage: DISCARD}).code, 250, stage)
        self.assertEqual(self.store.messages, [])

    def test_unwanted(self) -> None:
        """What a milter doesn't want it isn't told; what it doesn't answer isn't waited for."""
        fake = FakeMilter(steps=0x1 | 0x2 | 0x10 | 0x20 | 0x40)
        self.assertEqual(self.client(fake).deliver(MESSAGE).code, 250)
        self.assertEqual(fake.said, "MRTE")
        fake = FakeMilter(dict.fromkeys("CHMRTLNB", b""), steps=0xDF080)
        self.assertEqual(self.client(fake).deliver(MESSAGE).code, 250)
        self.assertEqual(fake.said, "CHMRTLLNBE")
        fake = FakeMilter(version=2, actions=0x3F, steps=0)
        client = self.client(fake)
        self.assertEqual(client.deliver(MESSAGE).code, 250)
        client.say("QUIT")
        self.assertEqual(fake.said, "CHMRLLNBEQ")

    def test_skip(self) -> None:
        """A milter may have seen enough of the body."""
        fake = FakeMilter({"B": SKIP}, steps=0x400)
        content = MESSAGE + b"x" * 900 + b"\r\n" + b"".join([b"y" * 900 + b"\r\n"] * 200)
        self.assertEqual(self.client(fake).deliver(content).code, 250)
        self.assertEqual(fake.said, "CHMRTLLNBE")

    def test_chunks(self) -> None:
        """A long body comes in pieces, each of which fits into a packet."""
        content = MESSAGE + b"".join([b"y" * 900 + b"\r\n"] * 300)
        fake = FakeMilter()
        self.client(fake).deliver(content)
        body = fake.data("B")
        self.assertGreater(len(body), 4)
        self.assertLessEqual(max(map(len, body)), BODY_CHUNK)
        self.assertEqual(b"".join(body), content.partition(b"\r\n\r\n")[2])

    def test_reset(self) -> None:
        """A transaction that is given up is told, once; one that is over isn't."""
        fake = FakeMilter()
        client = self.client(fake)
        for line in (HELLO, MAIL, "RSET", MAIL, RCPT, "RSET", "RSET"):
            client.say(line)
        self.assertEqual(fake.said, "CHMAMRA")
        client.deliver(MESSAGE, hello=None)
        client.say("RSET")
        self.assertEqual(fake.said, "CHMAMRAMRTLLNBE")

    def test_refusedByOthers(self) -> None:
        """A sender that another stage has refused is taken back before the next one."""
        first, second = FakeMilter(), FakeMilter({"M": REJECT})
        client = self.client(first, second)
        client.say(HELLO)
        client.say(MAIL)
        client.say(MAIL)
        self.assertEqual(first.said, "CHMAM")

    def test_several(self) -> None:
        """Several are asked one after the other; each sees what the one before has changed."""
        first = FakeMilter({"E": field(b"h", b"X-First", b" 1") + CONTINUE})
        second = FakeMilter({"E": field(b"i", b"X-Second", b"2", 0) + ACCEPT})
        self.client(first, second).deliver(MESSAGE)
        self.assertIn(b"X-First\0 1\0", second.data("L"))
        front = b"X-Second: 2\r\nSubject: hi\r\nFrom: joe@example.org\r\nX-First:  1\r\n"
        self.assertEqual(self.store.messages, [front + b"\r\nHello\r\n"])

    def test_helloAgain(self) -> None:
        """A second hello is told as well."""
        fake = FakeMilter()
        client = self.client(fake)
        client.say(HELLO)
        client.say("EHLO other.example")
        self.assertEqual(fake.data("H"), [b"client.example\0", b"other.example\0"])

    def test_XCLIENT(self) -> None:
        """After XCLIENT there is another client, and the milter is told of that one."""
        fake = FakeMilter()
        client = self.client(fake, options={"useXClient": True})
        client.say(HELLO)
        client.say("XCLIENT ADDR=198.51.100.7 NAME=other.example")
        client.deliver(MESSAGE)
        self.assertEqual(fake.said, "CHQCHMRTLLNBE")
        self.assertIn(b"198.51.100.7", fake.data("C")[1])


class ChangeTests(MilterCase):
    """What a milter changes."""

    def changed(self, *edits: bytes, content: bytes = MESSAGE) -> bytes:
        """What is stored after such changes."""
        answer = self.deliver({"E": b"".join(edits) + CONTINUE}, content)
        self.assertEqual(answer.code, 250, self.lines)
        stored: bytes = self.store.messages.pop()
        return stored

    def test_header(self) -> None:
        """Fields are added, inserted, changed and removed."""
        head = b"Subject: hi\r\nFrom: joe@example.org\r\n"
        body = b"\r\nHello\r\n"
        for edits, expected in [
            ([field(b"h", b"X", b"1"), field(b"h", b"Y", b"2")], head + b"X: 1\r\nY: 2\r\n"),
            ([field(b"i", b"X", b"1", 0)], b"X: 1\r\n" + head),
            ([field(b"i", b"X", b"1", 1)], b"X: 1\r\n" + head),
            ([field(b"i", b"X", b"1", 2)], b"Subject: hi\r\nX: 1\r\nFrom: joe@example.org\r\n"),
            ([field(b"i", b"X", b"1", 2**32 - 1)], head + b"X: 1\r\n"),
            ([field(b"m", b"subject", b"ho", 1)], head.replace(b"Subject: hi", b"subject: ho")),
            ([field(b"m", b"Subject", b"", 1)], b"From: joe@example.org\r\n"),
            ([field(b"m", b"Subject", b"", 2)], head),
            ([field(b"m", b"Subject", b"2", 2)], head + b"Subject: 2\r\n"),
            ([field(b"h", b"X", b"1\n\t2")], head + b"X: 1\r\n\t2\r\n"),
        ]:
            self.assertEqual(self.changed(*edits), expected + body, edits)

    def test_leadingSpace(self) -> None:
        """A milter that wants it gives and gets values with the space at their beginning."""
        fake = FakeMilter({"E": field(b"h", b"X", b"1") + CONTINUE}, steps=0x100000)
        self.client(fake).deliver(b"A:b\r\nC: d\r\n\r\n")
        self.assertEqual(fake.data("L"), [b"A\0b\0", b"C\0 d\0"])
        self.assertEqual(self.store.messages, [b"A:b\r\nC: d\r\nX:1\r\n\r\n"])

    def test_body(self) -> None:
        """Another body, in pieces; the header stays."""
        stored = self.changed(reply(b"b", b"one\r\n"), reply(b"b", b"two\r\n"))
        self.assertEqual(stored, b"Subject: hi\r\nFrom: joe@example.org\r\n\r\none\r\ntwo\r\n")

    def test_envelope(self) -> None:
        """Another sender, other recipients."""
        envelopes: list[Any] = []

        def look(message: Any) -> None:
            envelope = message.envelope
            envelopes.append((envelope.mailFrom.address, [str(each) for each in envelope.rcptTo]))

        fake = FakeMilter(
            {
                "E": reply(b"e", b"<new@example.org>\0")
                + reply(b"-", b"<JANE@example.com>\0")
                + reply(b"-", b"jane@EXAMPLE.com\0")
                + reply(b"+", b"<ann@example.com>\0")
                + reply(b"2", b"bob@example.com\0NOTIFY=NEVER\0")
                + CONTINUE
            }
        )
        self.serve(self.milter(fake), look).deliver(MESSAGE)
        self.assertEqual(envelopes, [("new@example.org", ["ann@example.com", "bob@example.com"])])
        fake = FakeMilter({"E": reply(b"e", b"<>\0") + CONTINUE})
        self.serve(self.milter(fake), look).deliver(MESSAGE)
        self.assertEqual(envelopes[1], ("", ["jane@example.com"]))

    def test_quarantine(self) -> None:
        """A message is put aside."""
        answer = self.deliver({"E": reply(b"q", b"odd\0") + CONTINUE})
        self.assertEqual(brief(answer), (451, "4.7.1"))
        answer = self.deliver({"E": reply(b"q", b"\0") + CONTINUE})
        self.assertEqual(brief(answer), (451, "4.7.1"))

    def test_refusedNevertheless(self) -> None:
        """Of a message that is refused, or thrown away, nothing is changed."""
        edits = reply(b"-", b"<jane@example.com>\0") + reply(b"b", b"x")
        for verdict in (REJECT, DISCARD):
            self.deliver({"E": edits + verdict})
            self.assertEqual(len(self.fake.transports), 1)
        self.assertEqual(self.store.messages, [])

    def test_authentication(self) -> None:
        """What it reports under our name is on the envelope; what came so isn't."""
        fake = FakeMilter(
            {"E": field(b"i", b"Authentication-Results", b"mx.test; spf=pass", 0) + CONTINUE}
        )
        found: list[Any] = []

        def look(message: Any) -> None:
            found.extend(message.envelope.authentication)

        client = self.serve(self.milter(fake), look, authservId="mx.test")
        client.deliver(b"Authentication-Results: mx.test; dmarc=pass\r\n" + MESSAGE)
        self.assertEqual([(each.method, each.result) for each in found], [("spf", "pass")])
        self.assertEqual(len(fake.data("L")), 2)


class MacroTests(MilterCase):
    """What a milter is told beside the commands."""

    def logIn(self, fake: FakeMilter) -> Client:
        """A client that has logged in with PLAIN as joe."""
        self.store.onAuth = lambda credentials, session: credentials.username
        client = self.client(fake, options={"allowInsecureAuth": True})
        client.say(HELLO)
        login = base64.b64encode(b"\0joe\0secret").decode()
        self.assertEqual(client.say(f"AUTH PLAIN {login}").code, 235)
        return client

    def test_defaults(self) -> None:
        """By stage, as Postfix has them."""
        fake = FakeMilter()
        client = self.logIn(fake)
        for line in ("MAIL FROM:<joe@example.org> AUTH=ann+2Bx@example.org", RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        identifier = f"{client.session.id}-1"
        self.assertEqual(fake.macros["C"]["j"], "mx.test")
        self.assertEqual(fake.macros["C"]["daemon_name"], "mx.test")
        self.assertEqual(fake.macros["C"]["_"], "[192.0.2.1] [192.0.2.1]")
        self.assertNotIn("H", fake.macros)
        self.assertEqual(
            fake.macros["M"],
            {
                "i": identifier,
                "mail_mailer": "smtp",
                "mail_host": "example.org",
                "mail_addr": "joe@example.org",
                "auth_authen": "joe",
                "auth_author": "ann+x@example.org",
                "auth_type": "PLAIN",
            },
        )
        self.assertEqual(fake.macros["R"]["rcpt_addr"], "jane@example.com")
        self.assertEqual([fake.macros[stage] for stage in "TNE"], [{"i": identifier}] * 3)

    def test_wanted(self) -> None:
        """A milter may ask for others, at any stage."""
        wanted = struct.pack(">L", 2) + b"{client_addr} {client_resolve} {nonsense} j\0"
        fake = FakeMilter(macros=wanted)
        self.client(fake).deliver(MESSAGE)
        self.assertEqual(
            fake.macros["M"], {"client_addr": "192.0.2.1", "client_resolve": "FAIL", "j": "mx.test"}
        )

    def test_later(self) -> None:
        """At a later stage the sender is still the sender; sendmail's names are known, too."""
        names = b"{mail_addr} {rcpt_addr} {auth_ssf} {auth_type} {auth_authen}\0"
        fake = FakeMilter(macros=b"".join(struct.pack(">L", stage) + names for stage in (1, 3, 4)))
        client = self.logIn(fake)
        client.say("RSET")
        client.deliver(MESSAGE, hello=None)
        login = {"auth_ssf": "0", "auth_type": "PLAIN", "auth_authen": "joe"}
        sender = {"mail_addr": "joe@example.org", **login}
        self.assertNotIn("H", fake.macros)
        self.assertEqual(fake.macros["R"], {"rcpt_addr": "jane@example.com", **sender})
        self.assertEqual(fake.macros["T"], sender)

    def test_TLS(self) -> None:
        """Of a protected connection the protocol and the cipher are told."""
        fake = FakeMilter()
        client = self.client(fake, options={"selfSigned": True})
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        client.say(HELLO)
        self.assertEqual(fake.macros["H"]["tls_version"], "TLSv1.3")
        self.assertEqual(set(fake.macros["H"]), {"tls_version", "cipher", "cipher_bits"})


class FailureTests(MilterCase):
    """A milter that isn't there, or isn't well."""

    def test_down(self) -> None:
        """MAIL is answered as it was asked for; the log says which milter, which client and why."""
        for onFailure, code in [("tempfail", 451), ("reject", 550), ("accept", 250)]:
            fake = FakeMilter()
            fake.isDown = True
            client = self.client(fake, onFailure=onFailure)
            assert client.greeting is not None
            self.assertEqual((client.greeting.code, client.say(HELLO).code), (220, 250))
            self.assertEqual(client.say(MAIL).code, code)
            self.assertIn("<Milter fake> failed for [192.0.2.1]", self.lines[-1])
            self.assertIn("can't connect: ", self.lines[-1])
        for line, code in [(RCPT, 250), ("DATA", 354)]:
            self.assertEqual(client.say(line).code, code)
        client.send(MESSAGE + b".\r\n")
        self.assertEqual((client.answers()[0].code, self.store.messages), (250, [MESSAGE]))

    def test_backAgain(self) -> None:
        """The next MAIL tries again, and tells it who the client is."""
        fake = FakeMilter()
        fake.isDown = True
        client = self.client(fake)
        client.say(HELLO)
        self.assertEqual(client.say(MAIL).code, 451)
        fake.isDown = False
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)
        self.assertEqual(fake.said, "CHMRTLLNBE")
        fake.transports[0].lose()
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)
        self.assertEqual(fake.said, "CHMRTLLNBE" * 2)

    def test_noHello(self) -> None:
        """One that comes back before a hello isn't told of one."""
        fake = FakeMilter({"C": ACCEPT})
        fake.isDown = True
        client = self.client(fake)
        client.say(HELLO)
        fake.isDown = False
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)
        self.assertEqual(fake.said, "C")

    def test_unreachable(self) -> None:
        """A connection that doesn't come about has a bound."""
        fake = FakeMilter()
        fake.isSilent = True
        client = self.client(fake)
        self.assertIsNone(client.greeting)
        client.wait(9.9)
        self.assertEqual(client.answers(), [])
        client.wait(0.2)
        self.assertEqual(client.answers()[0].code, 220)
        self.assertIn("no connection within 10 s", self.lines[0])

    def test_silence(self) -> None:
        """Neither does a reply take for ever, at whatever stage; then the connection is dropped."""
        for stage in "CHMRTLNB":
            fake = FakeMilter({stage: b""})
            client = self.client(fake)
            if stage == "C":
                client.wait(31)
                client.answers()
            for line in (HELLO, MAIL, RCPT, "DATA"):
                client.send(line.encode() + b"\r\n")
                client.wait(
                    31 if {"EH": "H", "MA": "M", "RC": "R", "DA": "T"}[line[:2]] == stage else 0
                )
            if stage in "LNB":
                client.send(MESSAGE + b".\r\n")
                client.wait(29)
                self.assertEqual([each.code for each in client.answers()][4:], [])
                client.wait(2)
            self.assertIn("didn't answer within 30 s", self.lines.pop(0), stage)
            self.assertTrue(fake.transports[0].isClosed)
        self.assertEqual(self.store.messages, [])

    def test_silenceAtTheEnd(self) -> None:
        """The verdict may take longer, and progress doesn't put off its end."""
        fake = FakeMilter({"E": PROGRESS})
        client = self.client(fake, messageTimeout=100)
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        for _ in range(9):
            client.wait(11)
            fake.transports[0].protocol.dataReceived(PROGRESS)
        self.assertEqual(client.answers(), [])
        client.wait(2)
        self.assertEqual(brief(client.answers()[0]), (451, "4.7.1"))
        self.assertIn("no verdict within 100 s", self.lines[0])

    def test_lateVerdict(self) -> None:
        """A verdict that comes in time counts."""
        fake = FakeMilter({"E": b"", "M": PROGRESS})
        client = self.client(fake)
        client.say(HELLO)
        client.send(f"{MAIL}\r\n".encode())
        for _ in range(3):
            client.wait(29)
            fake.transports[0].protocol.dataReceived(PROGRESS)
        fake.transports[0].protocol.dataReceived(CONTINUE)
        self.assertEqual(client.answers()[0].code, 250)
        for line in (RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        client.wait(200)
        fake.transports[0].protocol.dataReceived(field(b"h", b"X", b"1") + CONTINUE)
        self.assertEqual(client.answers()[0].code, 250)
        self.assertIn(b"X: 1\r\n", self.store.messages[0])

    def test_gone(self) -> None:
        """One that is killed in the middle of a message: nothing is stored, the client waits."""
        for stage in "MRTLNBE":
            fake = FakeMilter()

            def die(data: bytes, fake: FakeMilter = fake) -> bytes:
                fake.transports[0].lose()
                return b""

            fake.answers[stage] = die
            client = self.client(fake)
            self.assertEqual(brief(client.deliver(MESSAGE)), (451, "4.7.1"), stage)
            self.assertIn("it closed the connection", self.lines.pop(0))
        self.assertEqual(self.store.messages, [])

    def test_goneAndAccept(self) -> None:
        """With onFailure="accept" the message comes in as it came; no half of a change is made."""
        fake = FakeMilter({"E": field(b"h", b"X", b"1") + reply(b"b", b"x") + reply(b"?")})
        client = self.client(fake, onFailure="accept")
        self.assertEqual(client.deliver(MESSAGE).code, 250)
        self.assertEqual(self.store.messages, [MESSAGE])

    def test_laterRecipients(self) -> None:
        """After a failure that milter knows half of the transaction: the rest waits, too."""
        fake = FakeMilter({"R": reply(b"?")})
        client = self.client(fake)
        for line in (HELLO, MAIL):
            client.say(line)
        for _ in range(2):
            self.assertEqual(brief(client.say(RCPT)), (451, "4.7.1"))
        self.assertIn("failed before", self.lines[1])

    def test_clientLeaves(self) -> None:
        """If the client leaves while the milter is asked, the milter's connection is dropped."""
        fake = FakeMilter({"R": b""})
        client = self.client(fake)
        for line in (HELLO, MAIL):
            client.say(line)
        client.send(f"{RCPT}\r\n".encode())
        client.lose()
        self.assertTrue(fake.transports[0].isClosed)

    def test_goneBetween(self) -> None:
        """One that goes away between two commands is missed with the next one, not before."""
        fake = FakeMilter()
        client = self.client(fake)
        for line in (HELLO, MAIL):
            client.say(line)
        fake.transports[0].lose()
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)
        fake.transports[-1].lose()
        self.assertEqual(client.say("EHLO again.example").code, 250)
        self.assertEqual(client.deliver(MESSAGE, hello=None).code, 250)


class HostileTests(MilterCase):
    """A milter that breaks the rules harms nobody."""

    def test_protocolErrors(self) -> None:
        """What it may not say is a failure, and nothing of it is done."""
        for stage, said in [
            ("M", field(b"h", b"X", b"1")),  # a change before the end
            ("M", SKIP),
            ("E", SKIP),
            ("E", reply(b"f")),
            ("E", reply(b"O", bytes(12))),
            ("E", reply(b"y", b"250 OK\0")),
            ("E", reply(b"+", b"nonsense\0") + CONTINUE),
            ("E", reply(b"+", b"<a@b>> evil\0") + CONTINUE),
            ("E", reply(b"e", b"<a b@c>\0") + CONTINUE),
            ("E", field(b"h", b"a b", b"1") + CONTINUE),
            ("E", field(b"h", b"a:\r\nb", b"1") + CONTINUE),
            ("B", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            ("L", b"\0\0\0\0"),
        ]:
            self.assertEqual(brief(self.deliver({stage: said})), (451, "4.7.1"), (stage, said))
            self.assertEqual(len(self.lines), 1, said)
            self.lines.clear()
        self.assertEqual(self.store.messages, [])

    def test_negotiation(self) -> None:
        """One that can't be agreed with has failed."""
        for answer in (reply(b"O", bytes(12)), b"220 I speak SMTP\r\n", CONTINUE):
            fake = FakeMilter({"O": answer})
            self.assertEqual(self.client(fake).deliver(MESSAGE).code, 451)
            self.assertTrue(fake.transports[0].isClosed)

    def test_unagreed(self) -> None:
        """A change that it didn't ask to be allowed isn't made."""
        for edit in (
            field(b"h", b"X", b"1"),
            field(b"m", b"Subject", b"", 1),
            reply(b"b", b"x"),
            reply(b"+", b"<a@b>\0"),
            reply(b"-", b"<jane@example.com>\0"),
            reply(b"e", b"<a@b>\0"),
            reply(b"q", b"\0"),
        ):
            fake = FakeMilter({"E": edit + CONTINUE}, actions=0)
            self.assertEqual(self.client(fake).deliver(MESSAGE).code, 451)
        self.assertIn("without having asked for it", self.lines[0])

    def test_injection(self) -> None:
        """Line ends in a value make no field, no body and no reply of their own."""
        stored = field(b"h", b"X", b"1\r\nBcc: evil\r\n\r\nbody")
        self.deliver({"E": stored + CONTINUE})
        head = b"Subject: hi\r\nFrom: joe@example.org\r\nX: 1\r\n\tBcc: evil\r\n\tbody\r\n"
        self.assertEqual(self.store.messages, [head + b"\r\nHello\r\n"])
        answer = self.deliver({"M": reply(b"y", b"550 5.7.1 no\x0b250 yes\x1b[0m\0")})
        self.assertEqual(answer.code, 451)
        answer = self.deliver({"M": reply(b"y", b"550 5.7.1 no\x1b[0m\0")})
        self.assertEqual((answer.code, answer.lines), (550, ("no [0m",)))

    def test_floods(self) -> None:
        """Changes, progress and a new body have bounds."""
        for said in (
            field(b"h", b"X", b"1") * (MAX_EDITS + 1),
            field(b"h", b"X", b"1" * 60_000) * 5,
            PROGRESS * 1001,
            reply(b"b", b"x" * 60_000) * 18,
        ):
            self.assertEqual(brief(self.deliver({"E": said + CONTINUE})), (451, "4.7.1"))
            self.assertEqual(self.store.messages, [])
        self.assertEqual(brief(self.deliver({"M": PROGRESS * 1001 + CONTINUE})), (451, "4.7.1"))

    def test_chatter(self) -> None:
        """One that talks between commands isn't trusted with the next client's."""
        fake = FakeMilter()
        client = self.client(fake)
        client.deliver(MESSAGE)
        fake.transports[0].protocol.dataReceived(CONTINUE)
        client.say("QUIT")
        self.assertTrue(fake.transports[0].isClosed)

    def test_paused(self) -> None:
        """More than somebody has asked for isn't read."""
        fake = FakeMilter()
        client = self.client(fake)
        client.say(HELLO)
        fake.transports[0].protocol.dataReceived(bytes(2**18 + 1))
        self.assertTrue(fake.transports[0].isPaused)

    @given(
        st.dictionaries(
            st.sampled_from("CHMRTLNBE"),
            st.lists(st.one_of(st.sampled_from(SAID), st.binary(max_size=12)), max_size=3),
            min_size=1,
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_anything(self, said: dict[str, list[bytes]]) -> None:
        """Whatever it says: each command has an answer, and 250 means stored, or thrown away."""
        self.store.messages.clear()
        fake = FakeMilter({stage: b"".join(octets) for stage, octets in said.items()})
        client = self.client(fake, quarantine=self.store)
        codes = [] if client.greeting is None else [client.greeting.code]
        client.wait(100)
        codes += [answer.code for answer in client.answers()]
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.send(line.encode() + b"\r\n")
            client.wait(100)
            codes += [answer.code for answer in client.answers()]
        if codes[-1:] == [354]:
            client.send(MESSAGE + b".\r\n")
            client.wait(290)
            codes += [answer.code for answer in client.answers()]
            self.assertIn(codes[-1], range(250, 560))
        if not (codes[-1] == 250 and codes[-2:-1] == [354]):
            self.assertEqual(self.store.messages, [])
        else:
            thrownAway = any(
                code in octets for octets in map(b"".join, said.values()) for code in b"d-"
            )
            self.assertTrue(thrownAway or len(self.store.messages) == 1)

    def test_log(self) -> None:
        """Nothing of it gets into the log unescaped."""
        self.deliver({"M": reply(b"\x1b", b"\r\n")})
        self.assertNotIn("\x1b", self.lines[0])


class ConfigurationTests(MilterCase):
    """What is wrong is said at the start."""

    def test_wrong(self) -> None:
        """With the cure."""
        for arguments, words in [
            ({"endpoint": "inet:11332@localhost"}, "write tcp:"),
            ({"endpoint": "local:/run/x"}, "write unix:"),
            ({"endpoint": "/run/rspamd.sock"}, "isn't an endpoint such as unix:"),
            ({"endpoint": "tcp:127.0.0.1:1", "onFailure": "ignore"}, "tempfail"),
        ]:
            error: Any = self.assertRaises(ConfigurationError, Milter, **arguments)
            self.assertIn(words, str(error))

    def test_repr(self) -> None:
        """The log calls it by its endpoint."""
        self.assertEqual(repr(Milter("unix:/run/rspamd.sock")), "<Milter unix:/run/rspamd.sock>")
