"""The supervisor, without processes: what it hands down, when it starts again, how it stops."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated, ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, eventAsText, formatEvent
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import Discard, tap
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.testing import makeFactory, runInline
from twisted_smtpserver.tls.certificates import readFiles
from twisted_smtpserver.twistd.supervisor import (
    FIRST_START_SECONDS,
    KILL_SECONDS,
    MAX_DELAY,
    STABLE_SECONDS,
    Supervisor,
    makeCommand,
)
from twisted_smtpserver.twistd.worker import CONTROL, ENVIRONMENT


class Port:
    """A port that doesn't read anymore once it was told so."""

    addressFamily = socket.AF_INET

    def __init__(self, number: int) -> None:
        self.number = number
        self.isReading = True

    def getHost(self) -> str:
        return "a port"

    def fileno(self) -> int:
        return self.number

    def stopReading(self) -> None:
        self.isReading = False

    def stopListening(self) -> Deferred[None]:
        return succeed(None)


class Endpoint:
    def __init__(self, port: Port) -> None:
        self.port = port

    def listen(self, factory: object) -> Deferred[Any]:
        return succeed(self.port)


class Process:
    """The transport of a process that there isn't."""

    def __init__(
        self, pid: int, protocol: Any, command: list[str], details: dict[str, Any]
    ) -> None:
        self.pid = pid
        self.protocol = protocol
        self.command = command
        self.details = details
        self.written: list[Any] = []
        self.closed: list[int] = []
        self.signals: list[str] = []
        self.isGone = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        if self.isGone:
            raise KeyError(descriptor)
        self.written.append((descriptor, json.loads(data)))

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def end(self, status: int | None = None, number: int | None = None) -> None:
        """Let it die."""
        error = ProcessTerminated(status, number) if status or number else ProcessDone(0)
        self.protocol.processExited(Failure(error))


class Machine(MemoryReactorClock):
    """A reactor that only notes what processes it should start."""

    def __init__(self) -> None:
        super().__init__()
        self.hasStopped = False  # older Twisteds begin with True
        self.processes: list[Process] = []
        self.problem: OSError | None = None

    def spawnProcess(
        self, protocol: Any, path: str, command: list[str], environment: Any, **details: Any
    ) -> None:
        if self.problem is not None:
            raise self.problem
        assert path == command[0]
        details["environment"] = environment
        process = Process(100 + len(self.processes), protocol, command, details)
        self.processes.append(process)
        protocol.makeConnection(process)


class SupervisorCase(SynchronousTestCase):
    """Each test has a machine, with a folder for certificates."""

    def setUp(self) -> None:
        # What a test's server does to it mustn't outlive it.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        self.machine = Machine()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def make(self, count: int = 2, **options: Any) -> Supervisor:
        self.ports = [Port(50), Port(51)]
        options |= readFiles(options)
        first, second = makeFactory(Discard(), **options), makeFactory(Discard(), **options)
        made = Supervisor(
            [(Endpoint(self.ports[0]), first), (Endpoint(self.ports[1]), second)],  # type: ignore[list-item]
            count,
            ["python", "worker"],
            self.machine,
            secrets={"passphrase-file": {"p": "secret"}},
        )
        self.addCleanup(made._countsFile.close)
        return made

    def start(self, count: int = 2, **options: Any) -> Supervisor:
        made = self.make(count, **options)
        made.startService()
        return made

    def writeCertificate(self) -> dict[str, Any]:
        made = makeCertificate(None, ["mx.test"])
        paths = {"cert": self.folder / "cert", "key": self.folder / "key"}
        paths["cert"].write_bytes(made.certPEM)
        paths["key"].write_bytes(made.keyPEM)
        return {name: str(path) for name, path in paths.items()}


