"""Tests for what a command has to pass before its verb is asked."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, brief, codes, talk
from twisted_smtpserver import Rejection
from twisted_smtpserver.connection.channel import UNWELCOME_TIME
from twisted_smtpserver.dialogue.conduct import MAX_UNWELCOME
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, connect


def refuse(*arguments: object) -> None:
    raise Rejection("Go away")


class WelcomeTests(SynchronousTestCase):
    """A client that isn't welcome can only leave (RFC 5321 section 3.1)."""

    def test_greeting(self) -> None:
        """It is told so in the greeting, which has no enhanced code (RFC 2034 section 4)."""
        client = connect(onConnect=refuse)
        assert client.greeting is not None
        self.assertEqual(brief(client.greeting), (554, None))
        self.assertEqual(client.greeting.text, "Go away")

    def test_commands(self) -> None:
        """Every command is 503, but for QUIT."""
        client = connect(onConnect=refuse)
        for line in (HELLO, "HELO a.example", MAIL, "NOOP", "RSET", "BDAT 0"):
            self.assertEqual(client.say(line).code, 503)
        self.assertEqual(brief(client.say(MAIL)), (503, "5.5.1"))
        self.assertEqual(brief(client.say("QUIT")), (221, "2.0.0"))
        self.assertTrue(client.isClosed)

    def test_tooManyCommands(self) -> None:
        """After so many commands it is cut off."""
        client = connect(onConnect=refuse)
        answers = client.pipeline(*["NOOP"] * (MAX_UNWELCOME + 5))
        self.assertEqual(codes(answers), [503] * (MAX_UNWELCOME - 1) + [421])
        self.assertTrue(client.isClosed)

    def test_tooLong(self) -> None:
        """After so many seconds it is, whatever it says meanwhile."""
        client = connect(onConnect=refuse)
        client.wait(UNWELCOME_TIME / 2)
        client.say("NOOP")
        client.send(b"BDAT 1000\r\nx")
        client.wait(UNWELCOME_TIME / 2 - 0.1)
        client.send(b"x")
        self.assertEqual(client.answers(), [])
        client.wait(0.2)
        self.assertEqual(codes(client.answers()), [421])
        self.assertTrue(client.isClosed)

    def test_octetsOfBdat(self) -> None:
        """The octets of a BDAT aren't commands here either."""
        client = connect(onConnect=refuse)
        client.send(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual(codes(client.answers()), [503, 503])

    def test_close(self) -> None:
        """A refusal with 421 closes at once."""
        client = connect(onConnect=lambda session: (_ for _ in ()).throw(Rejection("no", 421)))
        self.assertEqual(client.greeting and client.greeting.code, 421)
        self.assertTrue(client.isClosed)


class EnabledTests(SynchronousTestCase):
    """Commands that are disabled: 502 (RFC 5321 section 4.2.4)."""

    def test_server(self) -> None:
        """By the option, for everyone; whatever the phase; in any case of letters."""
        client = connect(disabledCommands=["VRFY", "help", "BDAT"])
        for line in ("VRFY joe", "HELP", "help me"):
            self.assertEqual(brief(client.say(line)), (502, "5.5.1"))
        self.assertEqual(client.say("HELO a.example").code, 250)

    def test_ehlo(self) -> None:
        """What needs them isn't offered."""
        self.assertIn("CHUNKING", connect().say(HELLO).lines)
        client = connect(disabledCommands=["BDAT"])
        self.assertNotIn("CHUNKING", client.say(HELLO).lines)
        client.send(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual(codes(client.answers()), [502, 250])

    def test_hello(self) -> None:
        """Even the hello can be disabled: HELO, for those who want extensions."""
        client = connect(disabledCommands=["HELO"])
        self.assertEqual(brief(client.say("HELO a.example")), (502, None))

    def test_session(self) -> None:
        """The session's list replaces the server's, in either direction."""

        def onConnect(session: Any) -> None:
            session.disabledCommands = ["noop"]

        client = connect(disabledCommands=["VRFY"], onConnect=onConnect)
        self.assertEqual(codes(client.pipeline("VRFY joe", "NOOP")), [252, 502])
        client.session.disabledCommands = []
        self.assertEqual(client.say("NOOP").code, 250)

    def test_login(self) -> None:
        """Where AUTH is disabled, no login is required."""
        client = talk(Phase.READY, onAuth=refuse, disabledCommands=["AUTH"])
        self.assertEqual(client.say(MAIL).code, 250)


class RecognizedTests(SynchronousTestCase):
    """Commands that nobody knows."""

    def test_unknown(self) -> None:
        """Unknown: 500 (RFC 5321 section 4.2.4)."""
        client = connect()
        for line in ("FOO", "foo bar", "", "   ", "MAILX FROM:<a@b.example>", "X-FOO", "\xe9"):
            self.assertEqual(brief(client.say(line)), (500, "5.5.2"), line)

    def test_unimplemented(self) -> None:
        """Known to SMTP, but nowhere in use: 502."""
        client = connect()
        for line in ("EXPN list", "TURN", "SEND FROM:<a@b.example>", "SOML x", "SAML x"):
            self.assertEqual(brief(client.say(line)), (502, "5.5.1"), line)

    def test_tooMany(self) -> None:
        """At the tenth the connection is closed, whatever was between them."""
        client = connect()
        for _ in range(9):
            self.assertEqual(codes(client.pipeline("FOO", "NOOP")), [500, 250])
        self.assertEqual(brief(client.say("")), (421, "4.7.0"))
        self.assertTrue(client.isClosed)

    def test_limit(self) -> None:
        """The limit is an option."""
        client = connect(maxUnrecognizedCommands=1)
        self.assertEqual(codes(client.pipeline("FOO", "NOOP")), [421])

    def test_http(self) -> None:
        """Who speaks HTTP is told so, and goes; nothing behind it is run."""
        for verb in ("GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT a.example:25", "get", "PRI *"):
            client = connect()
            answers = client.pipeline(verb, "Host: a.example", "", "EHLO a.example", MAIL)
            self.assertEqual([brief(answer) for answer in answers], [(554, "5.7.0")], verb)
            self.assertTrue(client.isClosed)


class UnauthenticatedTests(SynchronousTestCase):
    """Where a login is required only so many commands come before it."""

    def test_tooMany(self) -> None:
        """At the tenth the connection is closed."""
        client = connect(onAuth=refuse)
        answers = client.pipeline(HELLO, *["NOOP"] * 20)
        self.assertEqual(codes(answers), [250] * 9 + [421])
        self.assertTrue(client.isClosed)

    def test_quit(self) -> None:
        """To leave is always possible."""
        client = connect(onAuth=refuse, maxAllowedUnauthenticatedCommands=1)
        self.assertEqual(client.say("QUIT").code, 221)

    def test_limit(self) -> None:
        """The limit is an option; False is none."""
        client = connect(onAuth=refuse, maxAllowedUnauthenticatedCommands=3)
        self.assertEqual(codes(client.pipeline(*["NOOP"] * 5)), [250, 250, 421])
        client = connect(onAuth=refuse, maxAllowedUnauthenticatedCommands=False)
        self.assertEqual(codes(client.pipeline(*["NOOP"] * 50)), [250] * 50)

    def test_notCounted(self) -> None:
        """AUTH doesn't count, nor do commands where no login is required, or after it."""
        options: dict[str, Any] = {"maxAuthAttempts": 100, "authFailureDelay": 0, "loginDelay": 0}
        options["allowInsecureAuth"] = True
        client = connect(onAuth=lambda *arguments: None, **options)
        client.say(HELLO)
        for _ in range(20):
            self.assertEqual(client.say("AUTH PLAIN AGpvZQBqb2U=").code, 535)
        client.factory.handler.onAuth = lambda *arguments: "joe"  # type: ignore[attr-defined]
        self.assertEqual(client.say("AUTH PLAIN AGpvZQBqb2U=").code, 235)
        self.assertEqual(codes(client.pipeline(*["NOOP"] * 50)), [250] * 50)
        for other in (connect(), connect(onAuth=refuse, authOptional=True)):
            self.assertEqual(codes(other.pipeline(*["NOOP"] * 50)), [250] * 50)


class SecuredTests(SynchronousTestCase):
    """What is required comes first."""

    def mail(self, client: Client) -> tuple[int, str | None]:
        client.say(HELLO)
        return brief(client.say(MAIL))

    def test_tls(self) -> None:
        """TLS: 530 5.7.0 (RFC 3207 section 4), unless it ended upstream."""
        self.assertEqual(self.mail(connect(tlsRequired=True, selfSigned=True)), (530, "5.7.0"))
        self.assertEqual(self.mail(connect(tlsRequired=True, secured=True)), (250, "2.1.0"))

    def test_everyCommand(self) -> None:
        """Before TLS only NOOP, EHLO, STARTTLS and QUIT aren't 530 (RFC 3207 section 4)."""
        options: dict[str, Any] = {"tlsRequired": True, "selfSigned": True, "errorDelay": 0}
        options |= {"maxErrors": 1000, "maxAllowedUnauthenticatedCommands": False}
        for lmtp, hello in ((False, HELLO), (True, "LHLO client.example")):
            client = connect(onAuth=refuse, allowInsecureAuth=True, lmtp=lmtp, **options)
            for _ in range(2):
                for verb in client.factory.verbs.keys() - {"NOOP", "EHLO", "STARTTLS", "QUIT"}:
                    if verb != "LHLO":
                        answer = client.say(f"{verb} 0")
                        self.assertEqual(answer.code, 530, verb)
                        # RFC 2034 section 4: none in the answer to a hello.
                        self.assertEqual(answer.enhanced, None if verb == "HELO" else "5.7.0")
                self.assertEqual(client.say("NOOP").code, 250)
                self.assertEqual(client.say(hello).code, 250)
            self.assertEqual(client.say("FOO").code, 500)
            self.assertEqual(client.say("QUIT").code, 221)

    def test_login(self) -> None:
        """A login: 530 5.7.0 (RFC 4954 section 6), in words of one's own."""
        client = connect(onAuth=refuse, authRequiredMessage="Who are you?")
        self.assertEqual(self.mail(client), (530, "5.7.0"))
        self.assertEqual(client.session.error, "Who are you?")
        self.assertEqual(self.mail(connect(onAuth=refuse)), (530, "5.7.0"))
        self.assertEqual(self.mail(connect(onAuth=refuse, authOptional=True)), (250, "2.1.0"))

    def test_order(self) -> None:
        """TLS comes first, then the hello, then the login."""
        options: dict[str, Any] = {"tlsRequired": True, "selfSigned": True}
        client = connect(onAuth=refuse, **options)
        self.assertEqual(client.say(MAIL).code, 530)
        client = connect(onAuth=refuse)
        self.assertEqual(client.say(MAIL).code, 503)
        client = connect(onAuth=refuse, **options)
        client.say(HELLO)
        self.assertEqual(client.say(MAIL).text, "Must issue a STARTTLS command first")
