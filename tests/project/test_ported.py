"""The samples of smtp-server's and bun-smtp's documentation, ported: each does what it did."""

from __future__ import annotations

import base64
import hmac
import smtplib
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import inlineCallbacks, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.auth.test_exchange import presenting
from tests.support.certificates import makeCA, makeCertificate
from tests.support.examples import load
from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.testing import Answer, Client, connect

SENDER, ANN = "joe@example.org", "ann@example.com"
MESSAGE = b"Subject: hi\r\n\r\nHello\r\n"

CA = makeCA()
SERVER = makeCertificate(CA, ["mail.example.com"])
CLIENT = makeCertificate(CA, [], clientName="client.example")


def fromAddress(address: str, **keywords: Any) -> Client:
    """Connect from an address, without asking DNS who that is."""
    peer = IPv4Address("TCP", address, 40000)
    return connect(peer=peer, disableReverseLookup=True, **keywords)


def brief(answer: Answer | None) -> tuple[int, str]:
    """Code and text of an answer."""
    assert answer is not None
    return answer.code, answer.text


def logIn(hook: Any, *lines: str, methods: tuple[str, ...] = ("PLAIN",)) -> list[int]:
    """The codes of the answers to a login."""
    client = connect(onAuth=hook, allowInsecureAuth=True, authFailureDelay=0, authMethods=methods)
    client.say("EHLO client.example")
    return [client.say(line).code for line in lines]


def plain(name: str, password: str) -> str:
    """A PLAIN login."""
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def secured(serverName: str | None = None, certificate: Any = None, **keywords: Any) -> Client:
    """A client after STARTTLS."""
    client = connect(key=SERVER.keyPEM, cert=SERVER.certPEM, **keywords)
    client.say("EHLO client.example")
    client.say("STARTTLS")
    client.startTLS(serverName, None if certificate is None else presenting(certificate))
    return client


