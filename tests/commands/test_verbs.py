"""Tests for the commands of RFC 5321, over the wire."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, brief, codes, talk
from twisted_smtpserver import Accepted, Rejection
from twisted_smtpserver.headers import receivedHeader
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import RecordingHandler, connect


class HelloTests(SynchronousTestCase):
    """HELO, EHLO (RFC 5321 section 4.1.1.1)."""

    def test_helo(self) -> None:
        """HELO is answered by one line without extensions or enhanced code."""
        answer = connect().say("HELO client.example")
        self.assertEqual(brief(answer), (250, None))
        self.assertEqual(answer.lines, ("mx.test Nice to meet you, [192.0.2.1]",))

    def test_ehlo(self) -> None:
        """EHLO lists what there is, one on a line, none without need."""
        answer = connect().say(HELLO)
        self.assertEqual(brief(answer), (250, None))
        self.assertEqual(answer.lines[0], "mx.test Nice to meet you, [192.0.2.1]")
        self.assertEqual(
            sorted(answer.lines[1:]),
            [
                *("8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "LIMITS RCPTMAX=1000"),
                *("PIPELINING", "SIZE", "SMTPUTF8"),
            ],
        )

    def test_sizeKeyword(self) -> None:
        """The limits are told, unless they are hidden."""
        self.assertIn("SIZE 5000", connect(size=5000).say(HELLO).lines)
        self.assertIn("SIZE", connect(size=5000, hideSize=True).say(HELLO).lines)
        self.assertIn("LIMITS RCPTMAX=7", connect(maxRecipients=7).say(HELLO).lines)

    def test_hide(self) -> None:
        """What is hidden works nevertheless."""
        client = connect(hide=["pipelining", "SMTPUTF8"])
        lines = client.say(HELLO).lines
        self.assertNotIn("PIPELINING", lines)
        self.assertNotIn("SMTPUTF8", lines)
        self.assertEqual(client.say(f"{MAIL} SMTPUTF8").code, 250)

    def test_heloResponse(self) -> None:
        """The words are an option; the names are put in where they go, or left out."""
        table = {
            "%s greets %s": "mx.test greets [192.0.2.1]",
            "Hello": "Hello",
            "I am %s": "I am mx.test",
            "%s %s %s": "mx.test [192.0.2.1] ",
            "100%% %d %s": "100%% %d mx.test",
        }
        for words, line in table.items():
            self.assertEqual(connect(heloResponse=words).say("HELO a").lines, (line,))

    def test_bad(self) -> None:
        """The name must be one: 501, and no enhanced code (RFC 2034 section 4)."""
        client = connect(maxUnrecognizedCommands=100)
        for argument in ("", " ", "a b", "a\u202eb", "a\x9fb", b"\xff", "a\u3000b", "a" * 256):
            octets = argument if isinstance(argument, bytes) else argument.encode()
            self.assertEqual(brief(client.say(b"EHLO " + octets)), (501, None), argument)
            self.assertEqual(client.say(MAIL).code, 503)
        for phase in (Phase.READY, Phase.MAIL, Phase.RCPT, Phase.CHUNKS):
            client = talk(phase)
            self.assertEqual(brief(client.say("HELO a b")), (501, None), phase)
            self.assertEqual(brief(client.say("NOOP")), (250, "2.0.0"), phase)

    def test_anyName(self) -> None:
        """Whatever a device calls itself is taken as it is told, and escaped where it goes."""
        hellos = [
            "(none)",
            "my_laptop",
            "bob's-mac",
            "[10.0.0.1",
            "a..b",
            "-",
            "<a>",
            "b\u00fccher",
        ]
        for verb in ("EHLO", "HELO"):
            for name in hellos:
                client = connect()
                self.assertEqual(client.say(f"{verb} {name}").code, 250, name)
                self.assertEqual(client.session.hostNameAppearsAs, name)
                client.say(MAIL)
                header = receivedHeader(client.session)
                self.assertTrue(header.isascii())
                self.assertEqual(header.count(b"("), header.count(b")"), name)
                self.assertNotIn(b"<a>", header.partition(b"(")[0])

    def test_lmtp(self) -> None:
        """LHLO is for LMTP, and the others aren't (RFC 2033 section 4.1)."""
        self.assertEqual(brief(connect().say("LHLO a.example")), (500, None))
        client = connect(lmtp=True)
        for line, code in (("HELO a.example", 500), ("EHLO a.example", 500), ("LHLO a", 250)):
            self.assertEqual(brief(client.say(line)), (code, None))

    def test_onHello(self) -> None:
        """The handler may refuse it: 550, or what it says; the last hello stays."""
        client = talk(Phase.READY)
        for error, code in ((Rejection("no"), 550), (Rejection("no", 450, "4.7.1"), 450)):

            def onHello(hostname: str, session: Any, error: Exception = error) -> None:
                self.assertEqual(hostname, "other.example")
                raise error

            client.factory.handler.onHello = onHello  # type: ignore[attr-defined]
            self.assertEqual(brief(client.say("HELO other.example")), (code, None))
            self.assertEqual(client.session.openingCommand, "EHLO")
            self.assertEqual(client.session.hostNameAppearsAs, "client.example")

    def test_resets(self) -> None:
        """A hello ends the transaction (RFC 5321 section 4.1.4); a refused one doesn't."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        self.assertEqual(client.say("EHLO a b").code, 501)
        self.assertEqual(handler.outcomes, [])
        self.assertEqual(client.say(HELLO).code, 250)
        self.assertEqual(handler.outcomes, ["reset"])
        self.assertEqual(client.say(RCPT).code, 503)


class MailTests(SynchronousTestCase):
    """MAIL (RFC 5321 section 4.1.1.2)."""

    def test_paths(self) -> None:
        """What is good is 250 2.1.0; what is bad 501, as precise as can be."""
        table = {
            "MAIL FROM:<>": (250, "2.1.0"),
            "mail from:<joe@example.org>": (250, "2.1.0"),
            'MAIL FROM:<"joe x@y"@example.org>': (250, "2.1.0"),
            "MAIL FROM:<@a.example,@b.example:joe@example.org>": (250, "2.1.0"),
            "MAIL FROM:<joe@[192.0.2.1]>": (250, "2.1.0"),
            "MAIL FROM:<joe@[IPv6:2001:db8::1]>": (250, "2.1.0"),
            "MAIL": (501, "5.5.4"),
            "MAIL TO:<joe@example.org>": (501, "5.5.4"),
            "MAIL FROM:": (501, "5.1.7"),
            "MAIL FROM: <joe@example.org>": (250, "2.1.0"),
            "MAIL FROM:   <joe@example.org> SIZE=1": (250, "2.1.0"),
            "MAIL FROM:\t<joe@example.org>\tSIZE=1": (250, "2.1.0"),
            f"MAIL FROM:<{'x' * 512}@example.org>": (250, "2.1.0"),
            f"MAIL FROM:<@{'r' * 1006}:joe@example.org>": (501, "5.1.7"),
            f"MAIL FROM:<@{'r' * 1000}:joe@example.org>": (250, "2.1.0"),
            "MAIL FROM:joe@example.org": (501, "5.1.7"),
            "MAIL FROM:BODY=8BITMIME": (501, "5.1.7"),
            "MAIL FROM: BODY=8BITMIME": (501, "5.1.7"),
            "MAIL FROM : <joe@example.org>": (501, "5.5.4"),
            "MAIL FROM:<joe>": (501, "5.1.7"),
            "MAIL FROM:<joe@example.org": (501, "5.1.7"),
            "MAIL FROM:<joe@exa mple.org>": (501, "5.1.7"),
            "MAIL FROM:<joe@example.org>x": (501, "5.1.7"),
            f"MAIL FROM:<{'x' * 513}@example.org>": (501, "5.1.7"),
        }
        client = talk(Phase.READY)
        for line, expected in table.items():
            self.assertEqual(brief(client.say(line)), expected, line)
            client.say("RSET")

    def test_parameters(self) -> None:
        """What isn't known is 555, what is wrong 501 (RFC 5321 section 4.1.1.11)."""
        table = {
            "SIZE=100": (250, "2.1.0"),
            "SIZE=0": (250, "2.1.0"),
            "size=5000 body=8bitmime": (250, "2.1.0"),
            "SIZE=5001": (552, "5.3.4"),
            "SIZE=99999999999999999999": (552, "5.3.4"),
            "SIZE": (501, "5.5.4"),
            "SIZE=x": (501, "5.5.4"),
            "SIZE=-1": (501, "5.5.4"),
            "SIZE=999999999999999999999": (501, "5.5.4"),
            "SIZE=1 SIZE=1": (501, "5.5.4"),
            "BODY=7BIT": (250, "2.1.0"),
            "BODY": (501, "5.5.4"),
            "BODY=BINARYMIME": (501, "5.5.4"),
            "SMTPUTF8": (250, "2.1.0"),
            "SMTPUTF8=1": (501, "5.5.4"),
            "FOO": (555, "5.5.4"),
            "FOO=bar": (555, "5.5.4"),
            "RET=FULL": (555, "5.5.4"),
            "AUTH=<>": (555, "5.5.4"),
            "=": (501, "5.5.4"),
            "-X": (501, "5.5.4"),
        }
        client = talk(Phase.READY, size=5000)
        for parameter, expected in table.items():
            self.assertEqual(brief(client.say(f"{MAIL} {parameter}")), expected, parameter)
            self.assertEqual(client.session.envelope.mailFrom is not None, expected[0] == 250)
            client.say("RSET")

    def test_nonAscii(self) -> None:
        """An address outside of ASCII needs SMTPUTF8: 550 5.6.7 (RFC 6531 section 3.5)."""
        client = talk(Phase.READY)
        self.assertEqual(brief(client.say("MAIL FROM:<jöe@example.org>")), (550, "5.6.7"))
        self.assertEqual(brief(client.say("MAIL FROM:<jöe@example.org> SMTPUTF8")), (250, "2.1.0"))
        self.assertEqual(brief(client.say("RCPT TO:<jäne@example.com>")), (250, "2.1.5"))
        client.say("RSET")
        client.say(MAIL)
        self.assertEqual(brief(client.say("RCPT TO:<jäne@example.com>")), (553, "5.6.7"))
        self.assertEqual(brief(client.say(b"RCPT TO:<j\xff@example.com>")), (501, "5.1.3"))

    def test_lenient(self) -> None:
        """lenientAddressParsing takes more, but no controls, and tells it apart."""
        client = talk(Phase.READY, lenientAddressParsing=True)
        table = {
            "MAIL FROM:<joe..x@example.org>": 250,
            "MAIL FROM: <joe.@example.org>": 250,
            "MAIL FROM : <joe@my_host> SIZE=1": 250,
            "MAIL FROM:<joe@[10.0.0.1>": 250,
            "MAIL FROM:joe@example.org": 501,
            "MAIL FROM:<joe>": 501,
            "MAIL FROM:<joe@x@example.org>": 501,
            "MAIL FROM: BODY=8BITMIME": 501,
            "MAIL FROM:<joe.@example.org>SIZE=1": 501,
            "MAIL FROM:<joe\u200b.@example.org> SMTPUTF8": 501,
            "MAIL FROM:<a\x01b@c.example>": 500,
        }
        for line, code in table.items():
            self.assertEqual(client.say(line).code, code, line)
            client.say("RSET")

    def test_badName(self) -> None:
        """A 553 blames the sender here, and the recipient in RCPT (RFC 3463 section 3.2)."""

        def refuse(address: Any, session: Any) -> None:
            raise Rejection("no", 553)

        client = talk(Phase.READY, onMailFrom=refuse)
        self.assertEqual(brief(client.say(MAIL)), (553, "5.1.7"))
        client = talk(Phase.MAIL, onRcptTo=refuse)
        self.assertEqual(brief(client.say(RCPT)), (553, "5.1.3"))

    def test_results(self) -> None:
        """The handler may choose the words; anything else it returns is a bug."""
        table: dict[Any, tuple[int, str | None, str]] = {
            "Pleased": (250, "2.1.0", "Pleased"),
            Accepted("Pleased", "2.3.6"): (250, "2.3.6", "Pleased"),
            None: (250, "2.1.0", "Sender OK"),
        }
        for result, expected in table.items():
            client = talk(Phase.READY, onMailFrom=lambda *_, result=result: result)
            answer = client.say(MAIL)
            self.assertEqual((*brief(answer), answer.text), expected)
        for result in (True, 250, Accepted(code=251), Accepted(code=252)):
            client = talk(Phase.READY, onMailFrom=lambda *_, result=result: result)
            self.assertEqual(brief(client.say(MAIL)), (451, "4.3.0"))
            self.assertIs(client.protocol.dialogue.phase, Phase.READY)
            self.assertIsNone(client.session.envelope.mailFrom)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 4)


