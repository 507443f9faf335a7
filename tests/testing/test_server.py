"""The server for tests: what it keeps, what goes wrong when it is told so."""

from __future__ import annotations

import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError, Rejection
from twisted_smtpserver.testing import CapturingServer
from twisted_smtpserver.testing import _authority as authority

SECONDS = 10
ANN = "ann@example.com"
JOE = "joe@example.org"
MESSAGE = "Subject: hello\r\n\r\nThis is my first mail.\r\n"


class ServerTestCase(SynchronousTestCase):
    """Has a server, and clients."""

    def start(self, **options: object) -> CapturingServer:
        server = CapturingServer(**options)  # type: ignore[arg-type]
        server.start()
        self.addCleanup(server.stop)
        return server

    def connect(self, server: CapturingServer) -> smtplib.SMTP:
        client = smtplib.SMTP(server.host, server.port, "client.example", timeout=SECONDS)
        self.addCleanup(client.close)
        return client

    def send(self, server: CapturingServer, to: str = ANN, sender: str = JOE) -> int:
        """Send a message by a new connection; the last reply code, 0 if there was none."""
        try:
            client = self.connect(server)
            for reply in (client.ehlo(), client.mail(sender), client.rcpt(to)):
                if reply[0] >= 400:
                    return reply[0]
            return client.data(MESSAGE)[0]
        except smtplib.SMTPServerDisconnected:
            return 0
        except smtplib.SMTPResponseException as error:
            return error.smtp_code


