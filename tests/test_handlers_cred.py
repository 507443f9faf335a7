"""Logins by twisted.cred."""

from __future__ import annotations

import base64

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_smtpserver import Chain, ConfigurationError
from twisted_smtpserver.credentials import Credentials
from twisted_smtpserver.handlers import CredHandler, cred
from twisted_smtpserver.handlers.cred import ISMTPUser
from twisted_smtpserver.interfaces import IAuthHandler
from twisted_smtpserver.testing import RecordingHandler, connect, runInline


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


class FilePasswordTests(SynchronousTestCase):
    """A password file, which is read in a thread."""

    def test_file(self):
        """The file isn't read in the reactor's thread."""
        hops = []

        def runLater(function, *arguments):
            hops.append(function)
            return runInline(function, *arguments)

        self.patch(cred, "deferToThread", runLater)
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("joe:sesame\n")
        checker = FilePasswordDB(path)
        client = greeted(checker)
        self.assertEqual(client.say(attempt("wrong")).code, 535)
        self.assertEqual(client.say(attempt("sesame")).code, 235)
        self.assertEqual(hops, [checker.requestAvatarId] * 2)
