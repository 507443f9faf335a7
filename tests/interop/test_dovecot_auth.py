"""Logins checked by real Dovecot."""

from __future__ import annotations

import atexit
import base64
import functools
import itertools
import os
import signal
import smtplib
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.dovecot import Dovecot
from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver import AuthenticationFailed, Session
from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.stores.base import BackOff
from twisted_smtpserver.users import DovecotAuth


@functools.cache
def makeDovecot() -> Dovecot:
    """Make it once; it ends with the process. (Trial doesn't know ``setUpClass``.)"""
    program = need("dovecot")
    if os.getuid() != 0:
        raise SkipTest("Dovecot has to be started by root")
    passwords = {"ann": "sesame", "ben": base64.b64encode(b"x" * 300).decode()}
    dovecot = Dovecot(program, {"ann": "", "ben": ""}, passwords)
    atexit.register(dovecot.remove)
    return dovecot


class DovecotAuthTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        """One Dovecot for all tests."""
        self.dovecot = makeDovecot()
        self.numbers = itertools.count(1)
        self.stage = self.make()
        if not self.dovecot.isRunning:
            self.dovecot.start()
        await self.untilAnswers()

    def make(self, **options: Any) -> DovecotAuth:
        options.setdefault("backOff", BackOff(reactor, first=0.01, most=0.1))
        stage = DovecotAuth(self.dovecot.auth, **options)
        self.addCleanup(stage.close)
        return stage

    def logIn(self, name: str, password: str, method: str = "PLAIN") -> Deferred[Any]:
        """Who that is; 454 if it can't be told."""
        session = Session()
        # Each from elsewhere: Dovecot delays its answers about an address that fails again.
        session.remoteAddress = f"192.0.2.{next(self.numbers)}"
        session.localAddress = "198.51.100.1"
        session.remotePort, session.localPort, session.secure = 40000, 587, True
        credentials = Credentials(method, name, password=password)
        answer = Deferred.fromCoroutine(self.stage.onAuth(credentials, session))
        return answer.addErrback(self.code)

    def code(self, failure: Any) -> Any:
        failure.trap(AuthenticationFailed)
        return failure.value.code

    async def test_passwords(self) -> None:
        """The right password is right, a wrong one wrong; the name is as Dovecot spells it."""
        for name, password, user in (
            ("ann", "sesame", "ann"),
            ("ANN", "sesame", "ann"),
            ("ben", base64.b64encode(b"x" * 300).decode(), "ben"),
            ("ann", "Sesame", None),
            ("eve", "sesame", None),
        ):
            self.assertEqual(await self.logIn(name, password), user)
        self.assertEqual(await self.logIn("ann", "sesame", "LOGIN"), "ann")

    async def test_injection(self) -> None:
        """What would be a word or a line of its own in the protocol is a part of a name."""
        for name in ("ann\tnologin", "ann\nAUTH\t9", "ann\x01t", "x\tresp=AGFubgBzZXNhbWU="):
            self.assertIsNone(await self.logIn(name, "sesame"))
            self.assertIsNone(await self.logIn("ann", name))
        self.assertEqual(await self.logIn("ann", "sesame"), "ann")

    async def test_pipelined(self) -> None:
        """Many at a time over one connection; none gets another one's answer."""
        wrong = [self.logIn("ann", f"wrong{number}") for number in range(3)]
        right = [self.logIn(name, "sesame") for name in ("ann", "eve", "ann", "ANN") * 10]
        results = [result for _, result in await DeferredList(right)]
        self.assertEqual(results, ["ann", None, "ann", "ann"] * 10)
        self.assertEqual([result for _, result in await DeferredList(wrong)], [None] * 3)

    async def test_killed(self) -> None:
        """While it is away there is 454 at once; when it is back, logins work again."""
        self.assertEqual(await self.logIn("ann", "sesame"), "ann")
        self.dovecot.send(signal.SIGSTOP)
        pending = self.logIn("ann", "sesame")
        self.dovecot.kill()
        self.assertEqual(await pending, 454)
        self.assertEqual(await self.logIn("ann", "sesame"), 454)
        self.dovecot.start()
        await self.untilAnswers()

    async def test_hangs(self) -> None:
        """While it hangs, a login ends with the deadline."""
        self.stage = self.make(deadline=2)
        self.assertEqual(await self.logIn("ann", "sesame"), "ann")
        self.dovecot.send(signal.SIGSTOP)
        try:
            self.assertEqual(await self.logIn("ann", "sesame"), 454)
        finally:
            self.dovecot.send(signal.SIGCONT)
        self.stage = self.make()
        await self.untilAnswers()

    async def test_twistd(self) -> None:
        """``twistd smtpserver --auth dovecot:SOCKET``, with a real client."""
        flags = ("--discard", "--allow-insecure-auth", "--auth", f"dovecot:{self.dovecot.auth}")
        with LiveServer(Path(self.mktemp()).absolute(), *flags) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                self.assertEqual(client.login("Ann", "sesame")[0], 235)
                client.sendmail("ann@x.example", ["ben@x.example"], b"Subject: hi\r\n\r\nhi\r\n")
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                self.assertRaises(smtplib.SMTPAuthenticationError, client.login, "ann", "x")
            log = server.stop()
        self.assertIn("> can be reached", log)
        self.assertIn("user=ann", log)

    async def untilAnswers(self) -> None:
        """Wait until it checks passwords, which is a moment after it has started."""
        for _ in range(1000):
            if await self.logIn("ann", "sesame") == "ann":
                return
            await self.pause()
        self.fail(f"it doesn't answer:\n{self.dovecot.log}")

    async def pause(self) -> None:
        """The back-off goes on meanwhile."""
        passed: Deferred[None] = Deferred()
        reactor.callLater(0.02, passed.callback, None)
        await passed
