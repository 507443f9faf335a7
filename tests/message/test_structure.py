"""Tests for where the parts of a message are."""

from __future__ import annotations

import sys
from types import FrameType

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.brokenmail import CORPUS, multipart
from twisted_smtpserver.message import bounds, structure
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.structure import Part, Scanner


def scan(octets: bytes, openMessages: bool = False) -> Part:
    return finish(Scanner(octets, lambda what: None, openMessages).run())


def bodies(octets: bytes, part: Part) -> object:
    """The body of a part, or the list of those that its parts have."""
    if part.parts:
        return [bodies(octets, inner) for inner in part.parts]
    return octets[part.body : part.end]


class PartTests(SynchronousTestCase):
    def assertBodies(self, octets: bytes, expected: object) -> None:
        """Assert what the bodies are, with either kind of line end."""
        self.assertEqual(bodies(octets, scan(octets)), expected)

    def test_boundaries(self) -> None:
        """The line break before a boundary is the boundary's; blanks behind it don't count."""
        for end in (b"", b" \t"):
            self.assertBodies(
                multipart(b"\r\none\r\n", b"\r\ntwo").replace(b"--b\r", b"--b%b\r" % end),
                [b"one\r\n", b"two"],
            )

    def test_lineFeeds(self) -> None:
        """Lines that end in LF are lines."""
        octets = multipart(b"\r\none", b"X: y\r\n\r\ntwo").replace(b"\r\n", b"\n")
        self.assertBodies(octets, [b"one", b"two"])

    def test_similar(self) -> None:
        """What only begins like a boundary is none."""
        self.assertBodies(
            multipart(b"\r\n--bc\r\n--\r\n -- b\r\n--b-\r\n---b"),
            [b"--bc\r\n--\r\n -- b\r\n--b-\r\n---b"],
        )
        line = b"--b" + b" " * 10000
        self.assertBodies(multipart(b"\r\n" + line), [line])
        unclosed = multipart(b"\r\nx").removesuffix(b"--b--\r\n")
        self.assertBodies(unclosed + line, [b"x\r\n" + line])

    def test_outer(self) -> None:
        """The boundary of an outer multipart ends the inner ones."""
        inner = multipart(b"\r\none", boundary=b"c").removesuffix(b"\r\n--c--\r\n")
        self.assertBodies(multipart(inner, b"\r\ntwo"), [[b"one"], b"two"])

    def test_same(self) -> None:
        """Of two that are the same the inner one counts first."""
        self.assertBodies(multipart(multipart(b"\r\none"), b"\r\ntwo"), [[b"one"], b"two"])

    def test_repeated(self) -> None:
        """A boundary that is there twice begins one part."""
        octets = multipart(b"\r\none", b"\r\ntwo").replace(b"--b\r\n", b"--b\r\n" * 500)
        self.assertBodies(octets, [b"one", b"two"])

    def test_noHeader(self) -> None:
        """A part may begin with its body, or have none."""
        self.assertBodies(multipart(b"hello", b"X: y", b""), [b"hello", b"", b""])

    def test_digest(self) -> None:
        """In a digest, parts are messages."""
        octets = multipart(b"\r\nSubject: x\r\n\r\nhello").replace(b"/mixed", b"/digest")
        [part] = scan(octets, openMessages=True).parts
        self.assertEqual(part.contentType.value, "message/rfc822")
        self.assertEqual(bodies(octets, part), [b"hello"])

    def test_slices(self) -> None:
        """It makes no difference where the slices end."""
        octets = multipart(b"X: " + b"y\r\n z" * 40 + b"\r\n\r\none\r\n", b"\r\n--c\r\ntwo")
        expected = bodies(octets, scan(octets))
        for size in range(5, 60):
            self.patch(structure, "SLICE", size)
            self.assertEqual(bodies(octets, scan(octets)), expected)

    def test_longFieldInSlices(self) -> None:
        """Nor where those of a field that is too long end."""
        octets = b"X: " + b"a\r\n b" * 20 + b"\r\n\r\nhello"
        self.patch(bounds, "MAX_FIELD", 30)
        for size in range(5, 60):
            self.patch(structure, "SLICE", size)
            self.assertEqual(bodies(octets, scan(octets)), b"hello")


class CostTests(SynchronousTestCase):
    """The work, counted: it doesn't depend on what is in the message."""

    def test_slices(self) -> None:
        """No slice looks at more than so many octets, lines and fields."""
        octets = 0

        class Counting(bytearray):
            """Counts what is searched."""

            def find(self, what: bytes, start: int, end: int) -> int:  # type: ignore[override]
                nonlocal octets
                found = super().find(what, start, end)
                octets += (end if found < 0 else found) - start
                return found

        for name, message in CORPUS.items():
            scanning = Scanner(Counting(message * 2), lambda what: None, False).run()
            for _ in scanning:
                self.assertLess(octets, 2.2 * structure.SLICE, name)
                octets = 0

    def test_dashes(self) -> None:
        """Lines that look like boundaries, and are none, cost three calls; many are a slice."""
        calls = 0

        def called(frame: FrameType, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        octets = multipart(b"\r\nx" + b"\n--" * 20_000 + b"\n--B" * 20_000 + b"\n--ab" * 20_000)
        steps = Scanner(octets, lambda what: None, False).run()
        sys.setprofile(called)
        try:
            slices = list(steps)
        finally:
            sys.setprofile(None)
        self.assertTrue(60 <= len(slices) < 80, len(slices))
        self.assertLess(calls, 3.1 * 60_000)

    @settings(deadline=None)
    @given(st.binary())
    def test_anything(self, octets: bytes) -> None:
        """All parts of anything are within it, one after the other."""
        octets = multipart(*octets.split(b"\x00"))

        def check(part: Part, start: int, end: int) -> None:
            self.assertTrue(start <= part.body <= part.end <= end)
            at = part.body
            for inner in part.parts:
                check(inner, at, part.end)
                at = inner.end

        check(scan(octets), 0, len(octets))
