"""
Attacks on mail servers that are known by a number or a paper, and what becomes of them here.

More variants of SMTP smuggling are in ``test_smuggling.py``.
"""

from __future__ import annotations

import base64
import glob
import os
import tracemalloc
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk, walk
from twisted_smtpserver import Authenticated, Rejection
from twisted_smtpserver.connection.lines import MAX_WAITING
from twisted_smtpserver.connection.opening import PROXY_TIME
from twisted_smtpserver.connection.timeouts import CLOSING_TIME
from twisted_smtpserver.handlers import Maildir
from twisted_smtpserver.session import Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
    runInline,
)
from twisted_smtpserver.wire.params import MAX_PARAMETERS

#: Where a client can be while it is slow, reset or half closed.
PHASES = (Phase.GREETED, Phase.READY, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CHUNKS)

FORGED = "MAIL FROM:<ceo@example.com>\r\nRCPT TO:<jane@example.com>\r\nDATA\r\nforged\r\n.\r\n"


def plain(*parts: str) -> str:
    """An AUTH PLAIN command with an initial response of these parts."""
    return "AUTH PLAIN " + base64.b64encode("\0".join(parts).encode()).decode()


def authServer(**options: Any) -> Client:
    """A greeted client of a server that lets everybody in, and answers failures at once."""
    options = {"onAuth": lambda credentials, session: credentials.username, **options}
    options.setdefault("authFailureDelay", 0)
    options.setdefault("loginDelay", 0)
    return talk(Phase.READY, allowInsecureAuth=True, **options)


class StartTLSTests(SynchronousTestCase):
    """What an attacker in the middle adds before the handshake."""

    def test_commandInjection(self) -> None:
        """
        CVE-2011-0411: commands behind STARTTLS in the clear aren't run inside of TLS. There is no
        handshake at all.
        """
        handler = RecordingHandler()
        client = connect(handler, selfSigned=True)
        client.say(HELLO)
        client.send(b"STARTTLS\r\n" + FORGED.encode())
        self.assertEqual(codes(client.answers()), [503])
        self.assertTrue(client.isClosed)
        self.assertNotIn("onMailFrom", handler.calls)

    def test_partOfACommand(self) -> None:
        """CVE-2011-0411: nor is the beginning of a command put before the first one in TLS."""
        client = connect(selfSigned=True)
        client.say(HELLO)
        client.send(b"STARTTLS\r\nRSE")
        self.assertEqual(codes(client.answers()), [503])
        self.assertTrue(client.isClosed)

    def test_injectionWhileHeld(self) -> None:
        """CVE-2011-0411: the same while a hook of an earlier command is pending."""
        later = Later()
        client = connect(onHello=later, selfSigned=True)
        client.send(f"{HELLO}\r\nSTARTTLS\r\nNOOP\r\n".encode())
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 503])
        self.assertTrue(client.isClosed)

    def test_injectionAfterTheReply(self) -> None:
        """CVE-2011-0411: octets in clear that come after the 220 break the handshake."""
        handler = RecordingHandler()
        client = connect(handler, selfSigned=True)
        client.say(HELLO)
        self.assertEqual(client.say("STARTTLS").code, 220)
        client.send(FORGED.encode())
        self.assertTrue(client.isClosed)
        self.assertNotIn("onMailFrom", handler.calls)
        self.assertNotIn("onSecure", handler.calls)

    def test_responseInjection(self) -> None:
        """
        "Why TLS Is Better Without STARTTLS" (Poddebniak et al., USENIX Security 2021): after the
        220 the server says nothing in clear, whatever it still had to say.
        """
        client = connect(selfSigned=True)
        answers = client.pipeline(HELLO, "NOOP", "STARTTLS")
        self.assertEqual(codes(answers), [250, 250, 220])
        client.startTLS()
        self.assertEqual(client.answers(), [])
        self.assertEqual(client.say(HELLO).code, 250)

    def test_forgotten(self) -> None:
        """
        NO STARTTLS (ibid.): what was said in clear counts no more: neither hello nor login nor
        XFORWARD (RFC 3207 section 4.2).
        """
        client = authServer(selfSigned=True)
        self.assertEqual(client.say(plain("", "joe", "secret")).code, 235)
        client.say("STARTTLS")
        client.startTLS()
        self.assertIsNone(client.session.user)
        self.assertIsNone(client.session.hostNameAppearsAs)
        self.assertEqual(brief(client.say(MAIL)), (503, "5.5.1"))
        client.say(HELLO)
        self.assertEqual(brief(client.say(MAIL)), (530, "5.7.0"))

    def test_openTransaction(self) -> None:
        """NO STARTTLS (ibid.): a transaction begun in clear can't be finished in TLS."""
        client = talk(Phase.RCPT, selfSigned=True)
        client.say("STARTTLS")
        client.startTLS()
        for command in (RCPT, "DATA", HELLO, RCPT, "DATA"):
            self.assertEqual(client.say(command).code, 250 if command == HELLO else 503)
        self.assertEqual(client.session.transactions, 1)

    def test_preauth(self) -> None:
        """NO STARTTLS (ibid.): before TLS there is no login to steal: not offered, and refused."""
        client = connect(onAuth=lambda *arguments: "joe", selfSigned=True)
        self.assertFalse([line for line in client.say(HELLO).lines if line.startswith("AUTH")])
        self.assertEqual(brief(client.say(plain("", "joe", "secret"))), (538, "5.7.11"))

    def test_second(self) -> None:
        """RFC 3207 section 4.2: inside of TLS there is no further STARTTLS."""
        client = connect(selfSigned=True)
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        self.assertNotIn("STARTTLS", client.say(HELLO).lines)
        self.assertEqual(client.say("STARTTLS").code, 503)


