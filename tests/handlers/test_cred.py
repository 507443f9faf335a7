"""Logins by twisted.cred."""

from __future__ import annotations

import base64
import smtplib
from pathlib import Path

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver import Authenticated, Chain, ConfigurationError, Session
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.handlers import CredHandler, cred
from twisted_smtpserver.handlers.cred import ISMTPUser
from twisted_smtpserver.interfaces import IAuthHandler
from twisted_smtpserver.testing import RecordingHandler, connect


def attempt(password: str, name: str = "joe") -> str:
    """A PLAIN login."""
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def greeted(*authorities):
    """A client of a server that asks these."""
    client = connect(
        Chain(CredHandler(*authorities), RecordingHandler()),
        allowInsecureAuth=True,
        authFailureDelay=0,
        authMethods=["PLAIN", "CRAM-MD5", "XOAUTH2"],
    )
    client.say("EHLO client.example")
    return client


def database(**users: str):
    """A checker with these users."""
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in users.items():
        checker.addUser(name.encode(), password.encode())
    return checker


class ForCredTests(SynchronousTestCase):
    """What the credentials are to twisted.cred."""

    def test_password(self):
        """A password in clear is an IUsernamePassword, in octets."""
        presented = Credentials("PLAIN", "jös", password="ü").forCred()
        verifyObject(IUsernamePassword, presented)
        self.assertEqual((presented.username, presented.password), ("jös".encode(), "ü".encode()))
        self.assertTrue(presented.checkPassword("ü".encode()))
        self.assertFalse(presented.checkPassword(b"u"))

    def test_proof(self):
        """CRAM-MD5 is an IUsernameHashedPassword."""
        presented = Credentials(
            "CRAM-MD5",
            "tim",
            challenge=b"<1896.697170952@postoffice.reston.mci.net>",
            challengeResponse="b913a602c7eda7a495b4e6e7334d3890",
        ).forCred()
        verifyObject(IUsernameHashedPassword, presented)
        self.assertTrue(presented.checkPassword(b"tanstaaftanstaaf"))
        self.assertFalse(presented.checkPassword(b"tanstaaf"))

    def test_verified(self):
        """Where the identity was proved, the password doesn't matter."""
        presented = Credentials("EXTERNAL", "joe", verified=True).forCred()
        self.assertTrue(presented.checkPassword(b"anything"))

    def test_token(self):
        """There is nothing for tokens."""
        self.assertRaises(TypeError, Credentials("XOAUTH2", "joe", accessToken="t").forCred)


@implementer(IRealm)
class Realm:
    """Everybody's avatar is a dict."""

    def requestAvatar(self, avatarId, mind, *interfaces):
        assert interfaces == (ISMTPUser,)
        return ISMTPUser, {"id": avatarId, "session": mind}, lambda: None


class CredHandlerTests(SynchronousTestCase):
    """The handler."""

    def test_interface(self):
        """It provides what it says."""
        verifyObject(IAuthHandler, CredHandler(database()))

    def test_checker(self):
        """A checker knows who may log in; the avatar id becomes the user."""
        client = greeted(database(joe="sesame"))
        self.assertEqual(client.say(attempt("wrong")).code, 535)
        self.assertEqual(client.say(attempt("sesame", "nobody")).code, 535)
        self.assertEqual(client.say(attempt("sesame")).code, 235)
        self.assertEqual(client.session.user, "joe")

    def test_severalCheckers(self):
        """They are asked in turn."""
        client = greeted(database(jane="x"), database(joe="sesame"))
        self.assertEqual(client.say(attempt("sesame")).code, 235)

    def test_checkerThatCannot(self):
        """A checker that doesn't take such credentials isn't asked."""
        checker = database(joe="sesame")
        checker.credentialInterfaces = (IUsernameHashedPassword,)
        client = greeted(checker)
        self.assertEqual(client.say(attempt("sesame")).code, 535)

    def test_checkerThatSaysNobody(self):
        """An empty avatar id, cred's word for anonymous, logs nobody in."""
        checker = database(joe="sesame")
        checker.requestAvatarId = lambda credentials: ()
        client = greeted(checker)
        self.assertEqual(client.say(attempt("sesame")).code, 535)

    def test_textAvatarId(self):
        """An avatar id that is text is taken as it is."""
        checker = database(joe="sesame")
        checker.requestAvatarId = lambda credentials: "jöe"
        client = greeted(checker)
        self.assertEqual(client.say(attempt("sesame")).code, 235)
        self.assertEqual(client.session.user, "jöe")

    def test_token(self):
        """Tokens are refused."""
        client = greeted(database(joe="sesame"))
        token = base64.b64encode(b"user=joe\1auth=Bearer t\1\1").decode()
        self.assertEqual(client.say("AUTH XOAUTH2 " + token).code, 334)  # why, then
        self.assertEqual(client.say("").code, 535)

    def test_portal(self):
        """A Portal's avatar becomes the user."""
        client = greeted(Portal(Realm(), [database(joe="sesame")]))
        self.assertEqual(client.say(attempt("wrong")).code, 535)
        self.assertEqual(client.say(attempt("sesame")).code, 235)
        self.assertEqual(client.session.user, {"id": b"joe", "session": client.session})

    def test_neither(self):
        """Anything else is refused when it is built."""
        for authorities in [(), ("passwd",), (database(), object())]:
            self.assertRaises(ConfigurationError, CredHandler, *authorities)