class StartTests(SupervisorCase):
    """What a worker gets."""

    def test_sockets(self) -> None:
        """The sockets are handed down, and nothing is accepted here."""
        made = self.start()
        self.assertEqual([port.isReading for port in self.ports], [False, False])
        self.assertEqual(len(self.machine.processes), 2)
        for number, process in enumerate(self.machine.processes):
            files = dict(process.details["childFDs"])
            self.assertIsInstance(files.pop(0), int)
            counts = made.countsDescriptor()
            self.assertEqual(files, {1: "r", 2: "r", CONTROL: "w", 4: counts, 5: 50, 6: 51})
            ((descriptor, settings),) = process.written
            self.assertEqual(descriptor, CONTROL)
            self.assertEqual(settings["sockets"], [[5, socket.AF_INET], [6, socket.AF_INET]])
            self.assertEqual((settings["number"], settings["workers"]), (number, 2))
            self.assertEqual(settings["counts"], 4)
            self.assertEqual(settings["folder"], os.getcwd())

    def test_serving(self) -> None:
        """It serves when all workers do, and says how many do."""
        made = self.start()
        said = [(made.isServing, made.describe())]
        for worker in (1, 0):
            made.counts.noteServing(worker)
            said.append((made.isServing, made.describe()))
        self.machine.processes[0].end(None, signal.SIGKILL)
        said.append((made.isServing, made.describe()))
        self.assertEqual(
            said,
            [
                (False, "0 of 2 workers serve"),
                (False, "1 of 2 workers serve"),
                (True, "2 of 2 workers serve"),
                (False, "1 of 2 workers serve"),
            ],
        )

    def test_command(self) -> None:
        """It is the command, with our modules' places, and one key for all workers' salts."""
        self.start()
        first, second = self.machine.processes
        self.assertEqual(first.command, ["python", "worker"])
        self.assertEqual(first.details["environment"][ENVIRONMENT], os.pathsep.join(sys.path))
        keys = {process.written[0][1]["saltKey"] for process in (first, second)}
        self.assertEqual([len(key) for key in keys], [64])

    def test_makeCommand(self) -> None:
        """The command is this Python's twistd, with the same flags, and the same reactor."""
        command = makeCommand(["--port=25"], None, sendsLines=False)
        self.assertEqual(command[0], sys.executable)
        self.assertEqual(command[-2:], ["smtpserver", "--port=25"])
        observer = "--logger=twisted_smtpserver.twistd.workerlog.makeLogObserver"
        self.assertIn(observer, command)
        command = makeCommand([], "poll", sendsLines=True)
        self.assertEqual(command[-3:], ["--logfile=-", "--reactor=poll", "smtpserver"])
        self.assertNotIn(observer, command)

    def test_files(self) -> None:
        """Keys and certificates are handed down as they were when root could read them."""
        paths = self.writeCertificate()
        pem = Path(paths["cert"]).read_text()
        key = Path(paths["key"]).read_text()
        other = self.folder / "other"
        other.write_text(pem)
        self.start(
            **paths,
            ca=str(other),
            sniOptions={"b.test": {"cert": str(other), "key": paths["key"]}},
        )
        handed = {
            "cert": {paths["cert"]: pem, str(other): pem},
            "key": {paths["key"]: key},
            "ca": {str(other): pem},
            "passphrase-file": {"p": "secret"},
        }
        self.assertEqual(self.machine.processes[0].written[0][1]["handed"], handed)