class SmugglingTests(SynchronousTestCase):
    """
    CVE-2023-51764, CVE-2023-51765, CVE-2023-51766 ("SMTP Smuggling", Longin 2023): an end of data
    that only one side of a relay sees.
    """

    def test_endsOfData(self) -> None:
        """None of the variants ends the message; all are refused as a whole, at the true end."""
        ends = (
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r\n.\r",
            "\r.\r\n",
            "\r\n\0.\r\n",
            "\n.\r",
        )
        for end in ends:
            handler = RecordingHandler()
            client = talk(Phase.DATA, handler)
            client.send(f"innocent{end}{FORGED}".encode())
            self.assertEqual(len(client.answers()), 1, repr(end))
            expected = 1 if "\0" in end else 0  # a NUL isn't a newline: content, to the true end
            self.assertEqual(len(handler.messages), expected, repr(end))
            self.assertEqual(client.say("NOOP").code, 250)

    def test_splitAnywhere(self) -> None:
        """Neither do they when they come octet by octet."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler)
        for octet in b"a\r\n.\rb\n.\r\nc\r\n.\r\n":
            client.send(bytes([octet]))
        self.assertEqual([brief(answer) for answer in client.answers()], [(550, "5.6.0")])
        self.assertEqual(handler.messages, [])

    def test_bareNewlinesInCommands(self) -> None:
        """A command line that another server would see as two ends the connection."""
        for line in (b"NOOP\nMAIL FROM:<a@b.example>\r\n", b"NOOP\n"):
            client = talk(Phase.READY)
            client.send(line)
            self.assertEqual([brief(answer) for answer in client.answers()], [(500, "5.5.2")])
            self.assertTrue(client.isClosed)

    def test_bareReturnsInCommands(self) -> None:
        """A CR by itself isn't the end of a line, and no command has one."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler)
        self.assertEqual(client.say("NOOP\rMAIL FROM:<a@b.example>").code, 500)
        self.assertNotIn("onMailFrom", handler.calls)


