"""Tests for the log that is written in batches."""

from __future__ import annotations

import io
import signal
import smtplib
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import call, patch

from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEventAsClassicLogText
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver import SMTPHandler
from twisted_smtpserver.log import batches
from twisted_smtpserver.log.batches import (
    DELAY,
    MAX_KEPT_LINES,
    MAX_LINES,
    MAX_TEXT,
    BatchedLogObserver,
    ClassicText,
)
from twisted_smtpserver.log.files import ROTATE_SIZE, LogFile
from twisted_smtpserver.log.formats import JSONText


class Reactor(Clock):
    """A reactor of which the log needs little."""

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.atEnd: list[Any] = []
        self.fromThreads: list[Any] = []

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> None:
        assert (phase, event) == ("after", "shutdown")
        self.atEnd.append(call)

    def callFromThread(self, call: Any) -> None:
        self.fromThreads.append(call)


class File(io.BytesIO):
    """Counts what is written to it, and fails if it is told to."""

    error: OSError | None = None
    writes = 0

    def write(self, octets: Any) -> int:
        if self.error is not None:
            raise self.error
        self.writes += 1
        return super().write(octets)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().decode().splitlines()


class BatchTests(SynchronousTestCase):
    """When lines are written."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.file = File()
        self.observer = BatchedLogObserver(self.file, self.format, self.reactor)
        self.patch(threadable, "ioThread", threadable.getThreadID())

    def format(self, event: Any) -> str | None:
        text = event.get("text")
        return f"{text}\n" if text else None

    def say(self, *texts: str, level: Any = LogLevel.info) -> None:
        for text in texts:
            self.observer({"text": text, "log_level": level})

    def test_together(self) -> None:
        """Lines are written together, after a while."""
        self.say("a", "", "b")
        self.reactor.advance(DELAY / 2)
        self.say("c")
        self.assertEqual(self.file.lines, [])
        self.reactor.advance(DELAY / 2)
        self.assertEqual((self.file.lines, self.file.writes), (["a", "b", "c"], 1))
        self.reactor.advance(DELAY)
        self.assertEqual(self.file.writes, 1)
        self.say("d")
        self.reactor.advance(DELAY)
        self.assertEqual(self.file.lines, ["a", "b", "c", "d"])

    def test_errors(self) -> None:
        """An error is written at once, with what came before it."""
        self.say("a")
        self.say("b", level=LogLevel.error)
        self.assertEqual(self.file.lines, ["a", "b"])
        self.reactor.advance(DELAY)
        self.assertEqual(self.file.writes, 1)

    def test_many(self) -> None:
        """No more than so many lines wait."""
        self.say(*"x" * (MAX_LINES + 5))
        self.assertEqual(len(self.file.lines), MAX_LINES)

    def test_withoutReactor(self) -> None:
        """While the reactor doesn't run, nothing waits: nobody would come back to it."""
        self.reactor.running = False
        self.say("a", "b")
        self.assertEqual(self.file.lines, ["a", "b"])

    def test_end(self) -> None:
        """The end of the reactor loses no line, nor does what is said behind it."""
        self.say("a")
        self.reactor.advance(DELAY)
        self.say("b")
        self.reactor.running = False
        [end] = self.reactor.atEnd
        end()
        self.say("c")
        self.assertEqual(self.file.lines, ["a", "b", "c"])

    def test_exit(self) -> None:
        """Nor does the end of the process, if the reactor was stopped in some other way."""
        with patch.object(batches.atexit, "register") as register:  # type: ignore[attr-defined]
            self.observer = BatchedLogObserver(self.file, self.format, self.reactor)
        self.say("a")
        register.call_args.args[0]()
        self.assertEqual(self.file.lines, ["a"])

    def test_threads(self) -> None:
        """A thread leaves it to the reactor to write."""
        self.patch(threadable, "ioThread", -1)
        self.say("a", "b")
        [call] = self.reactor.fromThreads
        call()
        self.reactor.advance(DELAY)
        self.assertEqual(self.file.lines, ["a", "b"])

    def test_full(self) -> None:
        """What can't be written is kept, up to a bound; how many lines are missing is told."""
        self.file.error = OSError(28, "No space left on device")
        self.say("a")
        self.reactor.advance(DELAY)
        self.say("b")
        self.file.error = None
        self.reactor.advance(DELAY)
        self.assertEqual(self.file.lines, ["a", "b"])
        self.file.error = OSError(28, "No space left on device")
        self.say(*"x" * (MAX_KEPT_LINES + 3))
        self.file.error = None
        self.say("last")
        self.assertEqual(self.file.lines[2], "(Here 3 lines are missing.)")
        self.assertEqual(len(self.file.lines), 3 + MAX_KEPT_LINES + 1)
        self.say("on", level=LogLevel.error)
        self.assertEqual(self.file.lines[-2:], ["last", "on"])

    def test_surrogates(self) -> None:
        """Any text can be written."""
        self.say("a\udc80", level=LogLevel.error)
        self.assertEqual(self.file.lines, ["a\\udc80"])

    def test_itsReactor(self) -> None:
        """By default it is the reactor's time; if that isn't running, there is no waiting."""
        observer = BatchedLogObserver(self.file, self.format)
        with patch("twisted.internet.reactor.running", False):
            observer({"text": "a"})
        self.assertEqual(self.file.lines, ["a"])