class RcptTests(SynchronousTestCase):
    """RCPT (RFC 5321 section 4.1.1.3)."""

    def test_paths(self) -> None:
        """What is good is 250 2.1.5; what is bad 501, as precise as can be."""
        table = {
            "RCPT TO:<jane@example.com>": (250, "2.1.5"),
            "rcpt to:<Postmaster>": (250, "2.1.5"),
            "RCPT TO:<@a.example:jane@example.com>": (250, "2.1.5"),
            "RCPT": (501, "5.5.4"),
            "RCPT FROM:<jane@example.com>": (501, "5.5.4"),
            "RCPT TO:<>": (501, "5.1.3"),
            "RCPT TO: <jane@example.com>": (250, "2.1.5"),
            "RCPT TO: BODY=8BITMIME": (501, "5.1.3"),
            "RCPT TO:<jane>": (501, "5.1.3"),
            "RCPT TO:<jane@example.com> SIZE=5": (555, "5.5.4"),
            "RCPT TO:<jane@example.com> NOTIFY=NEVER": (555, "5.5.4"),
            "RCPT TO:<jane@example.com> =": (501, "5.5.4"),
        }
        client = talk(Phase.MAIL)
        for line, expected in table.items():
            self.assertEqual(brief(client.say(line)), expected, line)
        self.assertEqual(len(client.session.envelope.rcptTo), 4)

    def test_tooMany(self) -> None:
        """One too many is 452 4.5.3 (RFC 5321 section 4.5.3.1.10); the others stay."""
        client = talk(Phase.MAIL, maxRecipients=3)
        answers = client.pipeline(*[RCPT] * 5)
        self.assertEqual(
            [brief(answer) for answer in answers], [(250, "2.1.5")] * 3 + [(452, "4.5.3")] * 2
        )
        self.assertEqual(len(client.session.envelope.rcptTo), 3)
        self.assertEqual(client.say("DATA").code, 354)

    def test_refusedDontCount(self) -> None:
        """Recipients that were refused don't count."""

        def onRcptTo(address: Any, session: Any) -> None:
            if address.local == "x":
                raise Rejection("no")

        client = talk(Phase.MAIL, maxRecipients=1, onRcptTo=onRcptTo)
        lines = ["RCPT TO:<x@example.com>"] * 3 + [RCPT] * 2
        self.assertEqual(codes(client.pipeline(*lines)), [550, 550, 550, 250, 452])

    def test_results(self) -> None:
        """251 says that the mail will be forwarded (RFC 5321 section 3.4)."""
        client = talk(Phase.MAIL, onRcptTo=lambda *_: Accepted("will forward", code=251))
        answer = client.say(RCPT)
        self.assertEqual((*brief(answer), answer.text), (251, "2.1.5", "will forward"))
        self.assertEqual(client.say("DATA").code, 354)

    def test_noneAccepted(self) -> None:
        """Without a recipient there is no DATA: 503 (RFC 5321 section 3.3)."""
        client = talk(Phase.MAIL, onRcptTo=lambda *_: (_ for _ in ()).throw(Rejection("no")))
        self.assertEqual(client.say(RCPT).code, 550)
        self.assertEqual(brief(client.say("DATA")), (503, "5.5.1"))
        self.assertEqual(client.say("QUIT").code, 221)


