"""Tests for :mod:`twisted_smtpserver.connection.listening`."""

from __future__ import annotations

import resource
import select
import socket
import struct
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver import ConfigurationError, Discard, SMTPServerFactory, SMTPService
from twisted_smtpserver.connection.listening import (
    BACKLOG,
    MOST_ACCEPTED,
    acceptFew,
    makeEndpoints,
    namesBacklog,
)

#: As the kernel counts: what is more than this is cut to it.
MOST = min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))


def backlog(port: Any) -> int:
    """How many clients may wait at a TCP port; Linux says so where sockets have what is sacked."""
    octets = port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    sacked: int = struct.unpack_from("=8B6I", octets)[13]
    return sacked


class DescriptionTests(SynchronousTestCase):
    """What is understood of a description."""

    def test_backlog(self) -> None:
        """A backlog that a description names is seen, and nothing else is taken for one."""
        for named in ("tcp:25:backlog=7", "unix:/run/x:mode=600:backlog=9:lockfile=0"):
            self.assertTrue(namesBacklog(named))
        endpoint = TCP4ServerEndpoint(reactor, 0, 7)
        for other in ("tcp:25", "unix:/run/backlog", endpoint):
            self.assertFalse(namesBacklog(other))

    def test_broken(self) -> None:
        """What Twisted can't read is refused in its words, whatever we would have read in it."""
        for text in ("tcp:smtp", "tcp6", "tcp:25:backlog=many", "tcp6:25:interface", "no:25"):
            error = self.assertRaises(
                ConfigurationError, makeEndpoints, MemoryReactorClock(), [text]
            )
            self.assertTrue(str(error).startswith(f"endpoint {text!r}: "))

    def test_own(self) -> None:
        """Only ``::`` beside the same port of IPv4 gets a socket of its own kind."""
        memory: Any = MemoryReactorClock()
        plain = [
            ["tcp6:25"],
            ["tcp:25", "tcp6:2525"],
            ["tcp:25", r"tcp6:25:interface=\:\:1"],
            ["tcp6:25", r"tcp:26:interface=\:\:"],
        ]
        for texts in plain:
            for endpoint, text in zip(makeEndpoints(memory, texts), texts, strict=True):
                self.assertIs(type(endpoint), type(serverFromString(memory, text)))
        for texts in (["tcp:25", "tcp6:25"], [r"tcp:25:interface=\:\:", "tcp:25"]):
            made = makeEndpoints(memory, texts)
            types = (TCP4ServerEndpoint, TCP6ServerEndpoint)
            self.assertEqual(sum(isinstance(each, types) for each in made), 1)


class PortTests(TestCase):
    """Ports that are really listened on."""

    def serve(self, *where: Any) -> Any:
        """Listen, and give the ports."""
        factory = SMTPServerFactory(Discard(), name="mx.test", logger=False)
        service = SMTPService([(each, factory) for each in where])
        self.addCleanup(service.stopService)
        service.startService()
        return service.ports

    def test_default(self) -> None:
        """Where nobody says how many clients may wait, as many may as the kernel lets."""
        where = (
            "tcp:0:interface=127.0.0.1",
            "haproxy:tcp:0:interface=127.0.0.1",
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
        )
        self.assertEqual([backlog(port) for port in self.serve(*where)], [MOST] * 3)

    def test_named(self) -> None:
        """What was asked for stays, in a description and in an endpoint."""
        where = (
            "tcp:0:interface=127.0.0.1:backlog=50",
            "tcp:0:interface=127.0.0.1:backlog=7",
            TCP4ServerEndpoint(reactor, 0, 9, "127.0.0.1"),
        )
        self.assertEqual([backlog(port) for port in self.serve(*where)], [50, 7, 9])

    def test_few(self) -> None:
        """Of many clients at once so many are accepted in a turn; what isn't Twisted's stays."""
        (port,) = self.serve("tcp:0:interface=127.0.0.1")
        for _ in range(3 * MOST_ACCEPTED):
            client = socket.create_connection(port.socket.getsockname())
            self.addCleanup(client.close)
        for turn in (1, 2, 3):
            port.doRead()
            self.assertEqual(len(port.factory.connections), turn * MOST_ACCEPTED)
        for connection in port.factory.connections:
            connection.transport.abortConnection()
        fake = object()
        acceptFew(fake)

    def test_unix(self) -> None:
        """More clients can connect to a unix socket at once than Twisted's 50, unasked."""
        path = self.mktemp()  # relative: the kernel takes no more than 107 octets
        self.serve(f"unix:{path}:lockfile=0")
        clients = [socket.socket(socket.AF_UNIX) for _ in range(min(200, MOST))]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect(path)  # or it raises BlockingIOError

    def test_sideBySide(self) -> None:
        """One port of IPv4 and of IPv6: both are listened on, in either order; each has its own."""
        for first, second in (("tcp", "tcp6"), ("tcp6", "tcp")):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                number = free.getsockname()[1]
            ports = self.serve(f"{first}:{number}", f"{second}:{number}")
            families = {port.addressFamily: port.socket for port in ports}
            own = families[socket.AF_INET6].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            self.assertEqual(own, 1)
            self.assertEqual({backlog(port) for port in ports}, {MOST})

    def test_aloneInIPv6(self) -> None:
        """A port of IPv6 alone serves IPv4's clients, too, as Twisted's endpoint does."""
        (port,) = self.serve("tcp6:0")
        self.assertEqual(port.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0)


class HandlerTests(SynchronousTestCase):
    """A handler in the place of a factory."""

    def test_handler(self) -> None:
        """It is refused, in a line that says what to write instead."""
        for wrong, name in ((Discard(), "Discard"), (Discard, "Discard"), (None, "NoneType")):
            error = self.assertRaises(ConfigurationError, SMTPService, [("tcp:2525", wrong)])
            self.assertEqual(
                str(error),
                f"listeners: {name} is not an SMTPServerFactory: "
                "a handler goes into one, as in SMTPServerFactory(handler)",
            )


class CrowdTests(SynchronousTestCase):
    """``twistd smtpserver`` as it is installed, and more clients at once than it ever saw."""

    CLIENTS = 1000

    def test_crowd(self) -> None:
        """A thousand connections at once are all greeted, by one process and by workers."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
        for name, flags in (("one", ()), ("two", ("--workers=2",))):
            with LiveServer(Path(self.mktemp()).absolute(), *flags) as server:
                self.assertEqual(self.greeted(server.port), {b"220": self.CLIENTS}, name)

    def closeAll(self, clients: dict[int, socket.socket]) -> None:
        """Hang up."""
        for client in clients.values():
            client.close()

    def greeted(self, port: int) -> dict[bytes, int]:
        """How many of the clients get which code."""
        clients: dict[int, socket.socket] = {}
        self.addCleanup(self.closeAll, clients)
        poll = select.poll()
        for _ in range(self.CLIENTS):
            client = socket.socket()
            clients[client.fileno()] = client
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            poll.register(client, select.POLLIN)
        found: dict[bytes, int] = {}
        left = len(clients)
        while left and (ready := poll.poll(PATIENCE * 1000)):
            for number, _ in ready:
                code = clients[number].recv(3)
                found[code] = found.get(code, 0) + 1
                poll.unregister(number)
                left -= 1
        self.closeAll(clients)  # what needs a descriptor next may not like a high number
        return found
