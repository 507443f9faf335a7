"""The examples of the how-tos do what the how-tos say."""

from __future__ import annotations

import base64
import os
import re
import secrets
import smtplib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from twisted.application.service import MultiService
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import fail, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.names.error import DNSNameError
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.auth.test_exchange import presenting
from tests.support.certificates import makeCA, makeCertificate
from tests.support.examples import EXAMPLES, load
from tests.support.liveserver import PATIENCE
from tests.support.processes import startProgram
from twisted_smtpserver import Chain, CredHandler, Discard, SMTPServerFactory
from twisted_smtpserver.sasl import scramSecret
from twisted_smtpserver.testing import RecordingHandler, connect, runInline

SENDER, ANN = "joe@example.org", "ann@example.com"
MESSAGE = b"Subject: hi\r\n\r\nHello\r\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestingTests(SynchronousTestCase):
    """The tests of the testing how-to."""

    def test_pass(self) -> None:
        """They pass, each of them, when somebody runs them as the how-to says."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "twisted.trial", "test_inbox", "test_inbox_more"],
            env={**os.environ, "PYTHONPATH": f"{EXAMPLES}:{EXAMPLES.parent.parent}"},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertIn("PASSED (successes=7)", done.stdout, done.stderr)

    def test_tenLines(self) -> None:
        """The shortest one is as short as the how-to says."""
        text = (EXAMPLES / "test_inbox.py").read_text()
        self.assertLessEqual(len([line for line in text.splitlines() if line]), 10)


class UsersTests(SynchronousTestCase):
    """Logins."""

    def setUp(self) -> None:
        self.users = load("users")
        self.patch(self.users, "deferToThread", runInline)

    def logIn(self, handler, *lines: str, **options):
        """The last answer to a login, and the client."""
        client = connect(handler, allowInsecureAuth=True, authFailureDelay=0, **options)
        client.say("EHLO client.example")
        return [client.say(line) for line in lines][-1].code, client

    def test_hashed(self):
        """The right password, and no other; nobody else."""
        salt = secrets.token_bytes(16)
        handler = self.users.HashedUsers({"joe": (salt, self.users.hashPassword("sesame", salt))})
        for name, password, code in (
            ("joe", "sesame", 235),
            ("joe", "wrong", 535),
            ("ann", "sesame", 535),
        ):
            got, _ = self.logIn(handler, "AUTH PLAIN " + b64(f"\0{name}\0{password}"))
            self.assertEqual(got, code)

    def test_ownAddress(self):
        """Who has logged in sends as themselves."""
        users = self.users.Delegates({SENDER: "sesame"}, {})
        code, client = self.logIn(
            Chain(users, self.users.OwnAddress(), Discard()),
            "AUTH PLAIN " + b64(f"\0{SENDER}\0sesame"),
        )
        self.assertEqual(code, 235)
        self.assertEqual(client.say(f"MAIL FROM:<{ANN}>").code, 550)
        self.assertEqual(client.say(f"MAIL FROM:<{SENDER}>").code, 250)

    def test_scram(self):
        """The stored secret serves SCRAM, and PLAIN as well."""
        handler = self.users.ScramUsers({"joe": scramSecret("sesame").toString()})
        code, _ = self.logIn(
            handler,
            "AUTH SCRAM-SHA-256 " + b64("n,,n=joe,r=rOprNGfwEbeRWgbNEkqO"),
            authMethods=["SCRAM-SHA-256"],
        )
        self.assertEqual(code, 334)
        for name, password, expected in (
            ("joe", "sesame", 235),
            ("joe", "wrong", 535),
            ("ann", "sesame", 535),
            ("joe", "\u0007", 535),
        ):
            code, _ = self.logIn(handler, "AUTH PLAIN " + b64(f"\0{name}\0{password}"))
            self.assertEqual(code, expected)

    def test_tokens(self):
        """A token is introspected; a wrong one, or somebody else's, is refused."""
        handler = self.users.TokenUsers(lambda token: succeed("joe" if token == "good" else None))
        methods = {"authMethods": ["XOAUTH2", "OAUTHBEARER"]}
        for name, token, lines, code in (
            ("joe", "good", [], 235),
            ("ann", "good", [""], 535),
            ("joe", "bad", [""], 535),
        ):
            response = b64(f"user={name}\1auth=Bearer {token}\1\1")
            got, _ = self.logIn(handler, f"AUTH XOAUTH2 {response}", *lines, **methods)
            self.assertEqual(got, code)
        response = b64("n,,\1auth=Bearer good\1\1")
        self.assertEqual(self.logIn(handler, f"AUTH OAUTHBEARER {response}", **methods)[0], 235)

    def test_certificates(self):
        """The certificate's name leads to a mailbox."""
        authority = makeCA()
        server = makeCertificate(authority, ["mail.example.com"])
        client = connect(
            self.users.CertifiedUsers({"client.example": SENDER}),
            key=server.keyPEM,
            cert=server.certPEM,
            ca=authority.certPEM,
            requestCert=True,
            authMethods=["EXTERNAL"],
        )
        client.say("EHLO client.example")
        client.say("STARTTLS")
        client.startTLS(
            context=presenting(makeCertificate(authority, [], clientName="client.example"))
        )
        client.say("EHLO client.example")
        self.assertEqual(client.say("AUTH EXTERNAL =").code, 235)
        self.assertEqual(client.session.user, SENDER)

    def test_delegates(self):
        """Some act for others, and only for those."""
        handler = self.users.Delegates({"joe": "sesame"}, {"joe": ["office"]})
        for wanted, code, user in (
            ("", 235, "joe"),
            ("office", 235, "office"),
            ("ann", 535, None),
        ):
            got, client = self.logIn(handler, "AUTH PLAIN " + b64(f"{wanted}\0joe\0sesame"))
            self.assertEqual((got, client.session.user), (code, user))

    def test_portal(self):
        """A Portal's avatar is the session's user."""
        checker = InMemoryUsernamePasswordDatabaseDontUse(joe=b"sesame")
        portal = Portal(self.users.Realm(), [checker])
        code, client = self.logIn(CredHandler(portal), "AUTH PLAIN " + b64("\0joe\0sesame"))
        self.assertEqual((code, client.session.user.name), (235, "joe"))