class FilePasswordTests(TestCase):
    """A password file, which is read in a real thread."""

    @inlineCallbacks
    def test_file(self):
        """The right password logs in, any other doesn't, nor does anybody unknown."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("joe:sesame\n")
        for handler in (
            CredHandler(FilePasswordDB(path)),
            CredHandler(Portal(Realm(), [FilePasswordDB(path)])),
            CredHandler(database(joe="sesame"), inThread=True),
        ):
            users = []
            for name, password in [("joe", "wrong"), ("nobody", "sesame"), ("joe", "sesame")]:
                credentials = Credentials("PLAIN", name, password=password)
                users.append((yield Deferred.fromCoroutine(handler.onAuth(credentials, Session()))))
            self.assertEqual(users[:2], [None, None])
            self.assertIsInstance(users[2], Authenticated)

    def test_unreadable(self):
        """A file that can't be read is an incident, and no wrong login; the log names it."""
        self.patch(cred, "deferToThread", maybeDeferred)
        path = Path(self.mktemp())
        for authority in (FilePasswordDB(str(path)), Portal(Realm(), [FilePasswordDB(str(path))])):
            client = greeted(authority)
            for password in ("sesame", "wrong"):
                reply = client.say(attempt(password))
                self.assertEqual((reply.code, reply.enhanced), (454, "4.7.0"))
                (incident,) = self.flushLoggedErrors(FileNotFoundError)
                self.assertIn(str(path), str(incident.value))
            self.assertEqual(client.protocol.dialogue.failedLogins, 0)
            path.write_text("joe:sesame\n")
            self.assertEqual(client.say(attempt("wrong")).code, 535)
            self.assertEqual(client.say(attempt("sesame")).code, 235)
            path.unlink()

    def test_thread(self):
        """It isn't the reactor's thread that reads it."""
        hops = []
        self.patch(cred, "deferToThread", lambda *call: hops.append(call) or succeed(b"joe"))
        handler = CredHandler(FilePasswordDB("passwd"))
        credentials = Credentials("PLAIN", "joe", password="x")
        self.successResultOf(Deferred.fromCoroutine(handler.onAuth(credentials, Session())))
        self.assertEqual(len(hops), 1)

    def test_twistd(self):
        """twistd --auth file: lets in who knows the password, and nobody else."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "passwd").write_text("joe:sesame\n")
        flags = ("--auth", f"file:{folder}/passwd", "--allow-insecure-auth")
        flags += ("--auth-failure-delay", "0", "--auth-methods", "PLAIN,LOGIN,CRAM-MD5")
        with LiveServer(folder / "server", *flags) as server:
            for method in ("PLAIN", "LOGIN", "CRAM-MD5"):
                codes = []
                for name, password in [("joe", "wrong"), ("nobody", "x"), ("joe", "sesame")]:
                    with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                        client.ehlo()
                        client.esmtp_features["auth"] = method
                        try:
                            codes.append(client.login(name, password)[0])
                        except smtplib.SMTPAuthenticationError as error:
                            codes.append(error.smtp_code)
                self.assertEqual(codes, [535, 535, 235], method)


class LogoutTests(SynchronousTestCase):
    """A Portal's avatar lives as long as the connection."""

    def test_logout(self):
        """It is logged out when the client leaves; one that never was there isn't."""
        left = []

        @implementer(IRealm)
        class Leaving:
            def requestAvatar(self, avatarId, mind, *interfaces):
                return ISMTPUser, avatarId, lambda: left.append(avatarId)

        client = greeted(Portal(Leaving(), [database(joe="sesame")]))
        client.say(attempt("sesame"))
        self.assertEqual(left, [])
        client.lose()
        self.assertEqual(left, [b"joe"])
        greeted(Portal(Leaving(), [database(joe="sesame")])).lose()
        self.assertEqual(left, [b"joe"])
