"""Tests for :mod:`twisted_smtpserver.hooks.oversights`: what makes sense, and is hardly meant."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import succeed
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import Log
from twisted_smtpserver import Discard, SMTPHandler, SMTPService
from twisted_smtpserver.connection.listening import speaksTLS
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.hooks.oversights import findOversights
from twisted_smtpserver.options import Options
from twisted_smtpserver.testing import makeFactory
from twisted_smtpserver.twistd import services


def login(credentials: Any, session: Any) -> None:
    """A hook."""


USERS = fromFunctions(onAuth=login, onData=login)


class OversightTests(SynchronousTestCase):
    """What is said, and when nothing is."""

    def beginnings(self, handler: object, speaks: bool = False, **options: Any) -> list[str]:
        """The first words of what is said."""
        return [
            text.partition(",")[0] for text in findOversights(Options(**options), handler, speaks)
        ]

    def test_nothing(self) -> None:
        """Where all is as it should be nothing is said."""
        self.assertEqual(findOversights(Options(), Discard()), [])

    def test_noData(self) -> None:
        """Without onData messages are thrown away; Discard means it."""
        for handler in (SMTPHandler(), fromFunctions(), fromFunctions(onMailFrom=login)):
            (text,) = findOversights(Options(), handler)
            self.assertIn("no onData: messages get 250 and are thrown away", text)

    def test_noLogin(self) -> None:
        """With onAuth there must be a way to log in, by TLS of whatever kind or without."""
        (text,) = findOversights(Options(), USERS)
        self.assertIn("nobody can log in", text)
        for fine in (
            {"allowInsecureAuth": True},
            {"selfSigned": True},
            {"secured": True},
            {"disabledCommands": ["auth"]},
            {"speaks": True},
        ):
            self.assertEqual(self.beginnings(USERS, **fine), [])

    def test_milliseconds(self) -> None:
        """Times that are an hour and more, or a minute for a delay, may be milliseconds."""
        for name, seconds, words in (
            ("socketTimeout", 60_000, "60000 seconds, which is 17 hours"),
            ("handlerTimeout", 300_000, "300000 seconds, which is 3 days"),
            ("closeTimeout", 3600, "3600 seconds, which is 60 minutes"),
            ("handshakeTimeout", 30_000, "30000 seconds, which is 8 hours"),
            ("authFailureDelay", 1000, "1000 seconds, which is 17 minutes"),
            ("loginDelay", 60, "60 seconds, which is 1 minutes"),
            ("greetingDelay", 100, "100 seconds, which is 2 minutes"),
            ("errorDelay", 100, "100 seconds, which is 2 minutes"),
        ):
            options: Any = {name: seconds}
            (text,) = findOversights(Options(**options), Discard())
            begin = f"{name} is {words}: times are in seconds here, not in milliseconds"
            self.assertEqual(text, begin)
        self.assertEqual(self.beginnings(Discard(), socketTimeout=3599, loginDelay=59), [])


class Port:
    """A port."""

    def stopListening(self) -> None:
        """Be gone."""

    def getHost(self) -> IPv4Address:
        """Where it is."""
        return IPv4Address("TCP", "127.0.0.1", 25)


class WhenTests(SynchronousTestCase):
    """When it is said, and where."""

    def said(self, *where: Any) -> list[str]:
        """What a service says when it starts to listen."""
        reactor: Any = MemoryReactorClock()
        with capturedLogs() as events:
            service = SMTPService(where, reactor)
            self.assertEqual([e for e in events if e.get("event") == "oversight"], [])
            service.startService()
            service.stopService()
        found = [event for event in events if event.get("event") == "oversight"]
        self.assertEqual({event["log_level"] for event in found} - {LogLevel.warn}, set())
        return [formatEvent(event) for event in found]

    def test_service(self) -> None:
        """A service says it when it starts, once for all its factories."""
        first, second = makeFactory(SMTPHandler()), makeFactory(SMTPHandler(), lmtp=True)
        (text,) = self.said(("tcp:25", first), ("unix:lmtp", second))
        self.assertTrue(text.startswith("The handler has no onData"))
        for factory in (first, second):
            with capturedLogs() as events:
                factory.doStart()
            self.assertEqual([e for e in events if e.get("event") == "oversight"], [])

    def test_endpoint(self) -> None:
        """A port that speaks TLS by itself lets users log in; one in clear beside it doesn't."""
        users = makeFactory(USERS)

        class Endpoint(SSL4ServerEndpoint):
            """One that needs no certificate."""

            def __init__(self) -> None:
                """It is for nothing."""

            def listen(self, factory: Any) -> Any:
                """Listen to nobody."""
                return succeed(Port())

        self.assertEqual(self.said((Endpoint(), makeFactory(USERS))), [])
        self.assertEqual(len(self.said(("tcp:25", makeFactory(USERS)))), 1)
        self.assertEqual(self.said(("tcp:25", users), (Endpoint(), users)), [])
        self.assertEqual([speaksTLS(each) for each in ("ssl:465", "tcp:25")], [True, False])

    def test_factory(self) -> None:
        """Without a service, it is said at the first port, to the server's own log."""
        log = Log()
        factory = makeFactory(SMTPHandler(), logger=log.logger)
        self.assertEqual(log.events, [])
        for _ in range(2):
            factory.doStart()
            factory.doStop()
        self.assertEqual(len(log.of("oversight")), 1)

    def test_noLog(self) -> None:
        """A server that logs nothing says nothing."""
        factory = makeFactory(SMTPHandler(), logger=False)
        with capturedLogs() as events:
            factory.doStart()
        self.assertEqual([e for e in events if e.get("event") == "oversight"], [])


class RootTests(SynchronousTestCase):
    """``twistd smtpserver`` as root."""

    def said(self, user: int, group: int = 65534, **options: Any) -> list[str]:
        """What it says when it starts as a user, in a group."""
        self.patch(os, "geteuid", lambda: user)
        self.patch(os, "getegid", lambda: group)
        with capturedLogs() as events:
            services.Server(**options).startService()
        return [formatEvent(event) for event in events]

    def test_root(self) -> None:
        """Root is told how not to be it; others, and workers, aren't."""
        (text,) = self.said(0)
        self.assertIn("Running as root", text)
        self.assertIn("--uid", text)
        self.assertEqual(self.said(65534), [])
        (text,) = self.said(65534, 0)
        self.assertIn("root's group", text)
        self.assertEqual(self.said(0, isWorker=True), [])