class KeepTests(ServerTestCase):
    """What arrives is kept."""

    def test_messages(self) -> None:
        """It is there when the client has its answer."""
        with CapturingServer() as server:
            self.assertEqual(self.send(server), 250)
            [message] = server.messages
            self.assertEqual((message["Subject"], message.recipients), ("hello", [ANN]))
        address = (server.host, server.port)
        self.assertRaises(ConnectionRefusedError, socket.create_connection, address, SECONDS)
        self.assertEqual(len(server.messages), 1)

    def test_large(self) -> None:
        """A message of 33 MiB is kept, too: more than a handler reads unless it says so."""
        server = self.start()
        body = MESSAGE + ("x" * 998 + "\r\n") * (33 * 2**20 // 1000)
        self.connect(server).sendmail(JOE, [ANN], body)
        self.assertEqual(len(server.messages[0].content), len(body))

    def test_connections(self) -> None:
        """How many are connected is known; those that stay are no reason to stop slowly."""
        server = self.start()
        client = self.connect(server)
        client.noop()
        self.assertEqual(server.connections, 1)
        server.stop()
        self.assertEqual(server.connections, 0)

    def test_wrongOption(self) -> None:
        """An option that doesn't exist is an error with a suggestion."""
        error = self.assertRaises(ConfigurationError, CapturingServer, siz=1)
        self.assertIn("did you mean 'size'?", str(error))


class SecurityTests(ServerTestCase):
    """TLS and logins."""

    def test_startTLS(self) -> None:
        """The authority is trusted in one line, and its certificate is for this server."""
        server = self.start(tls=True)
        client = self.connect(server)
        client.starttls(context=server.clientContext())
        client.sendmail(JOE, [ANN], MESSAGE)
        self.assertTrue(server.messages[0].session.secure)

    def test_implicit(self) -> None:
        """Or by a file, from the first octet on; by name as well as by address."""
        server = self.start(secure=True)
        context = ssl.create_default_context(cafile=server.caFile)
        for host in ("localhost", "127.0.0.1"):
            with smtplib.SMTP_SSL(host, server.port, timeout=SECONDS, context=context) as client:
                client.sendmail(JOE, [ANN], MESSAGE)
        self.assertEqual(len(server.messages), 2)

    def test_distrust(self) -> None:
        """Who doesn't trust the authority doesn't connect."""
        server = self.start(tls=True)
        client = self.connect(server)
        context = ssl.create_default_context()
        self.assertRaises(ssl.SSLCertVerificationError, client.starttls, context=context)

    def test_noTrustme(self) -> None:
        """Without the package that makes certificates, the error says what to install."""
        with mock.patch.dict(sys.modules, trustme=None):
            error = self.assertRaises(ConfigurationError, authority.Authority)
        self.assertIn("pip install 'twisted-smtpserver[testing]'", str(error))

    def test_login(self) -> None:
        """A login is required, and checked; what failed is remembered, without the password."""
        server = self.start(users={"ann": "secret"})
        client = self.connect(server)
        client.ehlo()
        self.assertEqual(client.mail(JOE)[0], 530)
        for user, password in (("ann", "wrong"), ("bob", "secret")):
            error = self.assertRaises(smtplib.SMTPAuthenticationError, client.login, user, password)
            self.assertEqual(error.smtp_code, 535)
            client = self.connect(server)
        client.login("ann", "secret")
        client.sendmail(JOE, [ANN], MESSAGE)
        self.assertEqual(server.messages[0].session.user, "ann")
        error = self.assertRaises(AssertionError, server.waitFor, "no", timeout=0)
        self.assertIn("a login as 'bob' failed", str(error))
        self.assertNotIn("wrong", str(error))

    def test_loginInTLS(self) -> None:
        """Where there is TLS, nobody logs in without."""
        server = self.start(tls=True, anyLogin=True)
        client = self.connect(server)
        client.ehlo()
        self.assertFalse(client.has_extn("AUTH"))
        client.starttls(context=server.clientContext())
        client.login("anybody", "anything")

    def test_whichLogins(self) -> None:
        """Some users, or any: not both."""
        error = self.assertRaises(ConfigurationError, CapturingServer, users={}, anyLogin=True)
        self.assertIn("not both", str(error))


class FaultTests(ServerTestCase):
    """What goes wrong."""

    def test_recipient(self) -> None:
        """A recipient is refused, others aren't; how often is counted."""
        server = self.start()
        fault = server.reject("no@example.com", 550, "Gone", enhanced="5.1.6")
        client = self.connect(server)
        client.ehlo()
        client.mail(JOE)
        self.assertEqual(client.rcpt("no@example.com"), (550, b"5.1.6 Gone"))
        self.assertEqual(client.rcpt(ANN)[0], 250)
        self.assertEqual((fault.hits, self.send(server)), (1, 250))

    def test_sender(self) -> None:
        """So is a sender."""
        server = self.start()
        server.reject(sender="spam@example.org", code=554)
        self.assertEqual(self.send(server, sender="spam@example.org"), 554)
        self.assertEqual(self.send(server), 250)

    def test_stages(self) -> None:
        """A refusal happens where it is told to; nothing is kept."""
        for stage in ("connect", "hello", "mail", "rcpt", "data", "message"):
            server = self.start()
            fault = server.reject(code=451, at=stage, times=1)
            self.assertEqual(self.send(server), 451, stage)
            self.assertEqual((fault.hits, server.messages), (1, []), stage)
            self.assertEqual(self.send(server), 250, stage)

    def test_login(self) -> None:
        """A login can be refused as well."""
        server = self.start(anyLogin=True)
        server.reject(code=454, at="auth")
        client = self.connect(server)
        error = self.assertRaises(smtplib.SMTPAuthenticationError, client.login, "ann", "x")
        self.assertEqual(error.smtp_code, 454)

    def test_drop(self) -> None:
        """A connection ends without an answer, also in TLS; its neighbors stay."""
        server = self.start(tls=True)
        neighbor = self.connect(server)
        server.drop(times=2)
        self.assertEqual(self.send(server), 0)
        client = self.connect(server)
        client.starttls(context=server.clientContext())
        self.assertRaises(smtplib.SMTPServerDisconnected, client.sendmail, JOE, [ANN], MESSAGE)
        self.assertEqual((self.send(server), len(server.messages)), (250, 1))
        self.assertEqual(neighbor.noop()[0], 250)

    def test_delay(self) -> None:
        """A delay is longer than the client's patience; then the message isn't kept."""
        server = self.start()
        server.delay(60, times=1)
        client = self.connect(server)
        client.ehlo()
        assert client.sock is not None
        client.sock.settimeout(0.1)
        self.assertRaises(smtplib.SMTPServerDisconnected, client.sendmail, JOE, [ANN], MESSAGE)
        self.assertEqual(server.messages, [])

    def test_delayEnds(self) -> None:
        """A delay that ends is followed by what comes behind it."""
        server = self.start()
        server.delay(0.01, at="rcpt")
        server.reject(ANN, 450)
        self.assertEqual(self.send(server), 450)

    def test_script(self) -> None:
        """Things go wrong one after the other, and then no more."""
        server = self.start()
        steps = server.script(451, "drop", None, 0.01, Rejection("no", code=554))
        self.assertEqual([self.send(server) for _ in range(5)], [451, 0, 250, 554, 250])
        self.assertEqual([step.hits for step in steps], [1] * 5)

    def test_rate(self) -> None:
        """What happens by chance happens about that often, and the same in each run."""
        first, second = (self.start(seed=7) for _ in range(2))
        for server in (first, second):
            server.reject(code=451, rate=0.5)
        codes = [[self.send(server) for _ in range(20)] for server in (first, second)]
        self.assertEqual(codes[0], codes[1])
        self.assertEqual(set(codes[0]), {250, 451})

    def test_recover(self) -> None:
        """All of it can be taken back."""
        server = self.start()
        server.reject(code=451)
        server.limit(connections=0)
        server.recover()
        self.assertEqual(self.send(server), 250)

    def test_nonsense(self) -> None:
        """What can't be meant is an error, with what can be."""
        server = self.start()
        wrong: list[tuple[str, Callable[[], object]]] = [
            ("isn't one of connect, hello", lambda: server.drop(at="quit")),  # type: ignore[arg-type]
            ("isn't between 0 and 1", lambda: server.drop(rate=50)),
            ("no recipient is known yet", lambda: server.delay(1, to=ANN, at="mail")),
            ("sender: none is known yet", lambda: server.drop(sender=JOE, at="connect")),
            ("'nonsense' isn't None, a reply code", lambda: server.script("nonsense")),
        ]
        for text, call in wrong:
            self.assertIn(text, str(self.assertRaises(ConfigurationError, call)))
        self.assertRaises(ValueError, server.reject, code=250)


class LimitTests(ServerTestCase):
    """What is too much."""

    def test_size(self) -> None:
        """A message that is too large is refused, announced or not."""
        server = self.start()
        server.limit(size=len(MESSAGE))
        self.assertEqual(self.send(server), 250)
        server.limit(size=len(MESSAGE) - 1)
        self.assertEqual(self.send(server), 552)
        client = self.connect(server)
        client.ehlo()
        self.assertEqual(client.mail(JOE, [f"size={len(MESSAGE)}"])[0], 552)

    def test_recipients(self) -> None:
        """Recipients beyond the limit get 452."""
        server = self.start()
        server.limit(recipients=1)
        client = self.connect(server)
        client.ehlo()
        client.mail(JOE)
        self.assertEqual([client.rcpt(to)[0] for to in (ANN, "bob@example.com")], [250, 452])

    def test_messages(self) -> None:
        """The message that is too many for a connection gets 421."""
        server = self.start()
        server.limit(messages=1)
        client = self.connect(server)
        client.sendmail(JOE, [ANN], MESSAGE)
        self.assertEqual(client.mail(JOE)[0], 421)

    def test_connections(self) -> None:
        """So does the connection that is too many."""
        server = self.start()
        server.limit(connections=1)
        client = self.connect(server)
        client.noop()
        error = self.assertRaises(smtplib.SMTPConnectError, self.connect, server)
        self.assertEqual(error.smtp_code, 421)
        told = self.assertRaises(AssertionError, server.waitFor, timeout=0)
        self.assertIn("limit(connections=1)", str(told))
