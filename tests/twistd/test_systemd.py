"""What systemd is told: over a real datagram socket, with a clock that the test moves."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Discard, SMTPService
from twisted_smtpserver.testing import makeFactory
from twisted_smtpserver.twistd.systemd import (
    START_INTERVAL,
    STATUS_INTERVAL,
    Notifier,
    Systemd,
    findNotifier,
    tellSystemd,
)


class Listener:
    """
    systemd's side.

    :ivar address: for ``NOTIFY_SOCKET``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def messages(self) -> list[list[str]]:
        """What was said since the last time: the lines of each message."""
        said = []
        while True:
            try:
                said.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return said


class SystemdCase(SynchronousTestCase):
    """Each test has a systemd to talk to."""

    def setUp(self) -> None:
        # A unix socket's path mustn't be long.
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.listener = self.listen(f"{self.folder.name}/notify")

    def listen(self, address: str) -> Listener:
        made = Listener(address)
        self.addCleanup(made.socket.close)
        return made

    def notifier(self, watchdog: float | None = None) -> Notifier:
        made = Notifier(self.listener.address, watchdog)
        self.addCleanup(made.close)
        return made


class NotifierTests(SystemdCase):
    """Messages, and the environment that asks for them."""

    def test_fields(self) -> None:
        """A message is one datagram, with a line for each field."""
        self.notifier().tell("READY=1", "STATUS=fine")
        self.assertEqual(self.listener.messages(), [["READY=1", "STATUS=fine"]])

    def test_abstract(self) -> None:
        """A name that begins with @ is in no file system."""
        listener = self.listen(f"@twisted-smtpserver-test-{os.getpid()}")
        notifier = Notifier(listener.address)
        notifier.tell("READY=1")
        notifier.close()
        self.assertEqual(listener.messages(), [["READY=1"]])

    def test_environment(self) -> None:
        """The variables are read and removed; the watchdog may be for another process."""
        own = str(os.getpid())
        for more, watchdog in (
            ({}, None),
            ({"WATCHDOG_USEC": "3000000"}, 3.0),
            ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": own}, 3.0),
            ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": own + "0"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
        ):
            environment = {"NOTIFY_SOCKET": self.listener.address, "HOME": "/", **more}
            found = findNotifier(environment)
            assert found is not None
            found.close()
            self.assertEqual(found.watchdog, watchdog, more)
            self.assertEqual(environment, {"HOME": "/"})
        self.assertIsNone(findNotifier({"WATCHDOG_USEC": "3000000"}))

    def test_nobody(self) -> None:
        """An address where nobody listens, or that is none, is a warning."""
        for address in (f"{self.folder.name}/other", "/\0", "x" * 1000):
            with capturedLogs() as events:
                self.assertIsNone(findNotifier({"NOTIFY_SOCKET": address}))
            self.assertTrue(formatEvent(events[0]).startswith(f"NOTIFY_SOCKET: {address!r}: "))

    def test_gone(self) -> None:
        """A systemd that is gone is a warning, once."""
        notifier = self.notifier()
        self.listener.socket.close()
        with capturedLogs() as events:
            notifier.tell("READY=1")
            notifier.tell("WATCHDOG=1")
        (text,) = map(formatEvent, events)
        self.assertTrue(text.startswith("The server's state can't be sent to systemd: "), text)


class Serving(SMTPService):
    """A server of which the test says whether it serves."""

    isServing = True


class ServiceTests(SystemdCase):
    """What is said when."""

    def make(self, watchdog: float | None = None) -> Systemd:
        self.clock = MemoryReactorClock()
        self.factory = makeFactory(Discard())
        self.server = Serving([("tcp:25", self.factory)], self.clock)
        self.reloading: Deferred[bool] = Deferred()
        self.server.onHangUp = lambda: self.reloading
        made = Systemd(self.notifier(watchdog), self.server, self.clock)
        self.addCleanup(made.close)
        return made

    def test_life(self) -> None:
        """Ready, the status when it changes, and that it stops; no sign of life is asked for."""
        systemd = self.make()
        systemd.startService()
        self.assertEqual(self.listener.messages(), [["READY=1", "STATUS=0 connections"]])
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self.listener.messages(), [])
        connections: Any = self.factory.connections
        connections.add(object())
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(self.listener.messages(), [["STATUS=1 connection"]])
        systemd.stopService()
        self.clock.advance(STATUS_INTERVAL)
        self.assertEqual(
            self.listener.messages(), [["STOPPING=1", "STATUS=Messages in flight may finish"]]
        )

    def test_watchdog(self) -> None:
        """A sign of life comes twice in the time, until all is closed."""
        systemd = self.make(watchdog=10)
        systemd.startService()
        self.assertEqual(self.listener.messages()[0][0], "WATCHDOG=1")
        self.clock.pump([5] * 3)
        self.assertEqual(self.listener.messages(), [["WATCHDOG=1"]] * 3)
        systemd.stopService()
        self.listener.messages()
        self.clock.advance(5)
        self.assertEqual(self.listener.messages(), [["WATCHDOG=1"]])
        systemd.close()
        self.clock.advance(5)
        self.assertEqual(self.listener.messages(), [])
        systemd._timer = None  # for the second close, of the test's end

    def test_late(self) -> None:
        """It isn't ready before the server serves, and says nothing of a SIGHUP until then."""
        systemd = self.make(watchdog=10)
        self.server.isServing = False
        systemd.startService()
        self.server.onHangUp()
        self.assertEqual(self.listener.messages(), [["WATCHDOG=1", "STATUS=0 connections"]])
        self.server.isServing = True
        self.clock.advance(START_INTERVAL)
        self.assertEqual(self.listener.messages(), [["WATCHDOG=1", "READY=1"]])

    def test_reload(self) -> None:
        """A SIGHUP is told, with the time, and that its work is done."""
        systemd = self.make()
        systemd.startService()
        self.listener.messages()
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        reloading = self.server.onHangUp()
        ((first, second),) = self.listener.messages()
        self.assertEqual(first, "RELOADING=1")
        name, _, microseconds = second.partition("=")
        self.assertEqual(name, "MONOTONIC_USEC")
        self.assertGreaterEqual(int(microseconds), int(before * 1e6))
        self.reloading.callback(True)
        self.assertEqual(self.listener.messages(), [["READY=1"]])
        self.assertTrue(self.successResultOf(reloading))

    def test_neverStarted(self) -> None:
        """A service that wasn't started can be closed."""
        self.make().close()

    def test_asked(self) -> None:
        """It is the last of the services if the environment asks for it, and else isn't there."""
        self.make()
        services = MultiService()
        self.server.setServiceParent(services)
        tellSystemd(services, {})
        self.assertEqual(services.services, [self.server])
        tellSystemd(services, {"NOTIFY_SOCKET": self.listener.address})
        last: Any = services.services[-1]
        self.assertIsInstance(last, Systemd)
        last.close()