class CrossProtocolTests(SynchronousTestCase):
    """Clients that believe to speak something else."""

    def test_http(self) -> None:
        """
        "The HTML Form Protocol Attack" (Topf 2001): a form posted to port 25 is no mail, though its
        content is made of commands.
        """
        handler = RecordingHandler()
        client = connect(handler)
        request = f"POST / HTTP/1.1\r\nHost: mx.test\r\n\r\n{HELLO}\r\n{FORGED}QUIT\r\n"
        client.send(request.encode())
        self.assertEqual(codes(client.answers()), [554])
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.messages, [])

    def test_alpaca(self) -> None:
        """
        ALPACA (Brinkmann et al., USENIX Security 2021): a browser, whose ALPN list has no mail in
        it, gets no handshake; a mail program may name smtp.
        """
        for protocols, isWelcome in (([b"h2", b"http/1.1"], False), ([b"smtp"], True)):
            client = connect(secure=True, selfSigned=True)
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_alpn_protos(protocols)
            if isWelcome:
                client.startTLS(context=context)
                assert client.session.tls is not None
                self.assertEqual(client.session.tls.alpn, "smtp")
            else:
                with self.assertRaises(SSL.Error):
                    client.startTLS(context=context)
                self.assertIsNone(client.session.tls)

    def test_alpacaWithoutALPN(self) -> None:
        """ALPACA (ibid.): nor does HTTP get further inside of TLS, and nothing of it comes back."""
        client = connect(secure=True, selfSigned=True)
        client.startTLS()
        client.answers()
        client.send(b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: mx.test\r\n\r\n")
        answers = client.answers()
        self.assertEqual(codes(answers), [554])
        self.assertNotIn("script", answers[0].text)

    def test_reflection(self) -> None:
        """ALPACA (ibid.): no reply repeats what the client said, for a browser to run."""
        client = talk(Phase.READY)
        marker = "<script>alert(1)</script>"
        verbs = ("", "HELO ", "MAIL FROM:", "VRFY ", "HELP ", "NOOP ", "AUTH ", "RCPT TO:", "BDAT ")
        lines = [f"{verb}{marker}" for verb in verbs]
        for answer in client.pipeline(*lines):
            self.assertNotIn("script", answer.text)

    def test_tlsInClear(self) -> None:
        """A TLS hello on a port in clear is answered, and not taken for commands."""
        client = connect()
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.assertEqual(codes(client.answers()), [554])
        self.assertTrue(client.isClosed)


class LoginTests(SynchronousTestCase):
    """What is presented as an identity."""

    def test_foreignAuthzid(self) -> None:
        """
        RFC 4616 section 2: to act as someone else takes the handler's explicit consent; that the
        password is right isn't enough.
        """
        client = authServer()
        self.assertEqual(brief(client.say(plain("admin", "joe", "secret"))), (535, "5.7.8"))
        self.assertIsNone(client.session.user)

    def test_foreignAuthzidForSomeoneElse(self) -> None:
        """RFC 4616 section 2: consent for one identity isn't consent for another."""
        client = authServer(onAuth=lambda *_: Authenticated("joe", authzid="sales"))
        self.assertEqual(client.say(plain("admin", "joe", "secret")).code, 535)
        self.assertEqual(client.say(plain("sales", "joe", "secret")).code, 235)

    def test_controlsInNames(self) -> None:
        """RFC 4013, RFC 8265: names with controls never reach the handler."""
        seen: list[str] = []
        client = authServer(onAuth=lambda c, s: seen.append(c.username), maxAuthAttempts=100)
        for name in ("joe\r\nX: y", "joe\x1b[2J", "joe\u2028x", "joe\x85", "\x7f"):
            self.assertGreaterEqual(client.say(plain("", name, "secret")).code, 500, repr(name))
            answers = [client.say("AUTH LOGIN"), client.say(base64.b64encode(name.encode()))]
            if answers[-1].code == 334:
                answers.append(client.say(base64.b64encode(b"secret")))
            self.assertGreaterEqual(answers[-1].code, 500, repr(name))
        self.assertEqual(seen, [])

    def test_extraNuls(self) -> None:
        """RFC 4616 section 2: a NUL more doesn't cut a name or a password short."""
        client = authServer()
        self.assertGreaterEqual(client.say(plain("", "joe", "secret", "admin")).code, 500)
        self.assertIsNone(client.session.user)

    def test_pipelined(self) -> None:
        """RFC 4954 section 4: lines behind an AUTH that was refused aren't answers to it."""
        later = Later()
        client = authServer(onAuth=later)
        client.send(f"{plain('', 'joe', 'wrong')}\r\n{MAIL}\r\n".encode())
        self.assertEqual(client.answers(), [])
        later.answer(None)
        self.assertEqual(codes(client.answers()), [535, 530])

    def test_noDowngrade(self) -> None:
        """RFC 4954 section 6: a failed login doesn't undo the need for one."""
        client = authServer(onAuth=lambda *arguments: None)
        self.assertEqual(client.say(plain("", "joe", "wrong")).code, 535)
        self.assertEqual(brief(client.say(MAIL)), (530, "5.7.0"))

    def test_manyFailures(self) -> None:
        """Guessing: after so many failures the connection is closed, whatever was in between."""
        client = authServer(onAuth=lambda *arguments: None)
        got: list[int] = []
        for _ in range(3):
            got += codes(client.pipeline("RSET", HELLO, plain("", "joe", "guess")))
        self.assertEqual(got, [250, 250, 535] * 3 + [421])


class InjectionTests(SynchronousTestCase):
    """What a peer says, in the places that it gets to."""

    def test_xtext(self) -> None:
        """
        RFC 3461 section 4: xtext that decodes to CR, LF or other controls is refused, and so can't
        get into a header or a line of a queue file.
        """
        client = talk(Phase.READY, extensions=["DSN"])
        for value in ("a+0D+0AX-Evil:+20y", "+0A", "+00", "+7F", "+1B[2J", "+", "+0", "+0a", "+GG"):
            self.assertEqual(brief(client.say(f"{MAIL} ENVID={value}")), (501, "5.5.4"), value)
            client.say(MAIL)
            answer = client.say(f"{RCPT} ORCPT=rfc822;jane{value}@example.com")
            self.assertEqual(brief(answer), (501, "5.5.4"), value)
            client.say("RSET")

    def test_mailParameter(self) -> None:
        """CVE-2020-28021's way in: MAIL's AUTH= isn't a place for newlines either."""
        client = authServer()
        client.say(plain("", "joe", "secret"))
        for value in ("joe+0Aroot", "joe\x0broot", "joe+00"):
            self.assertGreaterEqual(client.say(f"{MAIL} AUTH={value}").code, 500, value)

    def test_addressesWithControls(self) -> None:
        """
        CWE-93; quoted strings may hold nearly anything, but not controls, nor what can't be seen or
        turns the text around; in either parser.
        """
        for lenient in (False, True):
            handler = RecordingHandler()
            client = talk(Phase.READY, handler, lenientAddressParsing=lenient)
            for local in (
                "a\rb",
                "a\0b",
                "a\x1bb",
                '"a\rb"',
                '"a\\\rb"',
                '"\x7f"',
                "a\u2028b",
                "a\x85b",
                "a\u200bb",
                "a\u200db",
                "a\u202eb",
                "a\u2066b",
                "a\ufeffb",
            ):
                answer = client.say(f"MAIL FROM:<{local}@example.org> SMTPUTF8")
                self.assertGreaterEqual(answer.code, 500, repr(local))
                if client.isClosed:
                    client = talk(Phase.READY, handler, lenientAddressParsing=lenient)
            self.assertNotIn("onMailFrom", handler.calls)

    def test_receivedHeader(self) -> None:
        """
        CWE-93: neither hello nor addresses can end, fold or forge a field of the header that the
        Maildir writes.
        """
        hellos = (
            "a)b",
            "a(b",
            "a\\",
            "a;b",
            '"a"',
            "a@b",
            "[192.0.2.1]",
            "x" * 250,
            "a\r\nX: y",
            "a,b",
        )
        senders = ('"a)(b"@example.org', '"a\\"> b"@example.org', '"X: y"@example.org', "")
        for hello in hellos:
            for sender in senders:
                path = os.path.abspath(self.mktemp())
                client = connect(Maildir(path, "mx.test", runInThread=runInline))
                if client.say(f"EHLO {hello}" if "\r" not in hello else "EHLO a\rX").code >= 400:
                    client.say(HELLO)
                answer = client.deliver(b"Subject: x\r\n\r\nx\r\n", sender, hello=None)
                self.assertEqual(answer.code, 250, (hello, sender))
                self.checkStored(path)

    def checkStored(self, path: str) -> None:
        (name,) = glob.glob(os.path.join(path, "new", "*"))
        with open(name, "rb") as file:
            head = file.read().partition(b"\r\n\r\n")[0]
        lines = head.split(b"\r\n")
        fields = [line.partition(b":")[0] for line in lines if not line[:1].isspace()]
        self.assertEqual(fields, [b"Return-Path", b"Received", b"Subject"])
        for line in lines:
            self.assertNotRegex(line, rb"[\x00-\x08\x0a-\x1f\x7f]")
            self.assertTrue(line.strip())

    def test_fileNames(self) -> None:
        """CWE-22: nothing that a client says is in a file's name or path."""
        path = os.path.abspath(self.mktemp())
        client = connect(Maildir(path, "mx.test", runInThread=runInline))
        client.say("EHLO a.example")
        answer = client.deliver(
            b"x\r\n", '"../../etc"@example.org', '"../../../tmp/x"@example.com', hello=None
        )
        self.assertEqual(answer.code, 250)
        found = [
            os.path.relpath(os.path.join(at, name), path)
            for at, _, names in os.walk(path)
            for name in names
        ]
        self.assertEqual(len(found), 1)
        self.assertRegex(found[0], r"\Anew/[0-9]+\.M[0-9]+P[0-9]+Q[0-9]+R[0-9a-f]{16}\.mx\.test\Z")

    def test_log(self) -> None:
        """
        CWE-117: each event is one printable line, whatever the client called itself or its user;
        line separators and direction marks included.
        """
        log = Log()
        client = authServer(onAuth=lambda *arguments: None, logger=log.logger)
        evil = "x\u202e> by PLAIN failed, client a [192.0.2.99]:1"
        client.say(plain("", evil, "secret"))
        client.say("EHLO [x\u2028y]")
        client.say("\x1b[2Jx")
        client.say("QUIT")
        self.assertEqual(len(log.of("loginFailed")), 1)
        for line in log.lines:
            self.assertTrue(line.isprintable(), repr(line))
            self.assertNotIn("secret", line)
        # Whoever searches for the client at the end of the line finds the true one.
        self.assertRegex(log.lines[0], r"client \S+ \[192\.0\.2\.1\]:40000\Z")

    def test_exceptionText(self) -> None:
        """CWE-209: what went wrong inside stays inside."""

        def onRcptTo(address: Any, session: Session) -> None:
            raise KeyError("password of the database")

        client = talk(Phase.MAIL, onRcptTo=onRcptTo)
        answer = client.say(RCPT)
        self.assertEqual(brief(answer), (451, "4.3.0"))
        self.assertNotIn("password", answer.text)
        self.flushLoggedErrors(KeyError)


class ChunkTests(SynchronousTestCase):
    """BDAT and its sizes (CVE-2017-16943, CVE-2017-16944: Exim's BDAT)."""

    def test_hugeSizes(self) -> None:
        """A chunk that nobody will wait for closes at once; what follows it isn't run."""
        for size in ("18446744073709551616", "9" * 20, str(2**63), str(2**31)):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler, size=1000)
            client.send(f"BDAT {size}\r\n".encode() + b"NOOP\r\n" * 1000)
            self.assertEqual(codes(client.answers()), [552])
            self.assertTrue(client.isClosed)
            self.assertEqual(handler.outcomes, ["lost"])

    def test_malformedSizes(self) -> None:
        """What isn't a number of that kind ends the connection: nobody knows where it ends."""
        for size in ("-1", "+1", "0x10", "1e3", "9" * 21, "", "1 2", "LAST", "\u0661", "1.0"):
            handler = RecordingHandler()
            client = talk(Phase.RCPT, handler)
            client.send(f"BDAT {size}\r\n{FORGED}".encode())
            self.assertEqual(codes(client.answers()), [501], size)
            self.assertTrue(client.isClosed)
            self.assertEqual(handler.calls.count("onMailFrom"), 1)

    def test_refusedChunk(self) -> None:
        """The octets of a refused BDAT are never run as commands."""
        handler = RecordingHandler()
        client = talk(Phase.READY, handler)
        client.send(b"BDAT %d LAST\r\n" % len(FORGED) + FORGED.encode() + b"NOOP\r\n")
        self.assertEqual(codes(client.answers()), [503, 250])
        self.assertNotIn("onMailFrom", handler.calls)

    def test_manySmallChunks(self) -> None:
        """CVE-2017-16943 needed a command in between: DATA, MAIL or RCPT after BDAT is 503."""
        client = talk(Phase.CHUNKS)
        for line in (MAIL, RCPT, "DATA", "STARTTLS", "AUTH PLAIN"):
            self.assertEqual(client.say(line).code, 503, line)
        answers = client.pipeline(*["BDAT 0"] * 1000)
        self.assertEqual(codes(answers), [250] * 1000)

    def test_overTheLimit(self) -> None:
        """Chunks are added up: the limit of the size isn't one of each chunk."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler, size=10)
        client.send(b"BDAT 8\r\n12345678BDAT 8 LAST\r\n12345678")
        self.assertEqual(codes(client.answers()), [250, 552])
        self.assertEqual(handler.messages, [])


class Reader(MemoryTransport):
    """A transport whose client doesn't read: it fills up, and says so to the producer."""

    BUFFER = 65536
    hasPaused = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.output) > self.BUFFER and self.producer is not None and not self.hasPaused:
            self.hasPaused = True
            self.producer.pauseProducing()