class FirstDeathTests(SupervisorCase):
    """Workers that die before any has served."""

    def test_byItself(self) -> None:
        """If one ends by itself all ends, a moment later; what it says until then is logged."""
        for status in (0, 1):
            made = self.start()
            with capturedLogs() as events:
                self.machine.processes[-1].end(status)
                self.machine.processes[-1].protocol.childDataReceived(2, b"no disk\n")
                self.machine.advance(FIRST_START_SECONDS - 0.1)
                self.assertFalse(made.hasFailed or self.machine.hasStopped)
                self.machine.advance(0.1)
            self.assertTrue(made.hasFailed and self.machine.hasStopped)
            self.assertEqual(
                [event["log_format"].format(**event).partition(" (pid")[0] for event in events],
                [
                    "Worker 2",
                    "Worker 2 printed: no disk",
                    "No worker could start, so twistd stops; worker 2 logged the reason above",
                ],
            )
            self.machine.hasStopped = False
            self.machine.processes[-2].end()
            self.successResultOf(made.stopService())
            self.assertEqual(self.machine.getDelayedCalls(), [])

    def test_noPython(self) -> None:
        """Nor is it any better later if Python isn't there, or can't be run by that user."""
        for number in (errno.EACCES, errno.ENOENT):
            self.machine.problem = OSError(number, "no Python")
            with capturedLogs() as events:
                made = self.start(1)
            self.assertIn("no Python; no worker has served yet", eventAsText(events[-1]))
            self.machine.advance(FIRST_START_SECONDS)
            self.assertTrue(made.hasFailed)
            self.successResultOf(made.stopService())

    def test_twice(self) -> None:
        """A second one, or a signal that has stopped the reactor, is no error."""

        def stop() -> None:
            raise ReactorNotRunning

        made = self.start()
        self.machine.stop = stop  # type: ignore[method-assign]
        for process in self.machine.processes:
            process.end(1)
        self.machine.advance(FIRST_START_SECONDS)
        self.assertTrue(made.hasFailed)

    def test_signal(self) -> None:
        """One that was killed is started again, and later than the last time."""
        made = self.start(1)
        for delay in (1, 2):
            self.machine.processes[-1].end(None, signal.SIGKILL)
            self.machine.advance(delay)
        self.assertEqual(len(self.machine.processes), 3)
        self.assertFalse(made.hasFailed)

    def test_another(self) -> None:
        """If another one serves in the meantime it was bad luck, and it is started again."""
        made = self.start()
        self.machine.processes[0].end(1)
        made.counts.noteServing(0)
        self.machine.advance(FIRST_START_SECONDS)
        self.assertFalse(made.hasFailed)
        self.assertEqual(len(self.machine.processes), 3)

    def test_stopping(self) -> None:
        """SIGTERM in the meantime is the end, and in order."""
        made = self.start(1)
        self.machine.processes[0].end(1)
        self.successResultOf(made.stopService())
        self.assertEqual(self.machine.getDelayedCalls(), [])
        made = self.start(1)
        stopped = made.stopService()
        self.machine.processes[1].end(1)
        self.successResultOf(stopped)
        self.assertFalse(made.hasFailed)


