"""--transcript and SIGUSR2: the file, one process, workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import SMTPService
from twisted_smtpserver.log.transcript import Rule
from twisted_smtpserver.testing import connect, makeFactory
from twisted_smtpserver.twistd.supervisor import Supervisor
from twisted_smtpserver.twistd.transcript import (
    MAX_FILE,
    Listening,
    TranscriptFile,
    asJSON,
    transcriptServices,
)
from twisted_smtpserver.twistd.worker import WorkerService


class Reactor(Clock):
    """A reactor that calls from threads at once."""

    running = False

    def callFromThread(self, call: Any) -> None:
        call()


class Config(dict[str, Any]):
    """A command line."""

    handover: Any = None


class TranscriptCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.rules, self.log = self.folder / "rules", self.folder / "log"


class FileTests(TranscriptCase):
    def test_signal(self) -> None:
        """At the signal the file is read; at the end all is over, and the signal kills nobody."""
        used: list[Any] = []
        service = TranscriptFile(str(self.rules), used.append, Reactor())
        service.startService()
        self.assertEqual(used, [])
        self.rules.write_text(f"192.0.2.1 {self.log} 5\n")
        signal.raise_signal(signal.SIGUSR2)
        [[rule]] = used
        self.assertEqual((rule.who, rule.path), ("192.0.2.1", str(self.log)))
        service.stopService()
        signal.raise_signal(signal.SIGUSR2)
        service.read()
        self.assertEqual(used[1:], [[]])

    def test_wrong(self) -> None:
        """Whatever is wrong with the file is told in one line, and nothing changes."""
        used: list[Any] = []
        service = TranscriptFile(str(self.rules), used.append, Reactor())
        service.startService()
        self.addCleanup(service.stopService)
        begin = f"--transcript: {self.rules}"
        for content, said in (
            (None, ": No such file or directory"),
            (b"nonsense", ": line 1: write an address or a network, the whole path"),
            (b"\xff", ": it isn't UTF-8"),
            (b" " * (MAX_FILE + 1), ": it has more than 65536 octets"),
        ):
            if content is not None:
                self.rules.write_bytes(content)
            with capturedLogs() as events:
                service.read()
            self.assertIn(begin + said, str(formatEvent(events[0])))
        self.assertEqual(used, [])
        self.rules.write_text("# nobody\n")
        with capturedLogs() as events:
            service.read()
        self.assertEqual(formatEvent(events[0]), f"{begin} asks for no transcripts")
        self.assertEqual(used, [[]])


class ServerTests(TranscriptCase):
    def test_listening(self) -> None:
        """Connections that are open, and new ones, as long as there is a transcript."""
        reactor = Reactor()
        factory = makeFactory(reactor=reactor, logger=False)
        before = connect(factory)
        listening = Listening(SMTPService([("tcp:25", factory)], reactor), reactor)
        listening.useHanded(asJSON([Rule("192.0.2.1", str(self.log), 4e9)]))
        after = connect(factory)
        for client in (before, after):
            client.say("NOOP")
            self.assertIn(f"{client.session.id} C: NOOP", self.log.read_text())
        listening.use([])
        self.assertIsNone(factory.listener)

    def test_services(self) -> None:
        """One process reads the file; so does a supervisor, for its workers, which don't."""
        factory = makeFactory()
        server = SMTPService([("tcp:25", factory)], Reactor())
        self.assertEqual(transcriptServices(Config(), server), [])
        config = Config(transcript="rules")
        [service] = transcriptServices(config, server)
        assert isinstance(service, TranscriptFile)
        self.assertEqual(service._path, os.path.abspath("rules"))
        supervisor = Supervisor([("tcp:25", factory)], 1, ["x"], Reactor())
        self.addCleanup(supervisor._countsFile.close)
        [service] = transcriptServices(config, supervisor)
        assert isinstance(service, TranscriptFile)
        service._use([Rule("192.0.2.1", "/a", 5.0)])
        told = {"transcripts": [{"who": "192.0.2.1", "path": "/a", "until": 5.0}]}
        self.assertEqual(supervisor.transcripts, told)
        worker = WorkerService([("tcp:25", factory)], Reactor(), lambda: None)
        config.handover = type("Handover", (), told)
        self.assertEqual(transcriptServices(config, worker), [])
        self.assertEqual(signal.getsignal(signal.SIGUSR2), signal.SIG_IGN)
        worker.onTranscripts([])
