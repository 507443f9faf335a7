"""Whether a server can take mail."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import Chain, Discard, SMTPHandler
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.handlers.policies import SenderMatchesLogin
from twisted_smtpserver.metrics import Readiness, StoreWatch
from twisted_smtpserver.metrics.readiness import CHECK_INTERVAL, CHECK_TIME, workersProblems
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.testing import makeFactory

DAY = datetime.timedelta(days=1)


class Store(SMTPHandler):
    """A store whose readiness is told."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.asked = 0

    def ready(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def onData(self, stream: object, session: object) -> None:
        """Accept."""


class Server:
    """A server with some handlers."""

    def __init__(self, *handlers: object, **options: Any) -> None:
        self.ports: list[Any] = ["a port"]
        self._factories = [makeFactory(handler, **options) for handler in handlers]

    def factories(self) -> list[Any]:
        return self._factories


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.told: list[bool] = []

    def watch(self, *handlers: object) -> StoreWatch:
        watch = StoreWatch(Server(*handlers or (self.store,)), self.clock, self.told.append)
        watch.startService()
        return watch

    def test_looks(self) -> None:
        """It looks at the start and every ten seconds; a change is logged once."""
        watch = self.watch()
        self.assertEqual((watch.problems(), self.told), ([], [True]))
        self.store.answer = OSError("no\nroom\u202e")
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(CHECK_INTERVAL)
            self.assertEqual(watch.problems(), ["messages can't be stored; the log says why"])
            self.store.answer = succeed(None)
            self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(watch.problems(), [])
        self.assertEqual([event["event"] for event in events], ["notReady", "ready"])
        self.assertEqual(events[0]["problem"], r"OSError: no\x0aroom\u202e")
        self.assertEqual(self.told, [True, False, False, False, True])
        watch.stopService()
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual(self.store.asked, 5)

    def test_before(self) -> None:
        """Before the first answer it isn't ready; a store that doesn't answer isn't, either."""
        self.store.answer = Deferred()
        watch = self.watch()
        self.assertEqual(watch.problems(), ["the store wasn't looked at yet"])
        with capturedLogs() as events:
            self.clock.advance(CHECK_TIME)
        self.assertEqual(watch.problems(), ["messages can't be stored; the log says why"])
        self.assertIn("TimeoutError", events[0]["problem"])
        watch.stopService()

    def test_stopped(self) -> None:
        """A stop waits for no store."""
        self.store.answer = Deferred()
        watch = self.watch()
        with capturedLogs() as events:
            watch.stopService()
        self.assertEqual((events, self.told), ([], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nameless(self) -> None:
        """A failure without words is told by its kind."""
        self.store.answer = fail(LookupError())
        with capturedLogs() as events:
            self.watch()
        self.assertEqual(events[0]["problem"], "LookupError")

    def test_none(self) -> None:
        """Who has no store that could say so is ready; nobody needs to be told."""
        watch = StoreWatch(Server(Discard()), self.clock)
        watch.startService()
        self.assertEqual(watch.problems(), [])

    def test_inside(self) -> None:
        """A store is found in whatever is around it; each is asked once."""
        handlers = (
            Chain(SenderMatchesLogin(), self.store),
            Filtered(self.store),
            ByRecipient({"a.test": self.store, "b.test": self.store}),
            Filtered(Chain(self.store), quarantine=Store()),
        )
        for handler in handlers:
            self.store.asked = 0
            self.watch(handler, handler)
            self.assertEqual(self.store.asked, 1, handler)
        for handler in handlers:
            self.store.answer = fail(OSError("gone"))
            with capturedLogs() as events:
                self.watch(handler)
            self.assertEqual([event["problem"] for event in events], ["OSError: gone"])


class ReadinessTests(SynchronousTestCase):
    def test_ports(self) -> None:
        """It must listen."""
        server = Server(Discard())
        readiness = Readiness(server, list)
        self.assertEqual(readiness.problems(), [])
        server.ports.clear()
        self.assertEqual(readiness.problems(), ["it doesn't listen"])

    def test_stores(self) -> None:
        """Its stores must be there."""
        self.assertEqual(Readiness(Server(Discard()), lambda: ["no"]).problems(), ["no"])

    def test_certificates(self) -> None:
        """Its certificates must be good for another day: of several for a name, each."""
        made = makeCertificate(None, ["mx.test", "b.test"], days=5)
        server = Server(Discard(), cert=made.certPEM, key=made.keyPEM)
        server.factories().append(makeFactory(Discard()))
        end = made.certificate.not_valid_after_utc
        now = [end - DAY - datetime.timedelta(seconds=1)]
        readiness = Readiness(server, list, lambda: now[0])
        self.assertEqual(readiness.problems(), [])
        self.assertEqual(readiness.certificates(), {"mx.test, b.test": end})
        now[0] = end - DAY
        self.assertEqual(
            readiness.problems(),
            [f"the certificate of mx.test, b.test ends on {end:%Y-%m-%d at %H:%M} UTC"],
        )
        self.assertEqual(Readiness(server, list).problems(), [])

    def test_earliest(self) -> None:
        """Of two certificates with the same names the one that ends first counts."""
        made = makeCertificate(None, ["mx.test"]).certificate
        end = made.not_valid_after_utc
        later = SimpleNamespace(
            extensions=made.extensions, subject=made.subject, not_valid_after_utc=end + DAY
        )
        context = SimpleNamespace(certificates=[later, made, later])
        server: Any = SimpleNamespace(
            ports=["a port"], factories=lambda: [SimpleNamespace(contextFactory=context)]
        )
        self.assertEqual(Readiness(server, list).certificates(), {"mx.test": end})

    def test_workers(self) -> None:
        """As long as one worker can take mail, all is well."""
        self.assertEqual(workersProblems([0, 2, 1]), [])
        self.assertEqual(workersProblems([0, 2]), ["messages can't be stored; the log says why"])
        self.assertEqual(workersProblems([0, 0]), ["no worker serves"])