class Database:
    """Knows Ann, and keeps messages."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    def mailboxExists(self, address):
        return succeed(address == ANN)

    def saveMessage(self, message, session):
        self.subjects.append(message["Subject"])
        return succeed("17")


class HandlersPageTests(SynchronousTestCase):
    """The page "Handler methods"."""

    def setUp(self) -> None:
        self.page = load("ported/handlers_page")

    def test_onConnect(self):
        """One address is told 421, others are greeted."""
        refused = fromAddress("192.0.2.1", onConnect=self.page.onConnect)
        self.assertEqual(brief(refused.greeting), (421, "Connection not allowed"))
        self.assertTrue(refused.isClosed)
        self.assertEqual(fromAddress("192.0.2.2", onConnect=self.page.onConnect).greeting.code, 220)

    def test_onSecure(self):
        """Whoever has no certificate of the authority's can only leave."""
        options = {
            "requestCert": True,
            "rejectUnauthorized": False,
            "ca": CA.certPEM,
            "onSecure": self.page.onSecure,
        }
        self.assertEqual(
            brief(secured(**options).say("EHLO client.example")),
            (554, "Client certificate required"),
        )
        certified = secured(certificate=CLIENT, **options)
        self.assertEqual(certified.say("EHLO client.example").code, 250)

    def test_onAuth(self):
        """One user with one password."""
        self.assertEqual(
            logIn(self.page.onAuth, plain("admin", "wrong"), plain("admin", "secret")), [535, 235]
        )

    def test_onMailFrom(self):
        """Two domains are blocked, in whatever case."""
        client = connect(onMailFrom=self.page.onMailFrom)
        self.assertEqual(
            brief(client.deliver(MESSAGE, "joe@SPAM.com")), (550, "Domain not allowed")
        )
        self.assertEqual(client.deliver(MESSAGE, SENDER).code, 250)

    def test_onRcptTo(self):
        """Two domains are local."""
        client = connect(onRcptTo=self.page.onRcptTo)
        self.assertEqual(
            brief(client.deliver(MESSAGE, SENDER, "ann@example.org")), (550, "Relay not permitted")
        )
        self.assertEqual(client.deliver(MESSAGE, SENDER, "ann@Example.NET").code, 250)

    def test_onData(self):
        """The file has the message; one that is too large leaves none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        client = connect(onData=self.page.saver(folder), size=100)
        answer = client.deliver(MESSAGE, SENDER)
        self.assertRegex(answer.text, r"\AMessage saved: [0-9a-f]+-1\Z")
        self.assertEqual([path.read_bytes() for path in folder.iterdir()], [MESSAGE])
        self.assertEqual(client.deliver(MESSAGE * 9, SENDER).code, 552)
        self.assertEqual(len(list(folder.iterdir())), 1)

    def test_onClose(self):
        """It is called with the session, and does no harm without a user."""
        client = connect(onClose=self.page.onClose)
        client.say("QUIT")
        self.assertTrue(client.isClosed)
        self.assertEqual(self.flushLoggedErrors(), [])


class MessagesPageTests(SynchronousTestCase):
    """The page "Message handling"."""

    def setUp(self) -> None:
        self.page = load("ported/messages_page")
        self.database = Database()

    def test_everybody(self):
        """Without a hook all senders are accepted."""
        self.assertEqual(connect(self.page.Everybody()).deliver(MESSAGE, SENDER).code, 250)

    def test_knownRecipients(self):
        """The database is asked."""
        client = connect(self.page.KnownRecipients(self.database))
        self.assertEqual(
            brief(client.deliver(MESSAGE, SENDER, "bob@example.com")),
            (550, "Mailbox does not exist"),
        )
        self.assertEqual(client.deliver(MESSAGE, SENDER, ANN).code, 250)

    def test_files(self):
        """The file is called as the client was told."""
        folder = Path(self.mktemp())
        folder.mkdir()
        answer = connect(self.page.Files(folder)).deliver(MESSAGE, SENDER)
        name = answer.text.removeprefix("Message queued as ")
        self.assertEqual((folder / f"{name}.eml").read_bytes(), MESSAGE)

    def test_report(self):
        """Every fact is there."""
        handler = self.page.Report()
        client = secured(handler=handler, extensions=["DSN", "REQUIRETLS"])
        parameters = "SIZE=23 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=ABC123"
        client.pipeline(
            "EHLO client.example", f"MAIL FROM:<{SENDER}> {parameters}", f"RCPT TO:<{ANN}>", "DATA"
        )
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(client.answer().code, 250)
        del handler.facts["Session ID"]
        self.assertEqual(
            handler.facts,
            {
                "Client IP": "192.0.2.1",
                "Client hostname": "[192.0.2.1]",
                "Authenticated user": None,
                "Secure connection": True,
                "Transmission type": "UTF8SMTPS",
                "From": SENDER,
                "To": [ANN],
                "Size": "23",
                "Body type": "8BITMIME",
                "UTF-8": True,
                "Require TLS": True,
                "Custom data": "set by an earlier hook",
                "DSN RET": "HDRS",
                "DSN ENVID": "ABC123",
            },
        )

    def test_refuser(self):
        """Each reason has its code, and the client is refused before it sends."""
        for name, code in (("full", 452), ("spam", 550), ("virus", 554), ("error", 451)):
            client = connect(self.page.Refuser())
            client.pipeline("EHLO client.example", f"MAIL FROM:<{SENDER}>")
            client.say(f"RCPT TO:<{name}@example.com>")
            self.assertEqual(client.say("DATA").code, code)

    def test_complete(self):
        """Sender, recipient and size are judged, and the message is parsed and kept."""
        client = connect(self.page.Complete(self.database), size=100)
        for sender, recipient, content, code in (
            ("spammer@example.org", ANN, MESSAGE, 550),
            (SENDER, "bob@example.com", MESSAGE, 550),
            (SENDER, ANN, MESSAGE * 9, 552),
        ):
            self.assertEqual(client.deliver(content, sender, recipient).code, code)
        self.assertEqual(brief(client.deliver(MESSAGE, SENDER, ANN)), (250, "Message queued as 17"))
        self.assertEqual(self.database.subjects, ["hi"])


class ServerPageTests(SynchronousTestCase):
    """The page "SMTP Server", but for its first sample."""

    def setUp(self) -> None:
        self.page = load("ported/server_page")

    def test_onError(self):
        """It is told of a bug."""
        told = []

        def onError(failure, session):
            told.append(failure.type)
            self.page.onError(failure, session)

        client = connect(onConnect=lambda session: 1 / 0, onError=onError)
        self.assertEqual(client.greeting.code, 451)
        self.assertEqual(told, [ZeroDivisionError])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_onAuth(self):
        """The right password, and no other."""
        self.assertEqual(
            logIn(self.page.onAuth, plain("alice", "wrong"), plain("alice", "s3cr3t")), [535, 235]
        )

    def test_onAuthByToken(self):
        """A wrong token is explained in a challenge; the right one logs in."""

        def attempt(token: str) -> str:
            response = f"user=alice\1auth=Bearer {token}\1\1"
            return "AUTH XOAUTH2 " + base64.b64encode(response.encode()).decode()

        self.assertEqual(
            logIn(
                self.page.onAuthByToken,
                attempt("wrong"),
                "",
                attempt("ya29.a0Af"),
                methods=("XOAUTH2",),
            ),
            [334, 535, 235],
        )

    def test_onConnect(self):
        """Localhost is refused."""
        client = fromAddress("127.0.0.1", onConnect=self.page.onConnect, onClose=self.page.onClose)
        self.assertEqual(
            brief(client.greeting), (554, "Connections from localhost are not allowed")
        )
        client.say("QUIT")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_onSecure(self):
        """Another name is refused."""
        options = {"onSecure": self.page.onSecure}
        self.assertEqual(
            brief(secured("smtp.example.com", **options).say("EHLO c.example")),
            (554, "SNI mismatch"),
        )
        self.assertEqual(secured("mail.example.com", **options).say("EHLO c.example").code, 250)

    def test_onMailFrom(self):
        """Senders of other domains are refused with 553."""
        client = connect(onMailFrom=self.page.onMailFrom)
        self.assertEqual(brief(client.deliver(MESSAGE, SENDER)), (553, "Relay denied"))
        self.assertEqual(client.deliver(MESSAGE, ANN).code, 250)

    def test_onRcptTo(self):
        """One recipient is unknown."""
        client = connect(onRcptTo=self.page.onRcptTo)
        self.assertEqual(
            brief(client.deliver(MESSAGE, SENDER, "blackhole@example.com")), (550, "User unknown")
        )
        self.assertEqual(client.deliver(MESSAGE, SENDER, ANN).code, 250)

    def test_queue(self):
        """The message is in the file."""
        path = Path(self.mktemp())
        answer = connect(onData=self.page.queue(path)).deliver(MESSAGE, SENDER)
        self.assertEqual(brief(answer), (250, "Queued"))
        self.assertEqual(path.read_bytes(), MESSAGE)

    def test_size(self):
        """The limit is the server's business."""
        client = connect(onData=self.page.onDataOfLimitedSize, size=100)
        self.assertEqual(client.deliver(MESSAGE * 9, SENDER).code, 552)
        self.assertEqual(brief(client.deliver(MESSAGE, SENDER)), (250, "OK"))

    def test_lmtp(self):
        """Every second recipient is refused."""
        client = connect(onData=self.page.onDataByRecipient, lmtp=True)
        client.pipeline("LHLO c.example", "MAIL FROM:<>", "RCPT TO:<a@b.c>", "RCPT TO:<d@e.f>")
        client.say("DATA")
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(
            [brief(answer) for answer in client.answers()],
            [(250, "<a@b.c> accepted"), (450, "<d@e.f> rejected")],
        )


