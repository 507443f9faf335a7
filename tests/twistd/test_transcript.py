"""--transcript and SIGUSR2: the file, one process, workers."""

from __future__ import annotations

import os
import signal
import smtplib
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import until
from tests.twistd.test_workers_live import Server
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
        self.assertEqual(formatEvent(events[0]), f"{begin} asks for none")
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


class LiveTests(TranscriptCase):
    def talk(self, client: smtplib.SMTP) -> None:
        """Say something until it is in the transcript."""

        def heard() -> bool:
            client.noop()
            return self.log.exists() and "C: NOOP" in self.log.read_text()

        until(heard, "it is written down")

    def test_oneProcess(self) -> None:
        """A connection that is open already is in it, from the signal on; its login isn't."""
        (self.folder / "passwd").write_text("joe:open sesame\n")
        server = LiveServer(
            self.folder,
            *("--transcript=rules", "--auth=file:passwd", "--allow-insecure-auth", "--discard"),
        )
        self.addCleanup(server.kill)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            self.rules.write_text(f"127.0.0.0/8 {self.log}\n")
            server.process.send_signal(signal.SIGUSR2)
            server.awaitLog("begins, for 30 minutes")
            self.talk(client)
            client.login("joe", "open sesame")
            client.sendmail("joe@x.test", ["ann@y.test"], "Subject: no\r\n\r\n")
        until(lambda: "-- closed: quit" in self.log.read_text(), "the end is written down")
        said = server.stop()
        self.assertIn("ends: it isn't asked for any more", said)
        text = self.log.read_text()
        self.assertIn("C: AUTH PLAIN ***", text)
        self.assertIn("C: mail FROM:<joe@x.test>", text)
        self.assertNotIn("Subject", text)
        self.assertEqual(said.count("Traceback"), 0)

    def test_workers(self) -> None:
        """All workers write it, those that start later, too."""
        server = Server(self.folder, "--discard", "--transcript=rules")
        self.addCleanup(server.kill)
        self.rules.write_text(f"127.0.0.1 {self.log}\n")
        server.process.send_signal(signal.SIGUSR2)
        server.awaitCount("begins, for 30 minutes", 2)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            self.talk(client)
        server.killWorker(1)
        server.awaitCount("begins, for ", 3)
        os.kill(server.pids()[2], signal.SIGUSR2)
        with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
            client.ehlo("again.example")
        until(lambda: "C: ehlo again.example" in self.log.read_text(), "it is written down")
        said = server.stop()
        self.assertNotIn("killed by SIGUSR2", said)
