"""Tests for bare newlines."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.newlines import BareNewlines, NewlineFilter, hasBareNewline

contents = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"."]), max_size=10).map(b"".join)
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
END = re.compile(rb"\r{1,8}\n|\r|\n")


def run(mode: BareNewlines, *segments: bytes) -> tuple[bytes, bool]:
    """The content and whether it is condemned."""
    newlines = NewlineFilter(mode)
    content = b"".join([*map(newlines.feed, segments), newlines.end()])
    return content, newlines.bareNewline


class NewlineFilterTests(SynchronousTestCase):
    def test_clean(self) -> None:
        """Content without bare newlines stays as it is, its binary octets too."""
        octets = bytes(set(range(256)) - {10, 13}) + b"\r\n\r\n"
        for mode in ("reject", "normalize", "accept"):
            self.assertEqual(run(mode, octets), (octets, False))

    def test_cutCrlf(self) -> None:
        """A CRLF that two segments share is one."""
        self.assertEqual(run("reject", b"a\r", b"\nb\r", b"", b"\n"), (b"a\r\nb\r\n", False))

    def test_bare(self) -> None:
        """Wherever a CR or LF stands alone, it is found."""
        for segments in (
            *([b"\n"], [b"\r"], [b"a\rb"], [b"\r\r\n"], [b"\n\r"], [b"\r\n\n"]),
            *([b"a\r", b"b"], [b"a\r", b"\r\n"], [b"a\r\n", b"\n"], [b"\r", b"\r"]),
        ):
            self.assertTrue(run("reject", *segments)[1], segments)
            self.assertEqual(run("accept", *segments), (b"".join(segments), False))

    def test_normalized(self) -> None:
        """Each becomes a CRLF."""
        self.assertEqual(
            run("normalize", b"a\nb\r", b"c\r\r", b"d\n\r\ne\r"),
            (b"a\r\nb\r\nc\r\n\r\nd\r\n\r\ne\r\n", False),
        )

    def test_returns(self) -> None:
        """CRs before a CRLF are one line's end with it, or a header would end after its first."""
        for octets in (b"a: b\r\r\nc: d\r\r\n\r\r\ne", b"a: b\r\r\r\nc: d\r\n\r\r\r\r\ne"):
            for cut in range(len(octets)):
                got = run("normalize", octets[:cut], octets[cut:])
                self.assertEqual(got, (b"a: b\r\nc: d\r\n\r\ne", False), cut)
        self.assertEqual(run("normalize", b"\r" * 20 + b"\n"), (b"\r\n" * 13, False))
        self.assertEqual(run("normalize", b"\r" * 20), (b"\r\n" * 20, False))

    def test_large(self) -> None:
        """In many lines, equally long or not, one that is wrong is found, wherever it is."""
        for lines in ([b"x" * 76] * 100, [b"x" * (20 + number % 50) for number in range(200)]):
            octets = b"\r\n".join([*lines, b""])
            for cut in (0, 50, 76, 77):
                self.assertFalse(hasBareNewline(octets[cut:].removeprefix(b"\n")), cut)
            for place in (0, 1, 75, 76, 77, 78, 5000, len(octets) - 2, len(octets) - 1):
                for wrong in (b"\r", b"\n"):
                    for changed in (
                        octets[:place] + wrong + octets[place:],
                        octets[:place] + wrong + octets[place + 1 :],
                        octets[:place] + octets[place + 1 :],
                    ):
                        isBare = BARE.search(changed.removesuffix(b"\r")) is not None
                        self.assertEqual(hasBareNewline(changed), isBare, (place, wrong))
        self.assertFalse(hasBareNewline(b"x" * 5000))
        self.assertTrue(hasBareNewline(b"x" * 5000 + b"\n"))

    @settings(max_examples=200, deadline=None)
    @given(contents, contents, contents)
    def test_likeInOnePiece(self, one: bytes, two: bytes, three: bytes) -> None:
        """The cuts make no difference, and the simple definition holds."""
        octets = one + two + three
        isBare = BARE.search(octets) is not None
        self.assertEqual(run("reject", one, two, three)[1], isBare)
        self.assertEqual(run("accept", one, two, three), (octets, False))
        self.assertEqual(run("normalize", one, two, three), (END.sub(b"\r\n", octets), False))
