"""Tests for :mod:`twisted_smtpserver.wire.dotdata`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.dotdata import BareNewlines, DotDecoder

MODES: tuple[BareNewlines, ...] = ("reject", "normalize", "accept")


def decode(mode: BareNewlines, segments: Iterable[bytes]) -> tuple[bytes, bytes | None, bool]:
    """What the decoder makes of segments: content, what is behind the end, bare newline seen."""
    decoder = DotDecoder(mode)
    content = b""
    rest: bytes | None = None
    for segment in segments:
        if rest is not None:
            rest += segment
            continue
        part, rest = decoder.feed(segment)
        content += part
    return content, rest, decoder.bareNewline


def reference(mode: BareNewlines, octets: bytes) -> tuple[bytes, bytes | None, bool]:
    """The same, octet by octet, from all octets at once and by another road."""
    content = bytearray()
    lineStart, position = True, 0
    rest: bytes | None = None
    while position < len(octets):
        if lineStart and octets[position : position + 3] == b".\r\n":
            rest = octets[position + 3 :]
            break
        if lineStart and octets[position] == ord("."):
            position += 1
        lineStart = False
        if octets[position : position + 2] == b"\r\n":
            content += b"\r\n"
            position += 2
            lineStart = True
        else:
            content += octets[position : position + 1]
            position += 1
    bare = re.sub(rb"\r\n|\r|\n", b"\r\n", bytes(content)) != content
    lines = re.sub(rb"\r{1,8}\n|\r|\n", b"\r\n", bytes(content))
    if mode == "normalize":
        return lines, rest, False
    return bytes(content), rest, bare and mode == "reject"


# What is sent as (raw, content under "accept", whether it has a bare newline); each is followed by
# <CRLF>.<CRLF>, which alone must end it.
CONTENT: tuple[tuple[bytes, bytes, bool], ...] = (
    (b"", b"", False),
    (b"text", b"text", False),
    (b"text\r\n", b"text\r\n", False),
    (b"\r\n", b"\r\n", False),
    (b"a\r\n\r\n\r\nb", b"a\r\n\r\n\r\nb", False),
    (b"tab\tnul\0high\xff", b"tab\tnul\0high\xff", False),
    # Stuffing dots, and dots that are not.
    (b"..", b".", False),
    (b"...", b"..", False),
    (b".text", b"text", False),
    (b"a\r\n..\r\nb", b"a\r\n.\r\nb", False),
    (b"a\r\n..b\r\n...c\r\nd.", b"a\r\n.b\r\n..c\r\nd.", False),
    (b"a\r\n.b", b"a\r\nb", False),
    (b"a.\r\nb..\r\n", b"a.\r\nb..\r\n", False),
    (b"a\r\n. \r\nb", b"a\r\n \r\nb", False),
    (b"a\r\n.\0\r\nb", b"a\r\n\0\r\nb", False),
    (b"a\r\n\0.\r\nb", b"a\r\n\0.\r\nb", False),
    # The smuggling variants: none of them is an end, and a dot behind a bare newline is no
    # stuffing dot.
    (b"a\n.\nb", b"a\n.\nb", True),
    (b"a\n.\r\nb", b"a\n.\r\nb", True),
    (b"a\r.\rb", b"a\r.\rb", True),
    (b"a\r.\r\nb", b"a\r.\r\nb", True),
    (b"a\n.\rb", b"a\n.\rb", True),
    (b"a\r.\nb", b"a\r.\nb", True),
    (b"a\n..\r\nb", b"a\n..\r\nb", True),
    (b"a\r..\r\nb", b"a\r..\r\nb", True),
    (b"a\r\n.\nb", b"a\r\n\nb", True),
    (b"a\r\n.\rb", b"a\r\n\rb", True),
    (b"a\r\n.\r\0\nb", b"a\r\n\r\0\nb", True),
    (b"a\r\0\n.\r\0\nb", b"a\r\0\n.\r\0\nb", True),
    (b"a\r\r\n.\r\r\nb", b"a\r\r\n\r\r\nb", True),
    (b"a\r\n.\r\r\nb", b"a\r\n\r\r\nb", True),
    (b"a\n\n.\n\nb", b"a\n\n.\n\nb", True),
    (b"a\n\r.\n\rb", b"a\n\r.\n\rb", True),
    (b"a\n\r\n..b", b"a\n\r\n.b", True),
    (b".\nb", b"\nb", True),
    (b".\rb", b"\rb", True),
    # A bare CR and a bare LF that would make a CRLF if they stood together.
    (b"a\rb\nc", b"a\rb\nc", True),
    (b"\r..\n", b"\r..\n", True),
    (b"\n", b"\n", True),
    (b"\r", b"\r", True),
    (b"a\n\rb", b"a\n\rb", True),
    (b"a\r\n\r", b"a\r\n\r", True),
    (b"a\r\n\n", b"a\r\n\n", True),
)


class DotDecoderTests(SynchronousTestCase):
    """What is content, where it ends, and what the cuts between segments matter: nothing."""

    def assertDecodes(self, raw: bytes, content: bytes, bare: bool) -> None:
        """Assert what comes out, in every mode, for every cut in two and for single octets."""
        behind = b"QUIT\r\n.\r\n"
        for mode in MODES:
            octets = raw + b"\r\n.\r\n" + behind
            if raw == b"":
                octets = octets[2:]
            wanted = content + b"\r\n" if raw else b""
            if mode == "normalize":
                wanted = re.sub(rb"\r{1,8}\n|\r|\n", b"\r\n", wanted)
            expected = (wanted, behind, bare and mode == "reject")
            for cut in range(len(octets) + 1):
                got = decode(mode, (octets[:cut], octets[cut:]))
                self.assertEqual(got, expected, (mode, octets, cut))
            singles = [octets[i : i + 1] for i in range(len(octets))]
            self.assertEqual(decode(mode, singles), expected, (mode, octets))

    def test_content(self) -> None:
        """Only CRLF.CRLF ends a message, only a dot behind CRLF is unstuffed, however it is cut."""
        for raw, content, bare in CONTENT:
            self.assertDecodes(raw, content, bare)

    def test_referenceAgrees(self) -> None:
        """The reference decoder of these tests says the same about the table."""
        for raw, content, bare in CONTENT[1:]:
            self.assertEqual(
                reference("reject", raw + b"\r\n.\r\nrest"), (content + b"\r\n", b"rest", bare)
            )

    def test_restIsEmpty(self) -> None:
        """An end with nothing behind it is told from no end."""
        self.assertEqual(DotDecoder("reject").feed(b"text\r\n.\r\n"), (b"text\r\n", b""))
        self.assertEqual(DotDecoder("reject").feed(b"text\r\n.\r"), (b"text\r\n", None))

    def test_firstEndCounts(self) -> None:
        """Octets behind the end are given back untouched, whatever they hold."""
        behind = b"\n.\r\n.\r\nMAIL FROM:<>\r\n"
        self.assertEqual(DotDecoder("reject").feed(b".\r\n" + behind), (b"", behind))

    def test_bareNewlineBehindTheEnd(self) -> None:
        """A bare newline behind the end isn't the message's."""
        decoder = DotDecoder("reject")
        decoder.feed(b"text\r\n.\r\n\nrest\r")
        self.assertFalse(decoder.bareNewline)

    def test_bareNewlineAtOnce(self) -> None:
        """A bare newline shows with the segment that proves it."""
        for segments in ((b"a\n",), (b"a\r", b"b"), (b"a\r\n", b"\n"), (b"a\r\n.\r", b"b")):
            decoder = DotDecoder("reject")
            for segment in segments:
                self.assertFalse(decoder.bareNewline)
                decoder.feed(segment)
            self.assertTrue(decoder.bareNewline, segments)

    def test_bareNewlineStays(self) -> None:
        """Once seen, a bare newline isn't forgotten, and the true end is still found."""
        decoder = DotDecoder("reject")
        decoder.feed(b"a\n.\nb")
        self.assertEqual(decoder.feed(b"fine\r\n.\r\nrest")[1], b"rest")
        self.assertTrue(decoder.bareNewline)

    def test_emptySegment(self) -> None:
        """A segment without octets changes nothing, wherever it comes."""
        octets = b"\r\n..a\r\n.\r\nrest"
        for mode in MODES:
            segments = [piece for octet in octets for piece in (b"", bytes([octet]))]
            self.assertEqual(decode(mode, segments), (b"\r\n.a\r\n", b"rest", False))

    def test_givesOutWhatIsDecided(self) -> None:
        """No octet of the content is held back but CRs that may be part of a line's end."""
        for mode in MODES:
            for octets, content in (
                (b"a", b"a"),
                (b"a\r", b"a" if mode == "normalize" else b"a\r"),
                (b"a\r\n", b"a\r\n"),
                (b"a\r\n.", b"a\r\n"),
                (b"a\r\n.\r", b"a\r\n"),
                (b"a\r\n.\r\n.", b"a\r\n"),
            ):
                self.assertEqual(DotDecoder(mode).feed(octets)[0], content)

    def test_notCopied(self) -> None:
        """A segment without dots at line starts is given out as it is, not as a copy."""
        decoder = DotDecoder("reject")
        for segment in (b"first. line\r\nseco", b"nd line\r\n", b"third line\r\nand so on"):
            self.assertIs(decoder.feed(segment)[0], segment)

    def test_manyDots(self) -> None:
        """Hundreds of dots in one segment are undone as a few are."""
        for count in (199, 200, 201, 1000):
            content = b"..x\r\n.\r" * count + b"\r\n"
            stuffed = b"." + content + b".\r\nrest"
            for cut in (0, 1, 700, 1399, 1400, 1401, 1402, len(stuffed) - 6):
                segments = [stuffed[:cut], stuffed[cut:]]
                self.assertEqual(decode("accept", segments), reference("accept", stuffed), cut)

    def test_constantCarry(self) -> None:
        """Hostile octets one by one are decided on the spot and leave nothing to pile up."""
        for mode in MODES:
            for octets in (b"." * 3000, b"\r" * 3000, b"\n" * 3000, b"\r\n.." * 1000):
                decoder = DotDecoder(mode)
                given = 0
                for number, octet in enumerate(octets, 1):
                    content, rest = decoder.feed(bytes([octet]))
                    given += len(content)
                    self.assertIs(rest, None)
                    if mode == "accept":
                        dropped = octets[:number].count(b"\r\n.") + octets.startswith(b".")
                        self.assertLessEqual(number - dropped - given, 1)
                self.assertLessEqual(len(decoder._carry), 4)

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from(MODES),
        st.lists(
            st.one_of(
                st.sampled_from((b"\r\n", b"\r\n.", b"\r\n.\r", b"\r", b"\n", b".", b"a", b"\0")),
                st.binary(max_size=3),
            ),
            max_size=25,
        ),
        st.lists(st.integers(0, 80), max_size=8),
    )
    def test_anyCuts(self, mode: BareNewlines, pieces: list[bytes], cuts: list[int]) -> None:
        """For any octets, cut anywhere, the answer is the reference decoder's."""
        octets = b"".join(pieces) + b"\r\n.\r\nrest"
        marks = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
        segments = [octets[a:b] for a, b in itertools.pairwise(marks)]
        self.assertEqual(decode(mode, segments), reference(mode, octets))
