"""TLS and logins over real sockets: the certificate is verified, the password goes by TLS only."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.stores.forward.nexthop import NextHop
from tests.support.certificates import makeCA, makeCertificate
from tests.support.smtpclient import Reply, connect
from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.stores.forward import Forward

MESSAGE = b"Subject: hello\r\n\r\ntext\r\n"


class SafeHop(NextHop):
    """Takes mail from one user only."""

    def onAuth(self, credentials: Any, session: Any) -> str | None:
        """One password."""
        good = credentials.username == "joe" and credentials.password == "open sesame"
        return "joe" if good else None


class TLSTests(TestCase):
    timeout = 30.0

    def setUp(self) -> None:
        self.authority = makeCA()
        self.ca = self.mktemp()
        with open(self.ca, "wb") as file:
            file.write(self.authority.certPEM)
        self.events: list[str] = []
        observer: Any = lambda event: self.events.append(repr(event))  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    async def send(
        self, url: str, names: tuple[str, ...] = ("localhost",), **options: Any
    ) -> Reply:
        """Send a message by way of us to a next hop with a certificate for some names."""
        certificate = makeCertificate(self.authority, names)
        secure = url.startswith("smtps:")
        self.hop = SafeHop(
            key=certificate.keyPEM, cert=certificate.certPEM, secure=secure, authFailureDelay=0
        )
        port = self.hop.start()
        self.addCleanup(self.hop.kill)
        given: dict[str, Any] = {"ca": self.ca, "password": "open sesame", "deadline": 5}
        forward = Forward(f"{url}:{port}", **(given | options))
        factory = SMTPServerFactory(forward, logger=False, disableReverseLookup=True)
        listening: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        client = await connect(reactor, listening.getHost().port)
        replies = await client.deliver(MESSAGE, "ann@store.example")
        client.leave()
        await listening.stopListening()
        await factory.shutdown(1)
        await forward.close()
        await deferLater(reactor, 0)
        for event in self.events:
            self.assertNotIn("open sesame", event)
        return replies[-1]

    async def test_good(self) -> None:
        """TLS from the first octet on, and STARTTLS: verified, logged in, delivered."""
        for scheme in ("smtps", "smtp+starttls"):
            reply = await self.send(f"{scheme}://joe@localhost")
            self.assertEqual(reply.code, 250, self.events)
            self.assertTrue(self.hop.kept[0].endswith(MESSAGE))

    async def test_otherName(self) -> None:
        """A certificate for another name: no login, no mail."""
        for scheme in ("smtps", "smtp+starttls"):
            reply = await self.send(f"{scheme}://joe@localhost", ("other.example",))
            self.assertEqual((reply.code, self.hop.kept), (451, []))

    async def test_otherAuthority(self) -> None:
        """One that nobody has signed whom we know, likewise; the log says what it was."""
        for scheme in ("smtps", "smtp+starttls"):
            reply = await self.send(f"{scheme}://joe@localhost", ca=None)
            self.assertEqual((reply.code, self.hop.kept), (451, []))
            self.assertIn("certificate verify failed", "".join(self.events))
            self.events.clear()

    async def test_wrongPassword(self) -> None:
        """A login that is refused: 451, and the log has the next hop's words."""
        reply = await self.send("smtps://joe@localhost", password="wrong")
        self.assertEqual(reply.code, 451)
        self.assertIn("it refused our login: 535", "".join(self.events))
