"""
The log of workers, on its way through their standard output to the supervisor, which writes it.

Where the supervisor writes its log by this package, workers send it lines as they will be in the
file: to make events of them, and lines of those again, would cost as much as all else that a small
message takes. Errors, and what has several lines, still go as events: an error doesn't wait, and no
other worker's line gets into a traceback.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher

from twisted_smtpserver.log.batches import AT_ONCE, LINES, BatchedLogObserver, Format, systemOf
from twisted_smtpserver.log.formats import plainFields, textOf

_log = Logger()

#: The octet that begins a log event (RFC 7464); a printed line doesn't begin with it.
RECORD = b"\x1e"

#: The octet that begins a line for the log's file.
LINE = b"\x1f"

#: The longest line of a worker's output that is logged as one event, in octets.
MAX_LINE = 2**18


# -- In the worker ---------------------------------------------------------------------------------


def makeLogObserver() -> BatchedLogObserver:
    """Make a worker's log observer (``--logger``), which writes events for the supervisor."""
    return BatchedLogObserver(sys.stdout.buffer, encodeEvent)


def encodeEvent(event: LogEvent) -> str:
    """
    Write an event as one line.

    :param event: any.
    """
    kept = plainFields(event)
    kept |= {
        "log_text": textOf(event),
        "log_level": event.get("log_level", LogLevel.info).name,
        "log_namespace": event.get("log_namespace", "-"),
        "log_system": systemOf(event),
        "log_time": event.get("log_time"),
    }
    return f"{RECORD.decode()}{json.dumps(kept)}\n"


class WorkerLines:
    """
    Makes the lines that a worker sends.

    :param makeFormat: makes what makes the lines of the supervisor's file.
    :param name: the worker's number, from 1.
    """

    def __init__(self, makeFormat: Callable[[], Format], name: int) -> None:
        self._format = makeFormat()
        self._name = name

    def __call__(self, event: LogEvent) -> str | None:
        """
        :param event: what to make a line of.
        """
        if event.get("log_level") in AT_ONCE:
            return encodeEvent(event)
        system = f"{systemOf(event)}, worker {self._name}"
        line = self._format({**event, "log_system": system, "worker": self._name})
        if not line:
            return None
        return encodeEvent(event) if "\n" in line[:-1] else f"{LINE.decode()}{line}"


# -- In the supervisor -----------------------------------------------------------------------------


class WorkerOutput:
    """
    Logs what a worker writes.

    :param name: the worker's number, from 1.
    """

    def __init__(self, name: int) -> None:
        self._name = name
        self._buffer = b""

    def received(self, data: bytes) -> None:
        """
        Log all lines that are complete.

        :param data: the next octets.
        """
        *lines, rest = (self._buffer + data).split(b"\n")
        if len(rest) > MAX_LINE:
            lines.append(rest)
            rest = b""
        self._buffer = rest
        self._log(lines)

    def ended(self) -> None:
        """Log the rest. A line or event that was cut off is lost."""
        if not self._buffer.startswith(LINE):
            self._log([self._buffer])

    def _log(self, lines: list[bytes]) -> None:
        made: list[str] = []
        for line in lines:
            if line.startswith(LINE):
                made.append(f"{line[1:].decode('utf-8', 'replace')}\n")
                continue
            _passLines(made)
            made = []
            _passOn(self._name, line)
        _passLines(made)


def _passLines(lines: list[str]) -> None:
    """Have lines written as they are."""
    if not lines:
        return
    event: LogEvent = {
        LINES: lines,
        # For other observers.
        "log_format": "{log_text}",
        "log_text": "".join(lines),
        "log_level": LogLevel.info,
        "log_namespace": _log.namespace,
        "log_time": time.time(),
    }
    globalLogPublisher(event)


def _passOn(worker: int, line: bytes) -> None:
    """Log a line of a worker's output: an event again as an event, any other line as text."""
    if line.startswith(RECORD):
        try:
            event = json.loads(line[len(RECORD) :])
            event["log_level"] = LogLevel.lookupByName(event["log_level"])
            event["log_system"] += f", worker {worker}"
        except (ValueError, KeyError, TypeError):  # cut off when the worker was killed
            return
        event["log_format"] = "{log_text}"
        event["worker"] = worker
        globalLogPublisher(event)
    elif line:
        _log.warn(
            "Worker {worker} printed: {line}", worker=worker, line=line.decode("utf-8", "replace")
        )