class LmtpTests(SynchronousTestCase):
    """Delivery by LMTP."""

    def test_results(self):
        """Each recipient has a reply, duplicates included; unknown ones are refused before."""
        page = load("lmtp")
        self.patch(page, "deferToThread", runInline)
        handler = page.makeHandler()
        handler.mailboxes["bob@example.com"].store(b"")  # which leaves no room
        client = connect(handler, lmtp=True)
        answers = client.pipeline(
            "LHLO client.example",
            f"MAIL FROM:<{SENDER}>",
            f"RCPT TO:<{ANN}>",
            "RCPT TO:<bob@example.com>",
            "RCPT TO:<eve@example.com>",
            f"RCPT TO:<{ANN}>",
            "DATA",
        )
        self.assertEqual([a.code for a in answers[2:]], [250, 250, 550, 250, 354])
        client.send(MESSAGE + b".\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [250, 452, 250])
        self.assertEqual(handler.mailboxes[ANN].messages, [MESSAGE])


class PolicyTests(SynchronousTestCase):
    """The policies, and the chain of them."""

    def setUp(self) -> None:
        self.policies = load("policies")

    def test_blockList(self):
        """Who is listed is told so; who isn't, is greeted."""

        class Resolver:
            def lookupAddress(self, name, timeout):
                if name == "1.2.0.192.dnsbl.example.net":
                    return succeed(([], [], []))
                return fail(DNSNameError())

        stage = self.policies.BlockList("dnsbl.example.net", Resolver())
        self.assertEqual(connect(stage).greeting.code, 554)
        for address in ("192.0.2.2", "2001:db8::1"):
            other = IPv4Address("TCP", address, 40000)
            self.assertEqual(connect(stage, peer=other).greeting.code, 220)

    def test_quota(self):
        """After so many messages no more are taken in that hour."""
        clock = Clock()
        client = connect(self.policies.Quota(2, clock))
        codes = [client.deliver(MESSAGE, SENDER).code for _ in range(3)]
        clock.advance(3600)
        codes.append(client.deliver(MESSAGE, SENDER).code)
        self.assertEqual(codes, [250, 250, 450, 250])

    def test_recipients(self):
        """Only those who have a mailbox, and the postmaster."""
        client = connect(self.policies.Recipients([ANN]))
        for recipient, code in ((ANN, 250), ("eve@example.com", 550), ("Postmaster", 250)):
            self.assertEqual(client.deliver(MESSAGE, SENDER, recipient).code, code)

    def test_chain(self):
        """The chain takes all of them."""
        folder = Path(self.mktemp())
        folder.mkdir()
        before = os.getcwd()
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        handler = load("policed").makeHandler()
        self.assertTrue(handler.onConnect and handler.onMailFrom and handler.onData)
        self.assertTrue(Path("Maildir/new").is_dir())


class OwnContextTests(SynchronousTestCase):
    """A context factory of one's own."""

    def test_startTLS(self):
        """Clients get TLS with it."""
        made = makeCertificate(None, ["localhost"])
        factory = load("own_context").makeFactory(RecordingHandler(), made.keyPEM + made.certPEM)
        factory.clock = Clock()
        client = connect(factory)
        client.say("EHLO client.example")
        client.say("STARTTLS")
        client.startTLS()
        self.assertEqual(client.say("EHLO client.example").code, 250)
        self.flushWarnings()  # CertificateOptions uses what pyOpenSSL deprecates


@implementer(IHalfCloseableProtocol)
class Collector(Protocol):
    """Keeps all that it gets until the other side is done, and says OK."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.received.append(data)

    def readConnectionLost(self):
        self.transport.write(b"OK\n")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing to do."""


class ConsumerTests(TestCase):
    """A message piped on."""

    timeout = PATIENCE

    @inlineCallbacks
    def test_archive(self):
        """The octets arrive, and the client learns how many; without an archive it's 451."""
        factory = Factory.forProtocol(Collector)
        factory.received = []
        archive = yield serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(archive.stopListening)
        endpoint = f"tcp:127.0.0.1:{archive.getHost().port}"
        server = SMTPServerFactory(load("consumer").Archive(endpoint), logger=False)
        port = yield serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(server)
        self.addCleanup(port.stopListening)
        self.addCleanup(server.shutdown, 1)

        def send() -> tuple[int, bytes]:
            with smtplib.SMTP("127.0.0.1", port.getHost().port, timeout=PATIENCE) as client:
                client.ehlo()
                client.mail(SENDER)
                client.rcpt(ANN)
                try:
                    return client.data(MESSAGE)
                except smtplib.SMTPDataError as refusal:
                    return refusal.smtp_code, b""

        answer = yield deferToThread(send)
        self.assertEqual(answer, (250, b"2.6.0 %d octets archived" % len(MESSAGE)))
        self.assertEqual(b"".join(factory.received), MESSAGE)
        yield archive.stopListening()
        code, _ = yield deferToThread(send)
        self.assertEqual(code, 451)


class BesideWebTests(TestCase):
    """A web site and a mail server in one process."""

    timeout = PATIENCE

    @inlineCallbacks
    def test_notice(self):
        """What was mailed is on the page."""
        page = load("beside_web")
        parent = MultiService()
        web = unusedPort()
        server = page.addServices(
            parent, f"tcp:{web}:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"
        )
        yield maybeDeferred(parent.privilegedStartService)
        parent.startService()
        self.addCleanup(parent.stopService)
        mail = server.ports[0].getHost().port

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", mail, timeout=PATIENCE) as client:
                client.sendmail(SENDER, [ANN], b"Subject: <b>hi</b>\r\n\r\n")

        yield deferToThread(send)
        body = yield deferToThread(get, f"http://127.0.0.1:{web}/")
        self.assertIn(b"<li>joe@example.org: &lt;b&gt;hi&lt;/b&gt;", body)


class TutorialTests(SynchronousTestCase):
    """The tutorial, step by step, in a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.port = unusedPort()
        for name in ("inbox", "send", "program", "test_inbox"):
            text = (EXAMPLES / f"{name}.py").read_text().replace("2525", str(self.port))
            (self.folder / f"{name}.py").write_text(text)

    def start(self, *command: str) -> Iterator[str]:
        """Run a server, and wait until it listens; what it says from then on, line by line."""
        path = str(EXAMPLES.parent.parent)
        process = startProgram(self, sys.executable, *command, cwd=self.folder, PYTHONPATH=path)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "starting on" in line:
                return process.stdout
        raise AssertionError("".join(said))

    def send(self, recipient: str) -> str:
        """Run the tutorial's client; what it complains about."""
        done = subprocess.run(
            [sys.executable, "send.py", recipient],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.stderr

    def assertSaved(self) -> None:
        """One message goes to a file; one for somebody else is refused."""
        self.assertEqual(self.send("you@example.com"), "")
        (saved,) = self.folder.glob("*.eml")
        self.assertIn(b"This is my first mail.\r\n", saved.read_bytes())
        self.assertIn("(550, b'5.7.1 Relay not permitted')", self.send("you@example.net"))

    def twistd(self, *arguments: str) -> Iterator[str]:
        """Run ``twistd smtpserver``; see :meth:`start`."""
        run = "from twisted.scripts.twistd import run; run()"
        port = str(self.port)
        return self.start("-c", run, "-n", "--pidfile=", "smtpserver", "--port", port, *arguments)

    def test_log(self) -> None:
        """Without a handler, the log has the lines that the page shows."""
        page = (EXAMPLES.parent / "tutorial.rst").read_text(encoding="utf-8")
        said = self.twistd()
        self.assertEqual(self.send("you@example.com"), "")
        message, session = (next(line for line in said if "octets" in line) for _ in range(2))
        for line, facts in (
            (message, r"(, \d+ octets: 250 Message stored as )"),
            (session, r"(tls=.* errors=\d+ )seconds"),
            (session, r"seconds=[0-9.]+(: .*\n)"),
        ):
            (expected,) = re.findall(facts, page)
            self.assertIn(expected, line)
        (saved,) = (self.folder / "Maildir/new").iterdir()
        self.assertIn(b"\r\nThis is my first mail.\r\n", saved.read_bytes())

    def test_twistd(self) -> None:
        """By twistd."""
        self.twistd("--handler", "inbox.Inbox")
        self.assertSaved()

    def test_program(self) -> None:
        """By a program of one's own."""
        self.start("program.py")
        self.assertSaved()

    def test_portTaken(self) -> None:
        """The program ends with the reason where the port is taken."""
        with socket.create_server(("127.0.0.1", self.port)):
            done = subprocess.run(
                [sys.executable, "program.py"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent.parent)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"\A.*Couldn't listen on .* Address already in use\.\n\Z")


def get(url: str) -> bytes:
    """A page's content."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return bytes(response.read())


def unusedPort() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
