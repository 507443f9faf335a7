"""
The log as ``twistd`` writes it, at a tenth of the price: text made without the general formatter
where it is made already, and written in batches.

A line waits :data:`DELAY` seconds at most, and errors don't wait: that is what a process that is
killed may lose. One that ends in order loses none.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.log.files import ROTATE_SIZE, LogFile

#: How long a line may wait, in seconds.
DELAY = 0.1

#: How many lines may wait.
MAX_LINES = 1000

#: How many are kept while they can't be written (the disk is full); then the oldest are dropped.
MAX_KEPT_LINES = 10_000

#: The longest text of one event, in characters: a traceback may have any length.
MAX_TEXT = 32_768

#: The key of an event that has lines already, a list of texts: those of a worker.
LINES = "log_lines"

#: Errors: their lines don't wait.
AT_ONCE = frozenset({LogLevel.error, LogLevel.critical})

Format = Callable[[LogEvent], "str | None"]


class BinaryFile(Protocol):
    """What lines are written to."""

    def write(self, octets: bytes, /) -> object:
        """Write octets."""

    def flush(self) -> object:
        """See to it that they are."""


@implementer(ILogObserver)
class BatchedLogObserver:
    """
    Writes events as lines, many at a time. It may be called in any thread.

    :param file: where to.
    :param formatEvent: makes the text of an event, with its final newline; ``None`` for none.
    :param reactor: by default the reactor. While it doesn't run, nothing waits.
    """

    def __init__(self, file: BinaryFile, formatEvent: Format, reactor: Any = None) -> None:
        self._file = file
        self._format = formatEvent
        self._reactor = reactor
        self._lines: list[str] = []
        self._isScheduled = False
        self._endsWithReactor = False
        self._dropped = 0
        self._lock = threading.Lock()
        atexit.register(self.flush)

    def __call__(self, event: LogEvent) -> None:
        """
        Take an event.

        :param event: it is made text now.
        """
        if LINES in event:
            self._lines += event[LINES]
        else:
            line = self._format(event)
            if not line:
                return
            self._lines.append(line)
        if event.get("log_level") in AT_ONCE or len(self._lines) >= MAX_LINES:
            self.flush()
        elif not self._isScheduled:
            self._schedule()

    def _schedule(self) -> None:
        reactor = self._reactor
        if reactor is None:
            reactor = self._reactor = theReactor()
        if not reactor.running:
            self.flush()
            return
        self._isScheduled = True
        if isInIOThread():
            self._later()
        else:
            reactor.callFromThread(self._later)

    def _later(self) -> None:
        if not self._endsWithReactor:
            self._endsWithReactor = True
            self._reactor.addSystemEventTrigger("after", "shutdown", self._flushScheduled)
        self._reactor.callLater(DELAY, self._flushScheduled)

    def _flushScheduled(self) -> None:
        self._isScheduled = False
        self.flush()

    def close(self) -> None:
        """Write what waits; nothing follows."""
        self.flush()
        atexit.unregister(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            # Other threads may add to them meanwhile.
            count = len(self._lines)
            if not count:
                return
            text = "".join(self._lines[:count])
            if self._dropped:
                text = f"(Here {self._dropped} lines are missing.)\n{text}"
            try:
                self._file.write(text.encode("utf-8", "backslashreplace"))
                self._file.flush()
            except OSError:
                # There is nobody to tell. They are written when there is room again.
                excess = max(count - MAX_KEPT_LINES, 0)
                self._dropped += excess
                del self._lines[:excess]
            else:
                self._dropped = 0
                del self._lines[:count]


class ClassicText:
    """
    Makes the lines that ``twistd`` writes by default: time, system, text.

    Those of our own frequent events have their text already (``log_format`` is ``"{text}"``, or
    a worker's ``"{log_text}"``), and a second has one time: then it costs next to nothing.
    """

    def __init__(self) -> None:
        self._second = -1
        self._time = ""

    def __call__(self, event: LogEvent) -> str | None:
        """
        :param event: what to make a line of.
        """
        text = madeText(event)
        if text is None:
            line = formatEventAsClassicLogText(event)
            return line and shortened(line)
        now = event.get("log_time") or 0.0
        if int(now) != self._second:
            self._second = int(now)
            self._time = formatTime(now)
        text = shortened(text).replace("\n", "\n\t")
        return f"{self._time} [{systemOf(event)}] {text}\n"


def madeText(event: LogEvent) -> str | None:
    """
    Get the text of an event that has it already.

    :param event: any.
    :returns: the text; ``None`` if it has to be formatted.
    """
    name = _MADE.get(event.get("log_format", ""))
    text = None if name is None else event.get(name)
    return text if type(text) is str and "log_failure" not in event else None


def shortened(text: str) -> str:
    """
    Keep a text within :data:`MAX_TEXT`.

    :param text: of a traceback the beginning says where, and the end what.
    """
    excess = len(text) - MAX_TEXT
    if excess <= 0:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... ({excess} characters left out)\n{text[-half:]}"


def systemOf(event: LogEvent) -> str:
    """
    Get what stands in brackets.

    :param event: any.
    """
    system = event.get("log_system")
    if system is not None:
        return str(system)
    level = event.get("log_level")
    return f"{event.get('log_namespace', '-')}#{'-' if level is None else level.name}"


_MADE = {"{text}": "text", "{log_text}": "log_text"}


# -- Under twistd ----------------------------------------------------------------------------------

#: What ``--logfile`` says, and whether ``--nodaemon`` was given.
_chosen: dict[str, Any] = {}


def useFor(twistd: MutableMapping[str, Any]) -> bool:
    """
    Let ``twistd`` write its log this way, unless its flags choose another one.

    :param twistd: its options.
    :returns: whether it will.
    """
    if twistd.get("logger") is not None or twistd.get("syslog"):
        return False
    _chosen.update(logfile=twistd.get("logfile"), nodaemon=twistd.get("nodaemon"))
    twistd["logger"] = f"{__name__}.makeLogObserver"
    return True


def choose(makeFormat: Callable[[], Format], size: int) -> None:
    """
    Choose how the log is written.

    :param makeFormat: makes what makes lines.
    :param size: how large a file may get, in octets; 0 for no limit.
    """
    _chosen.update(makeFormat=makeFormat, size=size)


def makeLogObserver() -> BatchedLogObserver:
    """
    What ``--logger`` makes: an observer for the file that ``twistd`` would log to.

    :raises SystemExit: for a daemon that is to log to its standard output.
    """
    name, isInFront = _chosen.get("logfile"), _chosen.get("nodaemon")
    formatEvent: Format = _chosen.get("makeFormat", ClassicText)()
    if name == "-" and not isInFront:
        raise SystemExit("Daemons cannot log to stdout, exiting!")
    if name == "-" or (isInFront and not name):
        return BatchedLogObserver(sys.stdout.buffer, formatEvent)
    file = LogFile(name or "twistd.log", _chosen.get("size", ROTATE_SIZE))
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: _fromReactor(file.rotate))
    return BatchedLogObserver(file, formatEvent)


def _fromReactor(call: Callable[[], object]) -> None:
    theReactor().callFromThread(call)
