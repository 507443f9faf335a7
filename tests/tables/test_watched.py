"""Files that are read again when they have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.support.tablefiles import TableTestCase
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.tables import watched
from twisted_smtpserver.tables.watched import (
    LOOK_INTERVAL,
    MAX_LINE,
    Lines,
    TableError,
    WatchedFile,
    empty,
    inTurns,
)
from twisted_smtpserver.testing import runInline


def parse(lines: Lines) -> list[tuple[int, str]]:
    """The lines; ``bad`` can't be used."""
    found = []
    for number, line in lines:
        if line == "bad":
            raise TableError("it is bad", number)
        if line == "bug":
            raise ZeroDivisionError
        found.append((number, line))
    return found


class WatchedFileTests(TableTestCase):
    """A file with a clock, without threads."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.hops: list[Deferred[Any]] = []

    def make(self, *lines: str, **options: Any) -> WatchedFile[list[tuple[int, str]]]:
        """The file with these lines, which was read."""
        options.setdefault("runInThread", runInline)
        file = WatchedFile(self.write(*lines), parse, clock=self.clock, **options)
        file.load()
        return file

    def content(self, file: WatchedFile[Any]) -> Any:
        """The content, when it is time to look."""
        self.clock.advance(LOOK_INTERVAL)
        return self.successResultOf(Deferred.fromCoroutine(file.content()))

    def test_lines(self) -> None:
        """Empty lines and comments are left out; a byte order mark is no content."""
        file = self.make("\ufeffone", "", "# two", " three \t", "  # four", "ünf")
        self.assertEqual(file.latest, [(1, "one"), (4, "three"), (6, "ünf")])

    def test_changed(self) -> None:
        """A file that has changed is read again, and the log says so."""
        file = self.make("one")
        self.write("two")
        self.assertEqual(self.content(file), [(1, "two")])
        self.assertEqual(self.log, [f"{self.path} was read again: [(1, 'two')]"])

    def test_unchanged(self) -> None:
        """One that hasn't isn't read."""
        file = self.make("one")
        self.patch(file, "_parse", None)
        self.assertEqual(self.content(file), [(1, "one")])
        self.assertEqual(self.log, [])

    def test_interval(self) -> None:
        """It isn't looked at more often than once in a second."""
        file = self.make("one")
        self.write("two")
        self.clock.advance(LOOK_INTERVAL - 0.1)
        found = self.successResultOf(Deferred.fromCoroutine(file.content()))
        self.assertEqual(found, [(1, "one")])

    def test_fresh(self) -> None:
        """One that was written just now may have been written again in the same tick."""
        self.patch(watched, "_versionOf", lambda status: (1,))
        file = self.make("one")
        self.write("two")
        self.assertEqual(self.content(file), [(1, "one")])
        self.patch(time, "time", lambda: float(self._time))
        file.load()
        self.path.write_text("six\n")
        self.assertEqual(self.content(file), [(1, "six")])

    def test_broken(self) -> None:
        """The old content stays; the log has the line's number, once, and not its content."""
        file = self.make("one")
        self.write("two", "bad")
        for _ in range(3):
            self.assertEqual(self.content(file), [(1, "one")])
        self.assertEqual(self.log, [f"Keeping the old content of {self.path}: line 2: it is bad"])
        self.write("three")
        self.assertEqual(self.content(file), [(1, "three")])
        self.write("bad")
        self.content(file)
        self.assertEqual(self.log[-1], f"Keeping the old content of {self.path}: line 1: it is bad")

    def test_missing(self) -> None:
        """So it does while the file is away, which is said once; when it is back it is read."""
        file = self.make("one")
        self.path.unlink()
        for _ in range(2):
            self.assertEqual(self.content(file), [(1, "one")])
        expected = (
            f"Keeping the old content of {self.path}: can't be read: No such file or directory"
        )
        self.assertEqual(self.log, [expected])
        self.write("one")
        self.content(file)
        self.assertEqual(self.log[1:], [f"{self.path} was read again: [(1, 'one')]"])

    def test_bug(self) -> None:
        """So it does when reading fails for any other reason."""
        file = self.make("one")
        self.write("bug")
        self.assertEqual(self.content(file), [(1, "one")])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_start(self) -> None:
        """At the start that is an error."""
        file = WatchedFile(self.path, parse, clock=self.clock)
        error = self.assertRaises(ConfigurationError, file.load)
        self.assertEqual(str(error), f"{str(self.path)!r} can't be read: No such file or directory")
        self.write("bad")
        error = self.assertRaises(ConfigurationError, file.load)
        self.assertEqual(str(error), f"{str(self.path)!r}: line 1: it is bad")

    def test_otherKinds(self) -> None:
        """A folder or a pipe is none of our files, and nobody waits for a pipe."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = WatchedFile(folder, parse, clock=self.clock)
        self.assertIn("Is a directory", str(self.assertRaises(ConfigurationError, file.load)))
        pipe = self.mktemp()
        os.mkfifo(pipe)
        file = WatchedFile(pipe, parse, clock=self.clock)
        self.assertIn("isn't a regular file", str(self.assertRaises(ConfigurationError, file.load)))

    def test_badLines(self) -> None:
        """A line has a bound, and is UTF-8."""
        file = self.make("x" * (MAX_LINE - 1))
        self.write("fine", "x" * MAX_LINE)
        self.content(file)
        self.assertIn(f"line 2: it is longer than {MAX_LINE} octets", self.log[-1])
        self.path.write_bytes(b"\xff\n")
        self.content(file)
        self.assertIn("line 1: it isn't UTF-8", self.log[-1])

    def hang(self, *arguments: Any) -> Deferred[Any]:
        """A thread that takes its time."""
        self.hops.append(Deferred())
        return self.hops[-1]

    def test_slow(self) -> None:
        """Who asks while the file is being looked at gets the old content at once."""
        file = self.make("one", runInThread=self.hang)
        self.clock.advance(LOOK_INTERVAL)
        first = Deferred.fromCoroutine(file.content())
        self.assertNoResult(first)
        self.assertEqual(self.content(file), [(1, "one")])
        self.assertEqual(len(self.hops), 1)
        self.hops[0].callback(None)
        self.assertEqual(self.successResultOf(first), [(1, "one")])

    def test_canceled(self) -> None:
        """Who doesn't want to know any more doesn't stop the look."""
        file = self.make("one", runInThread=self.hang)
        self.clock.advance(LOOK_INTERVAL)
        first = Deferred.fromCoroutine(file.content())
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.hops[0].callback(None)
        self.clock.advance(LOOK_INTERVAL)
        self.assertNoResult(Deferred.fromCoroutine(file.content()))
        self.assertEqual(len(self.hops), 2)
        self.hops[1].callback(None)

    def test_disposed(self) -> None:
        """Old content is disposed of, in a thread, when there is newer content."""

        class Table(dict[str, int]):
            def dispose(self) -> None:
                empty(self)

        tables: list[Table] = []

        def make(lines: Lines) -> Table:
            tables.append(Table((text, number) for number, text in lines))
            return tables[-1]

        file = WatchedFile(self.write("one"), make, clock=self.clock, runInThread=runInline)
        file.load()
        self.write("two")
        self.assertEqual(self.content(file), {"two": 1})
        self.assertEqual(tables, [{}, {"two": 1}])

    def test_turns(self) -> None:
        """In a long file the reactor's thread gets its turn again and again."""
        slept: list[float] = []
        self.patch(time, "sleep", slept.append)
        self.assertEqual(len(list(inTurns(range(2000)))), 2000)
        self.assertEqual(slept, [0] * 40)

    def test_theReactor(self) -> None:
        """Without a clock of one's own it is the reactor's."""
        file = WatchedFile(self.write("one"), parse)
        self.assertEqual(file.load(), [(1, "one")])