class OtherCommandsTests(SynchronousTestCase):
    """RSET, NOOP, VRFY, HELP, QUIT, DATA: what may stand behind them, and what they answer."""

    def test_answers(self) -> None:
        """Each has its answer, with an enhanced code, before a hello as well as after."""
        table: dict[str | bytes, tuple[int, str]] = {
            "NOOP": (250, "2.0.0"),
            "NOOP whatever": (250, "2.0.0"),
            b"NOOP \xff\xfe": (250, "2.0.0"),
            "noop": (250, "2.0.0"),
            "RSET": (250, "2.0.0"),
            "RSET ": (250, "2.0.0"),
            "RSET x": (501, "5.5.4"),
            "VRFY joe": (252, "2.1.5"),
            "VRFY jöe SMTPUTF8": (252, "2.1.5"),
            "VRFY jöe SMTPUTF8=1": (501, "5.5.4"),
            b"VRFY j\xff": (501, "5.5.4"),
            "VRFY": (501, "5.5.4"),
            "HELP": (214, "2.0.0"),
            "HELP MAIL": (214, "2.0.0"),
            "QUIT now": (501, "5.5.4"),
            "STARTTLS": (502, "5.5.1"),
            "AUTH PLAIN": (502, "5.5.1"),
        }
        client = talk(Phase.READY)
        for line, expected in table.items():
            self.assertEqual(brief(client.say(line)), expected, line)
        self.assertIn("RFC 5321", client.say("HELP").text)

    def test_quit(self) -> None:
        """QUIT closes after its answer; nothing behind it is run."""
        client = connect()
        self.assertEqual(codes(client.pipeline("QUIT", "NOOP")), [221])
        self.assertTrue(client.isClosed)

    def test_rset(self) -> None:
        """RSET ends the transaction, and nothing else."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        envelope = client.session.envelope
        self.assertEqual(client.say("RSET").code, 250)
        self.assertEqual(handler.outcomes, ["reset"])
        self.assertIsNot(client.session.envelope, envelope)
        self.assertEqual(client.session.openingCommand, "EHLO")
        self.assertEqual(codes(client.pipeline("RSET", RCPT, MAIL)), [250, 503, 250])
        self.assertEqual(handler.outcomes, ["reset"])

    def test_binary(self) -> None:
        """DATA can't carry BODY=BINARYMIME (RFC 3030 section 3)."""
        client = talk(Phase.READY, extensions=["BINARYMIME"])
        answers = client.pipeline(f"{MAIL} BODY=BINARYMIME", RCPT, "DATA")
        self.assertEqual(codes(answers), [250, 250, 503])

    def test_dataArgument(self) -> None:
        """DATA has no argument; the transaction goes on."""
        client = talk(Phase.RCPT)
        self.assertEqual(brief(client.say("DATA now")), (501, "5.5.4"))
        self.assertEqual(client.say("DATA").code, 354)