class ListenTests(TestCase):
    """The first sample of the page "SMTP Server": a real port."""

    @inlineCallbacks
    def test_listenSecurely(self):
        """A client over TLS delivers."""
        page = load("ported/server_page")
        handler = SimpleNamespace(onData=lambda stream, session: "thank you")
        port = yield page.listenSecurely(
            handler, "tcp:0:interface=127.0.0.1", SERVER.keyPEM, SERVER.certPEM
        )
        self.addCleanup(port.stopListening)
        factory: SMTPServerFactory = port.factory
        self.addCleanup(factory.shutdown, 1)

        def send() -> dict[str, Any]:
            context = ssl._create_unverified_context()
            number = port.getHost().port
            with smtplib.SMTP_SSL("127.0.0.1", number, timeout=30, context=context) as client:
                return dict(client.sendmail(SENDER, [ANN], MESSAGE))

        self.assertEqual((yield deferToThread(send)), {})


class CallbacksPageTests(SynchronousTestCase):
    """The page "Callbacks" of bun-smtp."""

    def setUp(self) -> None:
        self.page = load("ported/callbacks_page")

    def test_onConnect(self):
        """One address is blocked."""
        client = fromAddress("1.2.3.4", onConnect=self.page.onConnect, onClose=self.page.onClose)
        self.assertEqual(brief(client.greeting), (421, "Blocked"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_onSecure(self):
        """The hook sees what was negotiated."""
        client = secured(onSecure=self.page.onSecure, requestCert=True, rejectUnauthorized=False)
        self.assertEqual(client.say("EHLO client.example").code, 250)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_onAuth(self):
        """The same hook serves PLAIN and CRAM-MD5."""
        methods = ("PLAIN", "CRAM-MD5")
        self.assertEqual(logIn(self.page.onAuth, plain("joe", "secret"), methods=methods), [235])
        client = connect(onAuth=self.page.onAuth, allowInsecureAuth=True, authMethods=methods)
        client.say("EHLO client.example")
        challenge = base64.b64decode(client.say("AUTH CRAM-MD5").text)
        digest = hmac.digest(b"secret", challenge, "md5").hex()
        response = base64.b64encode(f"joe {digest}".encode())
        self.assertEqual(client.say(response).code, 235)

    def test_onMailFrom(self):
        """A domain and a declared size are refused."""
        client = connect(onMailFrom=self.page.onMailFrom)
        client.say("EHLO client.example")
        for command, code in (
            ("MAIL FROM:<joe@blocked.example>", 550),
            ("MAIL FROM:<joe@example.org> SIZE=1048577", 452),
            ("MAIL FROM:<joe@example.org> SIZE=1048576", 250),
        ):
            self.assertEqual(client.say(command).code, code)

    def test_onRcptTo(self):
        """Two recipients are known."""
        client = connect(onRcptTo=self.page.onRcptTo)
        self.assertEqual(brief(client.deliver(MESSAGE, SENDER, ANN)), (550, "No such user"))
        self.assertEqual(client.deliver(MESSAGE, SENDER, "bob@example.com").code, 250)

    def test_store(self):
        """The message is kept."""
        store = self.page.Store()
        self.assertEqual(connect(store).deliver(MESSAGE, SENDER).code, 250)
        self.assertEqual(store.bodies, [MESSAGE])

    def test_size(self):
        """The limit is the server's business."""
        client = connect(onData=self.page.onDataOfLimitedSize, size=100)
        self.assertEqual(client.deliver(MESSAGE * 9, SENDER).code, 552)
        self.assertEqual(client.deliver(MESSAGE, SENDER).code, 250)

    def test_lmtp(self):
        """One mailbox is full."""
        client = connect(onData=self.page.onDataByRecipient, lmtp=True)
        client.pipeline(
            "LHLO c.example", "MAIL FROM:<>", "RCPT TO:<bad@example.com>", f"RCPT TO:<{ANN}>"
        )
        client.say("DATA")
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(
            [brief(answer) for answer in client.answers()],
            [(452, "Mailbox full"), (250, "Message accepted")],
        )