class FloodTests(SynchronousTestCase):
    """Much of something."""

    def test_parameters(self) -> None:
        """CWE-400: a command has so many parameters at most, and each once."""
        client = talk(Phase.READY)
        many = " ".join(f"X{number}=1" for number in range(MAX_PARAMETERS + 1))
        self.assertEqual(client.say(f"{MAIL} {many}").code, 501)
        self.assertEqual(client.say(f"{MAIL} SIZE=1 SIZE=1").code, 501)
        self.assertEqual(client.say(f"{MAIL} {'X ' * 900}").code, 501)

    def test_recipients(self) -> None:
        """CWE-770: recipients are bounded, and the rest of the message isn't harmed (452)."""
        client = talk(Phase.MAIL, maxRecipients=5)
        answers = client.pipeline(*[RCPT] * 50)
        self.assertEqual(codes(answers), [250] * 5 + [452] * 45)
        self.assertEqual(len(client.session.envelope.rcptTo), 5)

    def test_hellos(self) -> None:
        """An EHLO flood: each begins anew, and nothing is kept of the ones before."""
        client = talk(Phase.RCPT)
        answers = client.pipeline(*[HELLO, MAIL, RCPT] * 1000)
        self.assertEqual(set(codes(answers)), {250})
        self.assertEqual(len(client.session.envelope.rcptTo), 1)

    def test_unreadReplies(self) -> None:
        """
        CWE-400: 64 KiB of NOOPs at a time by a client that reads nothing: the server stops reading,
        what it holds is bounded, and after the timeout the client is gone.
        """
        transport = Reader()
        client = connect(transport=transport, disableReverseLookup=True)
        # From here on nothing takes what the server writes.
        noops = b"NOOP\r\n" * 10923
        for _ in range(5):
            if not transport.isPaused:
                transport.protocol.dataReceived(noops)
                client.clock.advance(0)
        self.assertTrue(transport.isPaused)
        held = len(client.protocol.channel.waitingInput) + len(transport.output)
        self.assertLess(held, Reader.BUFFER + 2 * len(noops))
        client.clock.advance(client.factory.options.socketTimeout + 1)
        client.clock.advance(CLOSING_TIME + 1)
        self.assertTrue(transport.isAborted)

    def test_connections(self) -> None:
        """A connection flood: above maxClients each gets its 421, and those before are served."""
        factory = makeFactory(maxClients=3)
        clients = [connect(factory) for _ in range(10)]
        greetings = [client.greeting.code for client in clients if client.greeting]
        self.assertEqual(greetings, [220] * 3 + [421] * 7)
        self.assertTrue(all(client.isClosed for client in clients[3:]))
        self.assertEqual(clients[0].say(HELLO).code, 250)
        clients[0].lose()
        self.assertEqual(getattr(connect(factory).greeting, "code", None), 220)

    def test_noNewline(self) -> None:
        """CWE-400: a line without an end doesn't fill the memory, before or after the hello."""
        for phase in (Phase.GREETED, Phase.READY, Phase.RCPT):
            client = talk(phase)
            chunk = b"A" * 65536
            tracemalloc.start()
            for _ in range(64):
                client.send(chunk)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 2**20)
            client.send(b"\r\n")
            self.assertEqual([brief(answer) for answer in client.answers()], [(500, "5.5.2")])

    def test_noNewlineInLogin(self) -> None:
        """CWE-400: nor does the answer to a challenge."""
        client = authServer()
        client.say("AUTH LOGIN")
        for _ in range(64):
            client.send(b"A" * 65536)
        self.assertLess(len(client.protocol.channel.waitingInput), 2 * 65536)
        client.send(b"\r\n")
        self.assertEqual([brief(answer) for answer in client.answers()], [(500, "5.5.6")])

    def test_behindAPendingHook(self) -> None:
        """CWE-400: while a hook is pending the socket is paused above a bound."""
        later = Later()
        client = talk(Phase.READY, onMailFrom=later)
        client.send(MAIL.encode() + b"\r\n")
        while not client.transport.isPaused:
            client.send(b"NOOP\r\n" * 1000)
        self.assertLess(len(client.protocol.channel.waitingInput), MAX_WAITING + 6000 + 1)
        later.answer()
        client.settle()
        self.assertFalse(client.transport.isPaused)

    def test_messageNobodyReads(self) -> None:
        """CWE-400: a message that its handler doesn't read stops the client; memory is bounded."""
        later = Later()

        async def onData(stream: Any, session: Session) -> None:
            async for _ in stream:
                await later()

        client = talk(Phase.DATA, onData=onData)
        sent = 0
        while not client.transport.isPaused:
            client.send(b"A" * 998 + b"\r\n")
            sent += 1000
        self.assertLess(sent, 2**18)