class LineTests(SynchronousTestCase):
    """Command lines as such."""

    def test_lengths(self) -> None:
        """Up to 2048 octets with the CRLF are taken, one more is 500 5.5.2; the session goes on."""
        client = connect()
        self.assertEqual(client.say("NOOP " + "x" * (2048 - 7)).code, 250)
        for length in (2049, 12287, 12288, 12289, 100_000):
            answers = client.pipeline("NOOP " + "x" * (length - 7), "NOOP")
            self.assertEqual([brief(a) for a in answers], [(500, "5.5.2"), (250, "2.0.0")], length)

    def test_limit(self) -> None:
        """The limit is an option, which can be larger than that of AUTH."""
        client = connect(maxCommandLength=512)
        self.assertEqual(client.say("NOOP " + "x" * (512 - 7)).code, 250)
        self.assertEqual(client.say("NOOP " + "x" * (513 - 7)).code, 500)
        client = connect(maxCommandLength=20000)
        self.assertEqual(client.say("NOOP " + "x" * (20000 - 7)).code, 250)
        self.assertEqual(client.say("NOOP " + "x" * (20001 - 7)).code, 500)

    def test_authLengths(self) -> None:
        """AUTH lines may have 12288 octets, one more is 500 5.5.6 (RFC 4954 section 4)."""
        client = talk(Phase.READY, onAuth=lambda *_: None, allowInsecureAuth=True)
        for length, expected in ((12288, 501), (12289, 500), (50000, 500)):
            line = "AUTH PLAIN ="
            answer = client.say(line + "x" * (length - len(line) - 2))
            self.assertEqual(answer.code, expected)
        self.assertEqual(brief(answer), (500, "5.5.6"))
        self.assertEqual(client.say("auth login").code, 334)
        self.assertEqual(client.say("x" * 12286).code, 501)
        self.assertEqual(client.say("AUTH LOGIN").code, 334)
        answers = client.pipeline("x" * 12287, "NOOP")
        self.assertEqual([brief(a) for a in answers], [(500, "5.5.6"), (250, "2.0.0")])

    def test_memory(self) -> None:
        """Before the newline comes no more than the longest line is kept."""
        client = connect()
        for _ in range(500):
            client.send(b"NOOP " + b"x" * 1000)
            self.assertLessEqual(len(client.protocol.channel.waitingInput), 12288 + 1005)
        client.send(b"\r\n")
        self.assertEqual(codes(client.answers()), [500])

    def test_whiteSpace(self) -> None:
        """Trailing white space is tolerated (RFC 5321 section 4.1.1), leading isn't."""
        client = talk(Phase.READY)
        self.assertEqual(codes(client.pipeline("NOOP  \t", MAIL + " ", "RSET\t")), [250] * 3)
        self.assertEqual(
            codes(client.pipeline(" NOOP", "NOOP\tx", "RCPT  TO:<a@b.c>")), [500, 500, 503]
        )

    def test_controls(self) -> None:
        """A control character makes a line malformed: 500, and the session goes on."""
        client = talk(Phase.READY, maxUnrecognizedCommands=100)
        for control in (*range(9), 11, 12, 13, *range(14, 32), 127):
            line = b"NOOP a%cb" % control
            self.assertEqual(brief(client.say(line)), (500, "5.5.2"), control)
        self.assertEqual(client.say(b"MAIL FROM:<a\x00@b.example>").code, 500)

    def test_bareNewline(self) -> None:
        """Who ends lines in LF alone is told so, and goes; nothing behind it is run."""
        for octets in (
            *(b"NOOP\n", b"NOOP\nNOOP\r\n", b"NOOP\n\r\n", b"\n", b"\nNOOP\r\n"),
            *(b"NOOP " + b"x" * 3000 + b"\nNOOP\r\n", b"NOOP " + b"x" * 30000 + b"\nNOOP\r\n"),
        ):
            for step in (len(octets), 1 + len(octets) // 50):
                client = connect()
                for start in range(0, len(octets), step):
                    client.send(octets[start : start + step])
                answers = client.answers()
                self.assertEqual([brief(answer) for answer in answers], [(500, "5.5.2")], octets)
                self.assertEqual(answers[0].text, "Lines end in CRLF")
                self.assertTrue(client.isClosed)

    def test_bareNewlineInExchange(self) -> None:
        """The same holds for the answer to a challenge."""
        client = talk(Phase.READY, onAuth=lambda *_: None, allowInsecureAuth=True)
        client.say("AUTH LOGIN")
        self.assertEqual(codes(client.pipeline("am9l\nam9l")), [500])
        self.assertTrue(client.isClosed)


class EnhancedCodesTests(SynchronousTestCase):
    """RFC 2034: on every 2yz, 4yz and 5yz but the greeting and what a hello is answered."""

    def test_everyReply(self) -> None:
        """A long conversation has them wherever they belong, of the right class."""
        hellos = [HELLO, "HELO", "LHLO a", "HELO a"]
        others = [
            *("FOO", "", "NOOP", "VRFY", "VRFY a", "HELP", "RSET", "RSET a", "EXPN a"),
            *(RCPT, "MAIL", f"{MAIL} X", MAIL, MAIL, "RCPT TO:<>", "DATA", RCPT, "BDAT 0"),
            *("DATA", "BDAT 0 LAST", "STARTTLS", "AUTH PLAIN", "x" * 3000, "QUIT"),
        ]
        client = connect()
        assert client.greeting is not None
        self.assertIsNone(client.greeting.enhanced)
        for line in hellos:
            self.assertIsNone(client.say(line).enhanced)
        for line in others:
            answer = client.say(line)
            self.assertEqual((answer.enhanced or "")[:1], str(answer.code)[0], line)


class TransmissionTypeTests(SynchronousTestCase):
    def test_smtpUtf8(self) -> None:
        """The type follows the hello and the transaction."""
        client = talk(Phase.READY)
        seen = [client.session.transmissionType]
        client.say(f"{MAIL} SMTPUTF8")
        seen.append(client.session.transmissionType)
        client.say("RSET")
        seen.append(client.session.transmissionType)
        client.say("HELO a.example")
        seen.append(client.session.transmissionType)
        self.assertEqual(seen, ["ESMTP", "UTF8SMTP", "ESMTP", "SMTP"])


class HooksTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """A server without any hook accepts everything and keeps nothing."""
        client = connect()
        self.assertFalse(any(hasattr(client.factory.handler, name) for name in HOOKS))
        self.assertEqual(client.deliver(b"x\r\n").code, 250)
        self.assertEqual(client.session.messages, 1)

    def test_assignedLater(self) -> None:
        """A hook that is assigned later counts from then on."""
        handler = RecordingHandler()
        client = talk(Phase.MAIL, handler)
        self.assertEqual(client.say(RCPT).code, 250)
        handler.onRcptTo = lambda *_: "later"  # type: ignore[method-assign]
        self.assertEqual(client.say(RCPT).text, "later")