class DeathTests(SupervisorCase):
    """Workers that die when they, or others, have served."""

    def start(self, count: int = 2, **options: Any) -> Supervisor:
        made = super().start(count, **options)
        made.counts.noteServing(0)
        return made

    def died(self, process: Process, *how: Any) -> str:
        """What is logged about it."""
        with capturedLogs() as events:
            process.end(*how)
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.error)
        text: str = event["log_format"].format(**event)
        return text

    def test_how(self) -> None:
        """The log says which, its pid, and how it died."""
        self.start(4)
        again = "starting it again in 1 s"
        first, second, third, fourth = self.machine.processes
        self.assertEqual(self.died(first), f"Worker 1 (pid 100) ended; {again}")
        self.assertEqual(self.died(second, 3), f"Worker 2 (pid 101) ended with status 3; {again}")
        self.assertEqual(
            self.died(third, None, signal.SIGKILL),
            f"Worker 3 (pid 102) was killed by SIGKILL; {again}",
        )
        self.assertEqual(
            self.died(fourth, None, 200), f"Worker 4 (pid 103) was killed by signal 200; {again}"
        )

    def test_delays(self) -> None:
        """One that dies again and again is waited with ever longer, up to a bound."""
        self.start(1)
        for delay in (1, 2, 4, 8, 16, 32, MAX_DELAY, MAX_DELAY):
            count = len(self.machine.processes)
            self.machine.processes[-1].end(1)
            self.machine.advance(delay - 0.5)
            self.assertEqual(len(self.machine.processes), count)
            self.machine.advance(0.5)
            self.assertEqual(len(self.machine.processes), count + 1)

    def test_steady(self) -> None:
        """One that was in order is started again at once, and its sins are forgotten."""
        self.start(1)
        self.machine.processes[-1].end(1)
        self.machine.advance(1)
        self.machine.advance(STABLE_SECONDS)
        self.assertIn("again in 0 s", self.died(self.machine.processes[-1], 1))
        self.machine.advance(0)
        self.assertEqual(len(self.machine.processes), 3)
        self.assertIn("again in 1 s", self.died(self.machine.processes[-1], 1))

    def test_noProcess(self) -> None:
        """If there can be no process at the moment, there is one later."""
        self.machine.problem = OSError(errno.EAGAIN, "no more")
        with capturedLogs() as events:
            self.start(1)
        self.assertIn("couldn't be started", events[-1]["how"])
        self.machine.problem = None
        self.machine.advance(1)
        self.assertEqual(len(self.machine.processes), 1)

    def test_counts(self) -> None:
        """A dead worker's connections count no more."""
        made = self.start()
        made.counts.report(0, 0, 3)
        made.counts.report(0, 1, 2)
        made.counts.report(1, 0, 9)
        self.machine.processes[0].end(1)
        self.assertEqual(made.counts.report(0, 1, 2), 2)
        self.assertEqual(made.counts.report(1, 1, 0), 0)


class StopTests(SupervisorCase):
    """The end."""

    def test_inOrder(self) -> None:
        """The workers are told, the end is awaited, and nothing is started again."""
        made = self.start()
        stopped = made.stopService()
        first, second = self.machine.processes
        self.assertEqual((first.closed, second.closed), ([CONTROL], [CONTROL]))
        first.end()
        self.assertNoResult(stopped)
        second.end()
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.machine.getDelayedCalls(), [])
        self.assertEqual(len(self.machine.processes), 2)

    def test_stuck(self) -> None:
        """One that doesn't end is killed, later than it should have closed its connections."""
        made = self.start(1, closeTimeout=7)
        stopped = made.stopService()
        (process,) = self.machine.processes
        self.machine.advance(6 + KILL_SECONDS)
        self.assertEqual(process.signals, [])
        self.machine.advance(1)
        self.assertEqual(process.signals, ["KILL"])
        process.end(None, signal.SIGKILL)
        self.successResultOf(stopped)

    def test_dead(self) -> None:
        """One that was to be started again isn't."""
        made = self.start(1)
        made.counts.noteServing(0)
        self.machine.processes[0].end(1)
        self.successResultOf(made.stopService())
        self.machine.advance(MAX_DELAY)
        self.assertEqual(len(self.machine.processes), 1)