class SynchronizationTests(SynchronousTestCase):
    """What is sent before an answer that it depends on (RFC 2920 section 3.1)."""

    def refusals(self) -> list[Client]:
        """Clients that DATA will be refused to, for different reasons and by different rooms."""

        def refuse(*arguments: Any) -> None:
            raise Rejection("no")

        async def refuseLate(*arguments: Any) -> None:
            raise Rejection("no")

        return [
            talk(Phase.READY),
            talk(Phase.MAIL),
            talk(Phase.RCPT, onData=refuse),
            talk(Phase.RCPT, onData=refuseLate),
            walk(connect(extensions=["BINARYMIME"]), Phase.READY),
        ]

    def test_bodyBehindRefusedData(self) -> None:
        """
        DATA and the message in one segment: when DATA is refused its lines are commands, in order,
        and the answers are the same as if each had come by itself.
        """
        lines = ["DATA", "Subject: hello", "", "MAIL FROM:<forged@example.org>", ".", "NOOP"]
        together, apart = self.refusals(), self.refusals()
        for clients in (together, apart):
            clients[-1].pipeline(f"{MAIL} BODY=BINARYMIME", RCPT)
        for one, other in zip(together, apart, strict=True):
            answers = one.pipeline(*lines)
            self.assertGreaterEqual(answers[0].code, 400)
            self.assertEqual(answers, [other.say(line) for line in lines])

    def test_waited(self) -> None:
        """Who waits for the answer may go on after a refusal."""
        for client in self.refusals():
            self.assertGreaterEqual(client.say("DATA now").code, 400)
            self.assertEqual(client.say("NOOP").code, 250)

    def test_bodyBehindData(self) -> None:
        """Where DATA is accepted, the message is one, however early it came."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        client.send(b"DATA\r\n" + FORGED.encode())
        self.assertEqual(codes(client.answers()), [354, 250])
        self.assertEqual(len(handler.messages), 1)

    def test_beforeTheGreeting(self) -> None:
        """RFC 5321 section 4.3.1: who doesn't wait for the greeting is no mail server."""
        later = Later()
        client = connect(onConnect=later)
        client.send(f"{HELLO}\r\n{FORGED}".encode())
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)


