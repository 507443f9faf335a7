"""Logins by a file of users."""

from __future__ import annotations

import base64
import hmac
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.support.tablefiles import TableTestCase
from tests.support.talk import sayScram
from tests.users.test_table import BCRYPT
from twisted_smtpserver import Authenticated, Chain, ConfigurationError, Discard, Session
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.interfaces import IAuthHandler
from twisted_smtpserver.sasl import scramSecret
from twisted_smtpserver.testing import Client, connect, runInline
from twisted_smtpserver.users import Htpasswd
from twisted_smtpserver.users.schemes import Scram

METHODS = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class HtpasswdTests(TableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write(f"joe:{BCRYPT}")

    def make(self, **options: Any) -> Htpasswd:
        return Htpasswd(self.path, runInThread=runInline, **options)

    def client(self, handler: object = None, **options: Any) -> Client:
        options.setdefault("authMethods", METHODS)
        client = connect(
            Chain(handler or self.make(), Discard()),
            allowInsecureAuth=True,
            authFailureDelay=0,
            maxAuthAttempts=20,
            **options,
        )
        self.offered = client.say("EHLO client.example").lines
        return client

    def plain(self, client: Client, name: str, password: str) -> int:
        return client.say("AUTH PLAIN " + b64(f"\0{name}\0{password}")).code

    def look(self, handler: Htpasswd) -> None:
        """It is time to look at the file again."""
        self.patch(handler._file, "_lookedAt", -10.0)

    def test_interface(self) -> None:
        """It is a handler."""
        verifyObject(IAuthHandler, self.make())
        self.assertRegex(repr(self.make()), "<Htpasswd '.*'>")

    def test_plain(self) -> None:
        """The right password by PLAIN or LOGIN; nobody else, and no empty password."""
        client = self.client()
        for name, password in (("joe", "x"), ("eve", "sesame"), ("JOE", "sesame")):
            self.assertEqual(self.plain(client, name, password), 535)
        self.assertEqual(self.plain(client, "joe", ""), 501)
        self.assertEqual(self.plain(client, "joe", "sesame"), 235)
        self.assertEqual(client.session.user, "joe")
        client = self.client()
        client.say("AUTH LOGIN")
        client.say(b64("joe"))
        self.assertEqual(client.say(b64("sesame")).code, 235)

    def test_authzid(self) -> None:
        """Nobody acts for somebody else."""
        client = self.client()
        self.assertEqual(client.say("AUTH PLAIN " + b64("ann\0joe\0sesame")).code, 535)

    def test_scram(self) -> None:
        """SCRAM works if each user has a secret; whoever hasn't is told nothing else."""
        self.write("joe:" + scramSecret("sesame", iterations=5000).toString())
        client = self.client()
        self.assertIn("AUTH SCRAM-SHA-256 PLAIN LOGIN CRAM-MD5 XOAUTH2", self.offered)
        self.assertEqual(sayScram(client, "wrong").code, 535)
        self.assertEqual(sayScram(client, "sesame", "eve").code, 535)
        first = client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=eve,r=x")).text
        self.assertIn(b",i=5000", base64.b64decode(first))
        client.say("*")
        self.assertEqual(sayScram(client).code, 334)
        self.assertEqual(client.say("").code, 235)
        self.assertEqual(client.session.user, "joe")

    def test_saltKey(self) -> None:
        """The salts of those who aren't there are made from a key, which servers may share."""
        self.write("joe:" + scramSecret("sesame").toString())
        salts = []
        for key in (b"k" * 32, b"k" * 32, b"x" * 32, None):
            client = self.client(self.make(saltKey=key))
            text = client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=eve,r=x")).text
            salts.append(base64.b64decode(text).split(b",")[1])
        self.assertEqual(salts[0], salts[1])
        self.assertEqual(len(set(salts)), 3)

    def test_offered(self) -> None:
        """SCRAM comes and goes with the file."""
        handler = self.make()
        client = self.client(handler)
        self.assertIn("AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2", self.offered)
        self.assertEqual(client.say("AUTH SCRAM-SHA-256").code, 504)
        self.write("joe:" + scramSecret("sesame").toString())
        self.look(handler)
        self.plain(client, "joe", "x")
        client.say("EHLO client.example")
        self.assertEqual(client.say("AUTH SCRAM-SHA-256").code, 334)

    def test_deleted(self) -> None:
        """Who was deleted in the middle of SCRAM doesn't get in."""
        self.write("joe:" + scramSecret("sesame").toString())
        handler = self.make()
        client = self.client(handler)
        self.assertEqual(sayScram(client).code, 334)
        self.write("ann:" + scramSecret("sesame").toString())
        self.look(handler)
        self.assertEqual(client.say("").code, 535)

    def test_cramMD5(self) -> None:
        """CRAM-MD5 with a password in plain text."""
        self.write("joe:sesame")
        client = self.client(self.make(plainText=True))
        for password, code in (("wrong", 535), ("sesame", 235)):
            challenge = base64.b64decode(client.say("AUTH CRAM-MD5").text)
            digest = hmac.digest(password.encode(), challenge, "md5").hex()
            self.assertEqual(client.say(b64(f"joe {digest}")).code, code)

    def test_token(self) -> None:
        """A token is nobody's."""
        client = self.client()
        client.say("AUTH XOAUTH2 " + b64("user=joe\x01auth=Bearer x\x01\x01"))
        self.assertEqual(client.say("").code, 535)

    def test_changed(self) -> None:
        """A changed file counts from the next login on; a broken one doesn't."""
        handler = self.make()
        client = self.client(handler)
        self.write(f"ann:{BCRYPT}")
        self.look(handler)
        self.assertEqual(self.plain(client, "joe", "sesame"), 535)
        self.write(f"joe:{BCRYPT}", "eve:secret")
        self.look(handler)
        self.assertEqual(self.plain(client, "joe", "sesame"), 535)
        [line] = [line for line in self.log if "Keeping" in line]
        self.assertIn("line 2: this is not a hash", line)
        self.assertNotIn("secret", line)
        self.assertEqual(self.plain(client, "ann", "sesame"), 235)

    def test_changedMeanwhile(self) -> None:
        """A password that is being checked when the file changes is still checked."""
        threads: list[Any] = []

        def start(function: Any, *arguments: Any) -> Deferred[Any]:
            threads.append((function, arguments))
            return Deferred()

        handler = self.make()
        self.patch(handler._checks, "_runInThread", start)
        client = self.client(handler)
        client.send(f"AUTH PLAIN {b64(chr(0) + 'joe' + chr(0) + 'sesame')}\r\n".encode())
        self.write("ann:" + scramSecret("sesame").toString())
        self.look(handler)
        self.successResultOf(Deferred.fromCoroutine(handler._file.content()))
        [(function, arguments)] = threads
        self.assertTrue(function(*arguments))

    def test_busy(self) -> None:
        """When too many passwords wait to be checked the client may come again."""
        threads: list[Deferred[Any]] = []

        def start(*arguments: object) -> Deferred[Any]:
            threads.append(Deferred())
            return threads[-1]

        handler = Htpasswd(self.path, runInThread=start)
        self.patch(handler._checks, "_most", 2)
        for code in (None, 454):
            client = self.client(handler)
            client.send(f"AUTH PLAIN {b64(chr(0) + 'joe' + chr(0) + 'sesame')}\r\n".encode())
            answers = [(each.code, each.enhanced) for each in client.answers()]
            self.assertEqual(answers, [] if code is None else [(454, "4.7.0")])
        self.assertEqual(len(threads), 1)

    def test_unixSocket(self) -> None:
        """Clients without an address don't share their places."""
        handler = self.make()
        credentials = Credentials("PLAIN", "joe", password="sesame")
        seen: list[object] = []
        run = handler._checks.run

        def noting(client: object, *arguments: Any) -> Any:
            seen.append(client)
            return run(client, *arguments)

        self.patch(handler._checks, "run", noting)
        for _ in range(2):
            user = Deferred.fromCoroutine(handler.onAuth(credentials, Session()))
            self.assertEqual(self.successResultOf(user), "joe")
        self.assertEqual(len(set(seen)), 2)

    def test_otherStages(self) -> None:
        """Another stage of the chain may know other users."""

        class Others:
            def onAuth(self, credentials: Any, session: Any) -> Authenticated | None:
                return Authenticated("ann") if credentials.username == "ann" else None

        client = self.client(Chain(self.make(), Others(), isPart=True))
        self.assertEqual(self.plain(client, "ann", "any"), 235)

    def test_wrong(self) -> None:
        """A file that can't be used is an error at the start."""
        self.write("joe:sesame")
        error = self.assertRaises(ConfigurationError, self.make)
        self.assertIn("line 1: this is not a hash", str(error))
        self.path.unlink()
        later = self.make(later=True)
        self.assertFalse(getattr(later, "scramSecret", None))
        self.assertRaises(ConfigurationError, later.load)

    def test_emptyPassword(self) -> None:
        """An empty password never logs in, whatever the file has."""
        self.patch(Scram, "verify", lambda scheme, kept, password: True)
        self.write("joe:" + scramSecret("sesame").toString())
        credentials = Credentials("PLAIN", "joe", password="")
        user = Deferred.fromCoroutine(self.make().onAuth(credentials, Session()))
        self.assertIsNone(self.successResultOf(user))