class TextTests(SynchronousTestCase):
    """What lines are made of events."""

    def test_same(self) -> None:
        """They are those of the general formatter."""
        now = time.time()
        made = {"log_format": "{text}", "log_time": now, "log_namespace": "n"}
        info, failure = LogLevel.info, Failure(ValueError("no"))
        text = ClassicText()
        for event in (
            {**made, "text": "a", "log_level": info},
            {**made, "text": "a\nb", "log_level": info},
            {**made, "text": "a", "log_level": info, "log_time": now + 1},
            {**made, "text": "a", "log_system": "s"},
            {**made, "text": "a"},
            {**made, "text": 1},
            {**made, "text": "a", "log_failure": failure},
            {"log_format": "{log_text}", "log_text": "a", "log_time": now},
            {"log_format": "{a}", "a": "b", "log_level": info, "log_namespace": "n"},
            {"log_format": ""},
            {},
        ):
            self.assertEqual(text(dict(event)), formatEventAsClassicLogText(dict(event)), event)

    def test_long(self) -> None:
        """An event has so much text, and no more: a traceback too."""
        text = ClassicText()
        for event in (
            {"log_format": "{text}", "text": "x" * 10**6 + "end", "log_time": 1.0},
            {"log_format": "{other}", "other": "x" * 10**6 + "end"},
        ):
            line = text(event)
            assert line is not None
            self.assertLess(len(line), MAX_TEXT + 100)
            self.assertTrue(line.endswith("xend\n"))
            self.assertIn("characters left out", line)


class TwistdTests(SynchronousTestCase):
    """What twistd is told."""

    def setUp(self) -> None:
        self.patch(batches, "_chosen", {})

    def observer(self, **options: Any) -> BatchedLogObserver:
        """The observer that is made for some options."""
        batches.useFor(options)
        self.assertEqual(options["logger"], "twisted_smtpserver.log.batches.makeLogObserver")
        return batches.makeLogObserver()

    def test_file(self) -> None:
        """The file is that of --logfile, or twistd.log; it is rotated by SIGUSR1 as by twistd."""
        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        path = Path(self.mktemp()).absolute()
        calls: list[Any] = []
        with patch("twisted.internet.reactor.callFromThread", calls.append, create=True):
            file: Any = self.observer(logfile=str(path))._file
            assert isinstance(file, LogFile)
            self.addCleanup(file.close)
            signal.raise_signal(signal.SIGUSR1)
        self.assertEqual(calls, [file.rotate])
        self.assertTrue(path.exists())
        with patch.object(batches, "LogFile") as opened:
            self.observer()
            batches.choose(JSONText, 5)
            chosen = self.observer()
        self.assertEqual(
            opened.call_args_list, [call("twistd.log", ROTATE_SIZE), call("twistd.log", 5)]
        )
        self.assertIsInstance(chosen._format, JSONText)

    def test_stdout(self) -> None:
        """In front, it is the standard output; a daemon has none."""
        output = io.TextIOWrapper(io.BytesIO())
        self.patch(sys, "stdout", output)
        for options in ({"nodaemon": True}, {"nodaemon": True, "logfile": "-"}):
            self.assertIs(self.observer(**options)._file, output.buffer)
        self.assertRaises(SystemExit, self.observer, logfile="-", nodaemon=False)

    def test_another(self) -> None:
        """Who names a logger, or asks for syslog, has that."""
        for options in ({"logger": "a.b"}, {"syslog": True}):
            before = dict(options)
            self.assertFalse(batches.useFor(options))
            self.assertEqual(options, before)


class LiveTests(SynchronousTestCase):
    """A server that ends."""

    def test_allLines(self) -> None:
        """Every message that was answered is in the log of a server that is stopped in order."""
        server = LiveServer(
            Path(self.mktemp()).absolute(), "--handler", "tests.log.test_batches.Plain"
        )
        self.addCleanup(server.kill)
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        for _ in range(300):
            client.sendmail("joe@example.org", ["jane@example.com"], "Subject: x\r\n\r\nHello")
        log = server.stop()
        self.assertEqual(log.count(": message "), 300)
        self.assertIn("Server Shut Down.", log.splitlines()[-1])


class Plain(SMTPHandler):
    """Takes everything."""

    def onData(self, stream: object, session: object) -> None:
        """Accept."""