class SlowlorisTests(SynchronousTestCase):
    """Slowloris (Hansen 2009), with the means of each phase."""

    def trickle(self, client: Client, octet: bytes, seconds: float) -> None:
        for _ in range(int(seconds)):
            if client.isClosed:
                return
            client.send(octet)
            client.wait(1)

    def test_commands(self) -> None:
        """Octets of a command that never ends don't count as activity."""
        for phase in (Phase.GREETED, Phase.READY, Phase.MAIL, Phase.RCPT, Phase.CHUNKS):
            client = talk(phase, socketTimeout=30)
            self.trickle(client, b"N", 31)
            self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
            self.assertTrue(client.isClosed)

    def test_overlongLine(self) -> None:
        """Nor do those of a line that is skipped."""
        client = talk(Phase.READY, socketTimeout=30)
        client.send(b"A" * 20000)
        self.trickle(client, b"A", 31)
        self.assertEqual(codes(client.answers()), [421])

    def test_login(self) -> None:
        """Nor those of an answer to a challenge."""
        client = authServer(socketTimeout=30)
        client.say("AUTH LOGIN")
        self.trickle(client, b"A", 31)
        self.assertEqual(codes(client.answers()), [421])

    def test_proxyHeader(self) -> None:
        """A PROXY header has one time for all of it."""
        client = connect(useProxy=True)
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25"
        for place in range(int(PROXY_TIME)):
            self.assertFalse(client.isClosed)
            client.send(header[place : place + 1])
            client.wait(1)
        self.assertTrue(client.transport.isAborted)

    def test_handshake(self) -> None:
        """A TLS handshake has one time for all of it."""
        for implicit in (True, False):
            client = connect(secure=implicit, selfSigned=True, handshakeTimeout=30)
            if not implicit:
                client.pipeline(HELLO, "STARTTLS")
            self.trickle(client, b"\x16", 1)
            self.assertFalse(client.isClosed)
            client.wait(30)
            self.assertTrue(client.transport.isAborted)

    def test_silence(self) -> None:
        """Silence ends in 421, in each phase."""
        for phase in PHASES:
            client = talk(phase, socketTimeout=30)
            client.wait(29)
            self.assertFalse(client.isClosed)
            client.wait(2)
            self.assertEqual(codes(client.answers()), [421], phase)
            self.assertTrue(client.isClosed)

    def test_unwelcome(self) -> None:
        """Who isn't welcome can't stay by talking."""

        def onConnect(session: Session) -> None:
            raise Rejection("no")

        client = connect(onConnect=onConnect)
        for _ in range(6):
            client.wait(2)
            client.send(b"NOOP\r\n")
        self.assertTrue(client.isClosed)


