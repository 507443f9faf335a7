"""What workers log, on its way to the supervisor's file."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, capturedLogs, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.log.batches import LINES, BatchedLogObserver, ClassicText, Format
from twisted_smtpserver.log.formats import FORMATS, JSONText
from twisted_smtpserver.twistd.workerlog import (
    MAX_LINE,
    WorkerLines,
    WorkerOutput,
    makeLogObserver,
)


def makeFailure() -> Failure:
    try:
        raise ValueError("broken")
    except ValueError:
        return Failure()


class EventTests(SynchronousTestCase):
    """Events on their way to the supervisor, as such."""

    def written(self, **event: Any) -> dict[str, Any]:
        """What comes of an event."""
        output = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(output))
        observer = makeLogObserver()
        observer(event)
        observer.flush()
        line = output.getvalue().decode()
        self.assertEqual((line[0], line[-1], line.count("\n")), ("\x1e", "\n", 1))
        found: dict[str, Any] = json.loads(line[1:])
        return found

    def test_event(self) -> None:
        """The text, the origin and the values are kept, objects as text."""
        found = self.written(
            log_format="{what}\n{number}",
            log_level=LogLevel.warn,
            log_namespace="a.b",
            log_time=7.5,
            log_logger=Logger(),
            what=self,
            number=3,
            event="message",
        )
        self.assertEqual(found.pop("log_text").rpartition("\n")[2], "\t3"[1:])
        self.assertEqual(
            found,
            {
                "log_level": "warn",
                "log_namespace": "a.b",
                "log_system": "a.b#warn",
                "log_time": 7.5,
                "number": 3,
                "what": str(self),
                "event": "message",
            },
        )

    def test_made(self) -> None:
        """A text that the event has already is taken as it is."""
        found = self.written(log_format="{text}", text="{made}", log_namespace="a.b")
        self.assertEqual(found["log_text"], "{made}")
        self.assertNotIn("text", found)

    def test_old(self) -> None:
        """Events of the older kind have a system of their own, and maybe no level."""
        found = self.written(log_format="x", log_system="-")
        self.assertEqual((found["log_system"], found["log_level"]), ("-", "info"))

    def test_failure(self) -> None:
        """A failure is shown with its traceback."""
        found = self.written(log_format="x", log_failure=makeFailure())
        self.assertRegex(found["log_text"], r"x\nTraceback(.|\n)*ValueError: broken")


class OutputTests(SynchronousTestCase):
    """What the supervisor makes of the octets."""

    def logged(self, *chunks: bytes) -> list[tuple[Any, str]]:
        """What of it is in the log."""
        output = WorkerOutput(2)
        with capturedLogs() as events:
            for chunk in chunks:
                output.received(chunk)
            output.ended()
        return [(e.get("log_system"), e["log_format"].format(**e)) for e in events]

    def test_events(self) -> None:
        """Events are logged as they were, with the worker's name, wherever they were split."""
        event = {"log_text": "{hi}", "log_level": "warn", "log_system": "a#warn", "log_time": 1}
        line = b"\x1e%b\n" % json.dumps(event).encode()
        found = self.logged(line[:20], line[20:] + line)
        self.assertEqual(found, [("a#warn, worker 2", "{hi}")] * 2)

    def test_others(self) -> None:
        """Other lines are logged, too; also the last, without an end, and what isn't UTF-8."""
        found = self.logged(b"one\n\ntwo\xff")
        self.assertEqual(
            [text for _, text in found],
            [
                "Worker 2 printed: one",
                "Worker 2 printed: two\N{REPLACEMENT CHARACTER}",
            ],
        )

    def test_cutOff(self) -> None:
        """An event, or a line, that was cut off because the worker was killed is lost."""
        self.assertEqual(self.logged(b'\x1e{"log_te'), [])
        self.assertEqual(self.logged(b"\x1f2026-01-01 hel"), [])

    def test_long(self) -> None:
        """What has no end isn't kept for ever."""
        found = self.logged(b"x" * (MAX_LINE + 1), b"y")
        self.assertEqual([text[-1] for _, text in found], ["x", "y"])

    def test_others_observers(self) -> None:
        """Observers that know nothing of lines see one event with the text of all."""
        found = self.logged(b"\x1fone\n\x1ftwo\n")
        self.assertEqual(found, [(None, "one\ntwo\n")])


class LinesTests(SynchronousTestCase):
    """From an event in a worker to the octets in the supervisor's file."""

    def file(self, makeFormat: Callable[[], Format], *events: dict[str, Any]) -> list[str]:
        """What is in the file, line by line, of a worker's events."""
        sent, written = io.BytesIO(), io.BytesIO()
        worker = BatchedLogObserver(sent, WorkerLines(makeFormat, 2), _reactor())
        observer = BatchedLogObserver(written, makeFormat(), _reactor())
        self.addCleanup(worker.close)
        self.addCleanup(observer.close)
        for event in events:
            worker(event)
        self.sent = sent.getvalue()
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        WorkerOutput(2).received(self.sent)
        return written.getvalue().decode().splitlines(keepends=True)

    def event(self, **more: Any) -> dict[str, Any]:
        given = {"log_level": LogLevel.info, "log_namespace": "a.b", "log_time": 1.0}
        return given | {"log_format": "{text}", "event": "message"} | more

    def test_text(self) -> None:
        """A line says whose it is, and is written as the worker made it, in whatever script."""
        found = self.file(ClassicText, self.event(text="{ä}"), self.event(text="b"))
        self.assertTrue(found[0].endswith(" [a.b#info, worker 2] {ä}\n"), found)
        self.assertTrue(found[1].endswith(" [a.b#info, worker 2] b\n"), found)
        self.assertEqual(self.sent.count(b"\x1f"), 2)

    def test_json(self) -> None:
        """JSON has each value as the worker had it: lists, and numbers with a fraction."""
        event = self.event(text="x", recipients=["a", "b"], seconds=1.5)
        (line,) = self.file(JSONText, event)
        found = json.loads(line)
        self.assertEqual((found["worker"], found["seconds"]), (2, 1.5))
        self.assertEqual(found["recipients"], ["a", "b"])
        self.assertNotIn("worker", event)

    def test_events(self) -> None:
        """Errors, and what has several lines, go as events; the order is kept."""
        for name, makeFormat in FORMATS.items():
            found = self.file(
                makeFormat,
                self.event(text="first"),
                self.event(log_format="x", log_failure=makeFailure(), log_level=LogLevel.critical),
                self.event(text="second"),
                self.event(log_format="several\nlines"),
            )
            text = "".join(found)
            places = [text.index(each) for each in ("first", "Traceback", "second", "several")]
            self.assertEqual(places, sorted(places), name)
            self.assertEqual(self.sent.count(b"\x1e"), 2 if name == "text" else 1, name)
            self.assertIn(b'\x1e{"event": "message", "log_text": "x\\nTraceback', self.sent)

    def test_nothing(self) -> None:
        """An event without a text is no line."""
        self.assertEqual(self.file(ClassicText, self.event(log_format="")), [])

    def test_full(self) -> None:
        """Each line counts for how many may wait while the disk is full."""
        observer = BatchedLogObserver(Full(), ClassicText(), _reactor())
        self.addCleanup(observer.close)
        for _ in range(3):
            observer({LINES: ["x\n"] * 9000})
        self.assertLessEqual(len(observer._lines), 10_000)


class Full(io.BytesIO):
    """A disk that is full."""

    def write(self, octets: Any) -> int:
        raise OSError("full")


def _reactor() -> Any:
    clock: Any = Clock()
    clock.running = False
    return clock