class ReloadTests(SupervisorCase):
    """Reading certificates again."""

    def test_good(self) -> None:
        """Workers get the new ones, those that are there and those that come."""
        made = self.start(2, **self.writeCertificate())
        first, second = self.machine.processes
        first.isGone = True  # dead, and nobody knows yet
        self.writeCertificate()
        self.assertTrue(self.successResultOf(made.reloadCertificates()))
        new: dict[str, Any] = {"handed": self.handed(), "groups": [], "path": None}
        self.assertEqual(second.written[1:], [(CONTROL, new)])
        first.end(None, signal.SIGKILL)
        self.assertTrue(self.successResultOf(made.reloadCertificates()))
        self.machine.advance(1)
        self.assertEqual(self.machine.processes[-1].written[0][1]["handed"], new["handed"])

    def handed(self) -> dict[str, Any]:
        """What the workers should have from the files as they are."""
        paths = {name: self.folder / name for name in ("cert", "key")}
        certificates = {name: {str(path): path.read_text()} for name, path in paths.items()}
        return certificates | {"passphrase-file": {"p": "secret"}}

    def test_bad(self) -> None:
        """Nobody gets what is no good."""
        made = self.start(1, **self.writeCertificate())
        (self.folder / "key").write_text("nothing")
        self.assertFalse(self.successResultOf(made.reloadCertificates()))
        self.assertEqual(len(self.machine.processes[0].written), 1)

    def test_oneOfTwo(self) -> None:
        """Of listeners with files of their own, those whose files are good have the new ones."""
        mine, other = self.writeCertificate(), {}
        for name, path in mine.items():
            other[name] = f"{path}-other"
            Path(other[name]).write_bytes(Path(path).read_bytes())
        factories = [makeFactory(Discard(), **readFiles(files)) for files in (mine, other)]
        where: Any = [(Endpoint(Port(50)), factory) for factory in factories]
        made = Supervisor(where, 1, ["python", "worker"], self.machine)
        self.addCleanup(made._countsFile.close)
        made.startService()
        self.writeCertificate()
        Path(other["cert"]).write_text("nothing")
        with capturedLogs() as events:
            self.assertFalse(self.successResultOf(made.reloadCertificates()))
        said = [formatEvent(event) for event in events]
        self.assertTrue(said[0].startswith("Keeping the old certificates: cert ("), said)
        self.assertEqual(said[1], "The certificates were read again")
        ((_, _), (_, handed)) = self.machine.processes[0].written
        self.assertEqual(handed["handed"]["cert"][mine["cert"]], Path(mine["cert"]).read_text())
        self.assertNotEqual(handed["handed"]["cert"][other["cert"]], "nothing")

    def test_gone(self) -> None:
        """Nor what can't be read any more; the log names it."""
        made = self.start(1, **self.writeCertificate())
        before = made.configuration
        (self.folder / "cert").unlink()
        with capturedLogs() as events:
            self.assertFalse(self.successResultOf(made.reloadCertificates()))
        path = str(self.folder / "cert")
        reason = f"cert ({path!r}): can't be read: No such file or directory"
        self.assertEqual(formatEvent(events[-1]), f"Keeping the old certificates: {reason}")
        self.assertIs(made.configuration, before)
        self.assertEqual(len(self.machine.processes[0].written), 1)

    def test_octets(self) -> None:
        """
        Workers get the very octets that were checked, at the start and later, though the files are
        others already: a renewal writes the certificate first, and then its key.
        """
        old = self.writeCertificate()
        made = self.make(1, **old)
        pair = self.handed()
        self.writeCertificate()
        made.startService()
        (worker,) = self.machine.processes
        self.assertEqual(worker.written[0][1]["handed"], pair)
        checked: list[Any] = []

        def check(function: Any, *arguments: Any) -> Deferred[Any]:
            result = runInline(function, *arguments)
            checked.append({"handed": self.handed(), "groups": [], "path": None})
            self.writeCertificate()
            return result

        for factory in made.factories():
            factory.runInThread = check
        self.assertTrue(self.successResultOf(made.reloadCertificates()))
        self.assertEqual([written for _, written in worker.written[1:]], checked)

    def test_oneAtATime(self) -> None:
        """A second SIGHUP waits until the first has had its effect: the last files win."""
        made = self.start(1, **self.writeCertificate())
        (worker,) = self.machine.processes
        threads: list[Any] = []

        def later(function: Any, *arguments: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            threads.append(lambda: runInline(function, *arguments).chainDeferred(done))
            return done

        for factory in made.factories():
            factory.runInThread = later
        first, second = made.reloadCertificates(), made.reloadCertificates()
        self.assertEqual((len(threads), len(worker.written)), (1, 1))
        threads.pop()()
        self.assertTrue(self.successResultOf(first))
        self.assertNoResult(second)
        self.writeCertificate()
        threads.pop()()
        self.assertTrue(self.successResultOf(second))
        new: dict[str, Any] = {"handed": self.handed(), "groups": [], "path": None}
        self.assertEqual(worker.written[-1], (CONTROL, new))


class LogTests(SupervisorCase):
    """What workers say."""

    def test_outputs(self) -> None:
        """Both of a worker's outputs are logged, each by itself; the pipe for settings isn't."""
        self.start(2)
        protocol = self.machine.processes[1].protocol
        with capturedLogs() as events:
            protocol.childDataReceived(1, b"on")
            protocol.childDataReceived(2, b"two\n")
            for descriptor in (1, 2, CONTROL):
                protocol.childConnectionLost(descriptor)
        found = [event["log_format"].format(**event) for event in events]
        self.assertEqual(found, ["Worker 2 printed: two", "Worker 2 printed: on"])


class FlagTests(SynchronousTestCase):
    """``--workers``."""

    def parse(self, *arguments: str) -> tap.Options:
        parsed = tap.Options()
        parsed.parseOptions(arguments)
        return parsed

    def make(self, parsed: tap.Options) -> Any:
        """The service that listens."""
        made: Any = tap.makeService(parsed)
        *_, service = made
        if isinstance(service, Supervisor):
            self.addCleanup(service._countsFile.close)
        return service

    def refused(self, *arguments: str) -> str:
        return str(self.assertRaises(usage.UsageError, self.parse, *arguments))

    def test_one(self) -> None:
        """One worker is none: the process serves itself."""
        for arguments in ((), ("--workers=1",)):
            self.assertIs(type(self.make(self.parse(*arguments))), SMTPService)

    def test_several(self) -> None:
        """More are started with the same flags, and the same reactor."""
        flags = ("--workers=3", "--port=0", "--listen=unix:here", "--listen-lmtp=tcp6:0")
        made = self.make(self.parse(*flags))
        self.assertIsInstance(made, Supervisor)
        self.assertEqual(made.count, 3)
        self.assertEqual(made.command[-4:], list(flags))
        parsed = self.parse(*flags)
        parsed.parent = usage.Options()
        parsed.parent["reactor"] = "poll"
        self.assertIn("--reactor=poll", self.make(parsed).command)

    def test_number(self) -> None:
        """It is a number of processes that makes sense."""
        for wrong in ("0", "513", "-1", "two"):
            self.assertIn("--workers: ", self.refused(f"--workers={wrong}"))

    def test_endpoints(self) -> None:
        """An endpoint that can't be shared is named."""
        self.assertEqual(
            self.refused("--workers=2", "--listen-lmtp=haproxy:tcp:25"),
            "--listen-lmtp: haproxy: endpoints can't be shared by --workers, only tcp, tcp6, unix, "
            "systemd",
        )

    def test_chroot(self) -> None:
        """There is no Python inside of a chroot."""
        parsed = tap.Options()
        parsed.parent = usage.Options()
        parsed.parent["chroot"] = "/nowhere"
        error = self.assertRaises(SystemExit, parsed.parseOptions, ["--workers=2"])
        self.assertIn("--workers: can't be combined with twistd's --chroot", str(error))
        parsed = tap.Options()
        parsed.parent = usage.Options()
        parsed.parent["chroot"] = None
        parsed.parseOptions(["--workers=2"])

    def test_unreadable(self) -> None:
        """What can't be handed down is an error in one line."""
        parsed = self.parse("--workers=2", "--cert=nowhere", "--key=nowhere")
        error = self.assertRaises(SystemExit, tap.makeService, parsed)
        reason = (
            f"--cert ({os.path.abspath('nowhere')!r}): can't be read: No such file or directory"
        )
        self.assertEqual(str(error), f"twistd smtpserver: {reason}")

        def noSpace() -> None:
            raise OSError("no space")

        self.patch(tempfile, "TemporaryFile", noSpace)
        error = self.assertRaises(SystemExit, tap.makeService, self.parse("--workers=2"))
        self.assertEqual(str(error), "twistd smtpserver: workers: no space")
