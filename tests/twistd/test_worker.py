"""A worker, in this process: what it takes over, how it serves, when it stops."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionDone, ReactorNotRunning
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.certificates import makeCertificate
from tests.test_service import Greeted, Memory
from twisted_smtpserver import Discard, tap
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.testing import makeFactory
from twisted_smtpserver.twistd import services as startup
from twisted_smtpserver.twistd import worker as workers
from twisted_smtpserver.twistd.layers import Group, Setting
from twisted_smtpserver.twistd.worker import (
    ENVIRONMENT,
    Handover,
    SharedCounts,
    WorkerService,
)


def settingsWith(**changes: Any) -> dict[str, Any]:
    settings = {"number": 1, "workers": 2, "sockets": [], "handed": {}, "saltKey": "ab" * 32}
    return settings | {"folder": "/begun", "groups": [], "path": None} | changes


def groupOf(*arguments: str) -> Group:
    """The settings that a supervisor has read from its command line."""
    settings: dict[str, Setting] = {}
    for argument in arguments:
        name, _, text = argument.removeprefix("--").partition("=")
        earlier = settings[name].texts if name in settings else ()
        settings[name] = Setting((*earlier, text), f"--{name}")
    return Group(settings)


class WorkerCase(SynchronousTestCase):
    """The control pipe, as a worker finds it."""

    pipe: Any

    def setUp(self) -> None:
        preparePipe(self)

    def counts(self) -> int:
        """A file for two workers to count in, with two factories each."""
        file = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(file.close)
        file.truncate(SharedCounts.size(2, 2))
        return file.fileno()


def preparePipe(case: Any) -> None:
    """Make the pipe, and let nothing of the test outlive it."""
    read, write = os.pipe()
    case.pipe = os.fdopen(write, "wb", buffering=0)
    case.addCleanup(case.pipe.close)
    case.addCleanup(os.close, read)
    case.patch(workers, "CONTROL", read)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        case.addCleanup(signal.signal, number, signal.getsignal(number))


class CountTests(WorkerCase):
    """Numbers that processes share."""

    def test_report(self) -> None:
        """What all have is what each has said last, for each factory; two see the same."""
        descriptor = self.counts()
        first, second = SharedCounts(descriptor, 2), SharedCounts(descriptor, 2)
        self.assertEqual(first.report(0, 0, 3), 3)
        self.assertEqual(second.report(0, 1, 2), 5)
        self.assertEqual(second.report(1, 1, 7), 7)
        self.assertEqual(first.report(0, 0, 0), 2)
        first.forget(1)
        self.assertEqual(first.report(0, 0, 1), 1)
        self.assertEqual(first.report(1, 0, 1), 1)

    def test_note_serving(self) -> None:
        """That a worker has served is remembered, whatever becomes of it, and isn't a count."""
        descriptor = self.counts()
        first, second = SharedCounts(descriptor, 2), SharedCounts(descriptor, 2)
        self.assertFalse(first.hasServed())
        second.noteServing(1)
        self.assertEqual(first.serving(), 1)
        first.noteServing(0)
        self.assertEqual(second.serving(), 2)
        for worker in (0, 1):
            self.assertEqual(first.report(1, worker, 0), 0)
            first.forget(worker)
            self.assertEqual(first.serving(), 1 - worker)
        self.assertTrue(first.hasServed())
        self.assertEqual(os.fstat(descriptor).st_size, SharedCounts.size(2, 2))


class HandoverTests(WorkerCase):
    """What the supervisor left on the pipe."""

    def test_nobody(self) -> None:
        """Without the variable this is no worker, and nothing is read."""
        self.assertNotIn(ENVIRONMENT, os.environ)
        self.assertIsNone(Handover.receive())

    def test_take(self) -> None:
        """The first line is taken, and no more of it; programs started from here see nothing."""
        self.patch(os, "environ", {ENVIRONMENT: "anything"})
        line = json.dumps(settingsWith(counts=self.counts(), handed={"key": "k"})).encode() + b"\n"
        self.pipe.write(line + b"later")
        os.set_inheritable(workers.CONTROL, True)
        taken = Handover.receive()
        assert taken is not None
        self.assertEqual((taken.number, taken.handed), (1, {"key": "k"}))
        self.assertEqual(taken.saltKey, b"\xab" * 32)
        self.assertEqual(os.read(workers.CONTROL, 100), b"later")
        self.assertFalse(os.get_inheritable(workers.CONTROL))
        self.assertIsNone(Handover.receive())

    def test_gone(self) -> None:
        """A supervisor that died before it said anything needs no worker."""
        self.patch(os, "environ", {ENVIRONMENT: "anything"})
        self.pipe.close()
        self.assertRaises(SystemExit, Handover.receive)

    def test_maxClients(self) -> None:
        """A limit for connections is one for all workers; where there is none, they don't mind."""
        counts = self.counts()
        taken = Handover(settingsWith(counts=counts))
        others = SharedCounts(counts, 2)
        limited, free = makeFactory(Discard(), maxClients=2), makeFactory(Discard())
        taken._sockets = [(0, socket.AF_INET), (0, socket.AF_INET)]
        taken.makeService([limited, free], Memory())
        others.report(0, 0, 1)
        others.report(1, 0, 9)
        self.assertEqual(limited.countAll(1), 2)
        self.assertEqual(others.report(0, 0, 0), 1)
        free.countAll(3)
        self.assertEqual(others.report(1, 0, 0), 0)