class LostTests(SynchronousTestCase):
    """Connections that end in the middle of something."""

    def check(self, client: Client, handler: RecordingHandler) -> None:
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(client.clock.getDelayedCalls(), [])
        self.assertEqual(handler.calls.count("onClose"), 1)
        self.assertEqual(handler.messages, [])
        self.assertEqual(handler.errors, [])

    def test_reset(self) -> None:
        """A RST in each phase: everything is let go of, and the handler is told once."""
        for phase in PHASES:
            handler = RecordingHandler()
            client = talk(phase, handler)
            client.send(b"half a li")
            client.lose()
            self.check(client, handler)
            begun = handler.calls.count("onMailFrom")
            self.assertEqual(handler.outcomes, ["lost"] * begun, phase)

    def test_resetWhileHeld(self) -> None:
        """A RST while a hook is pending cancels it."""
        for name, phase, line in (
            ("onConnect", None, ""),
            ("onHello", Phase.GREETED, HELLO),
            ("onMailFrom", Phase.READY, MAIL),
            ("onRcptTo", Phase.MAIL, RCPT),
            ("onData", Phase.RCPT, "DATA"),
        ):
            later = Later()
            hooks: dict[str, Any] = {name: later}
            client = connect(**hooks) if phase is None else talk(phase, **hooks)
            if line:
                client.send(line.encode() + b"\r\n")
            client.lose()
            self.assertEqual(later.canceled, 1, name)
            self.assertEqual(client.factory.connections, set())
            self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_resetInHandshake(self) -> None:
        """A RST in the middle of a handshake."""
        client = connect(secure=True, selfSigned=True)
        client.send(b"\x16\x03\x01")
        client.lose()
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_halfClose(self) -> None:
        """A FIN in each phase: the connection is closed, and half a message is none."""
        for phase in PHASES:
            handler = RecordingHandler()
            client = talk(phase, handler)
            client.send(b"half a li")
            client.finish()
            self.assertTrue(client.isClosed, phase)
            self.check(client, handler)

    def test_halfCloseWhileHeld(self) -> None:
        """A FIN behind complete commands: they are answered first, in order."""
        later = Later()
        client = talk(Phase.READY, onMailFrom=later)
        client.send(f"{MAIL}\r\n{RCPT}\r\nQUIT\r\n".encode())
        client.finish()
        self.assertFalse(client.isClosed)
        later.answer()
        self.assertEqual(codes(client.answers()), [250, 250, 221])
        self.assertTrue(client.isClosed)