class FlagTests(WorkerCase):
    """The command line of a worker."""

    def parse(self, *arguments: str, **settings: Any) -> tap.Options:
        self.patch(os, "environ", {ENVIRONMENT: "anything"})
        groups = [groupOf("--workers=2", *arguments).asJSON()]
        line = json.dumps(settingsWith(counts=self.counts(), groups=groups, **settings))
        self.pipe.write(line.encode() + b"\n")
        options = tap.Options()
        options.parseOptions(["--workers=2", *arguments])
        return options

    def test_handed(self) -> None:
        """Files that root alone can read aren't read: the supervisor has done it."""
        handed = {
            "cert": {"/begun/nothing": "C", "/other": "C2"},
            "key": {"/begun/nothing": "K", "/other": "K2"},
            "passphrase-file": {"/begun/nothing": "P"},
        }
        options = self.parse(
            "--cert=nothing",
            "--key=nothing",
            "--passphrase-file=nothing",
            "--sni-options=b.test:/other:/other",
            "--size=5",
            handed=handed,
        )
        expected = {
            "cert": "C",
            "key": "K",
            "passphrase": "P",
            "sniOptions": {"b.test": {"cert": "C2", "key": "K2"}},
        }
        self.assertEqual({name: options.keywords[name] for name in expected}, expected)
        self.assertEqual(options.keywords["size"], 5)
        self.assertEqual(options.keywords["scramSaltKey"], b"\xab" * 32)

    def test_passwords(self) -> None:
        """A file of passwords is where the supervisor was told so, and isn't looked for yet."""
        for name, path in (("passwd", "/begun/passwd"), ("/etc/passwords", "/etc/passwords")):
            options = self.parse(f"--auth=file:{name}", "--secured")
            self.assertEqual(options["credCheckers"][0].filename, path)

    def test_service(self) -> None:
        """The service is a worker's, with the Maildir made at its start; not a supervisor."""
        options = self.parse("--maildir=here", sockets=[(0, socket.AF_UNIX)])
        made: Any = tap.makeService(options)
        preparation, service = made
        self.assertIsInstance(service, WorkerService)
        self.assertIsInstance(preparation, startup.MaildirService)


class StoppingTests(WorkerCase):
    """The end of the pipe."""

    def test_stops(self) -> None:
        """The reactor is stopped, once, behind what signals have asked for; those are ignored."""
        memory: Any = Memory()
        stopped: list[bool] = []
        memory.stop = lambda: stopped.append(True)
        service = WorkerService([], memory, lambda: None)
        service.startService()
        (control,) = memory.readers
        control.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        self.assertEqual(stopped, [])
        memory.advance(0)
        self.assertEqual(stopped, [True])
        service.stopService()
        service.supervisorGone()
        memory.advance(0)
        self.assertEqual(stopped, [True])

    def test_begins(self) -> None:
        """It says that it serves when it does."""
        counts = self.counts()
        service = Handover(settingsWith(counts=counts)).makeService([], Memory())
        service.privilegedStartService()
        self.assertFalse(SharedCounts(counts, 2).hasServed())
        service.startService()
        self.assertTrue(SharedCounts(counts, 2).hasServed())

    def test_stopping(self) -> None:
        """If a signal has stopped the reactor already that is no error."""

        def stop() -> None:
            raise ReactorNotRunning

        memory: Any = Memory()
        memory.stop = stop
        service = WorkerService([], memory, lambda: None)
        service.startService()
        service.supervisorGone()
        memory.advance(0)

    def test_configuration(self) -> None:
        """New configurations come in lines, whole or in parts; SIGHUP alone does nothing."""
        made = makeCertificate(None, ["mx.test"])
        factory = makeFactory(Discard(), key=made.keyPEM, cert=made.certPEM)
        memory: Any = Memory()
        service = WorkerService([("unix:nowhere", factory)], memory, lambda: None)
        service.startService()
        before = factory.contextFactory
        self.assertFalse(self.successResultOf(service.reloadCertificates()))
        self.assertIs(factory.contextFactory, before)
        (control,) = memory.readers
        self.assertEqual(control.fileno(), workers.CONTROL)
        self.pipe.write(b"{}\n")
        control.doRead()  # nobody minds: the service isn't twistd's
        received: list[object] = []
        service.onConfiguration = received.append
        line = json.dumps({"handed": {}, "groups": []}).encode() + b"\n"
        self.pipe.write(line[:9])
        control.doRead()
        self.assertEqual(received, [])
        self.pipe.write(line[9:])
        control.doRead()
        self.assertEqual(received, [{"handed": {}, "groups": []}])
        service.onTranscripts = received.append
        self.pipe.write(b'{"transcripts": ["rule"]}\n')
        control.doRead()
        self.assertEqual(received[1:], [["rule"]])
        self.assertIn(control, memory.readers)


class Adopting(Memory):
    """A reactor that notes which connections it should adopt."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[Any] = []

    def adoptStreamConnection(self, *adopted: Any) -> None:
        self.adopted.append(adopted)


class UnixTests(WorkerCase):
    """A unix socket that isn't ours alone."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = tempfile.TemporaryDirectory()  # a unix socket's path mustn't be long
        self.addCleanup(self.folder.cleanup)
        self.path = str(Path(self.folder.name) / "socket")
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(self.path)
        self.listener.listen()
        self.memory = Adopting()
        self.adopted = self.memory.adopted
        self.factory = makeFactory(Discard())
        endpoint = workers._UnixEndpoint(self.memory, os.dup(self.listener.fileno()))
        self.port: Any = self.successResultOf(endpoint.listen(self.factory))

    def test_accept(self) -> None:
        """Connections are handed to the reactor; that somebody else was faster is no error."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            self.port.doRead()
        ((descriptor, family, factory),) = self.adopted
        self.assertEqual((family, factory), (socket.AF_UNIX, self.factory))
        self.assertGreater(descriptor, 2)
        self.port.doRead()
        self.assertEqual(len(self.adopted), 1)
        self.port.stopListening()

    def test_path(self) -> None:
        """In the end the path is still there, and the others accept."""
        self.assertEqual(self.port.getHost(), UNIXAddress(self.path))
        self.assertEqual(self.memory.readers, {self.port})
        self.assertEqual(self.factory.numPorts, 1)
        self.successResultOf(self.port.stopListening())
        self.assertEqual(self.memory.readers, set())
        self.assertEqual(self.factory.numPorts, 0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            self.listener.accept()[0].close()

    def starve(self) -> None:
        """Let the next connection meet a lack of descriptors."""

        def accept() -> None:
            raise OSError(errno.EMFILE, "too many")

        real = self.port._socket
        self.addCleanup(real.close)
        self.port._socket = Broken(real, accept)
        with capturedLogs() as events:
            self.port.doRead()
        self.assertIn("Can't accept", events[-1]["log_format"])
        self.assertEqual(self.memory.readers, set())

    def test_descriptors(self) -> None:
        """Without descriptors it rests for a second."""
        self.starve()
        self.memory.advance(1)
        self.assertEqual(self.memory.readers, {self.port})
        self.port.stopListening()

    def test_descriptorsAtTheEnd(self) -> None:
        """Having rested, it doesn't go on if it was stopped meanwhile."""
        self.starve()
        self.port.stopListening()
        self.memory.advance(1)
        self.assertEqual(self.memory.readers, set())


class Broken:
    """A socket that can't accept."""

    def __init__(self, real: socket.socket, accept: Any) -> None:
        self.accept = accept
        self.fileno = real.fileno
        self.close = real.close


class SocketTests(TestCase):
    """Over real sockets."""

    pipe: Any

    def setUp(self) -> None:
        preparePipe(self)

    async def test_serves(self) -> None:
        """A worker serves the sockets it was handed, until the pipe is closed."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "socket")
        listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        listeners[1].bind(path)
        listeners[1].listen()
        counts = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(counts.close)
        for each in listeners:
            self.addCleanup(each.close)
        counts.truncate(SharedCounts.size(1, 2))
        taken = Handover(
            settingsWith(
                counts=counts.fileno(),
                sockets=[(os.dup(each.fileno()), each.family) for each in listeners],
            )
        )
        factory = SMTPServerFactory(Discard(), name="mx.test", disableReverseLookup=True)
        service: Any = taken.makeService([factory, factory])
        stopped: Deferred[None] = Deferred()
        self.patch(service, "_stopReactor", lambda: stopped.callback(None))
        service.startService()
        for endpoint in (
            TCP4ClientEndpoint(reactor, "127.0.0.1", listeners[0].getsockname()[1]),
            UNIXClientEndpoint(reactor, path),
        ):
            client: Any = await endpoint.connect(Factory.forProtocol(Greeted))
            self.assertEqual((await client.waiting)[:11], b"220 mx.test")
            client.transport.loseConnection()
        self.pipe.close()
        await stopped
        await service.stopService()
