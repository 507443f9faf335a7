"""Dot-stuffing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import BareNewline
from twisted_smtpserver.stores.forward.dots import DotStuffer
from twisted_smtpserver.wire.dotdata import DotDecoder

CONTENT = b".\r\n..two\r\nin. the.middle.\r\n\r\n.\r\n\r\n.end\r\n.\r\n"


def stuff(*chunks: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*(stuffer.feed(chunk) for chunk in chunks), stuffer.end()])


class DotStufferTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Each dot that begins a line is doubled, and no other."""
        self.assertEqual(stuff(b".a\r\n.\r\nb.c\r\n..\r\n"), b"..a\r\n..\r\nb.c\r\n...\r\n.\r\n")

    def test_everyCut(self) -> None:
        """It makes no difference where the content is cut, even into single octets."""
        whole = stuff(CONTENT)
        self.assertEqual(whole, b".." + CONTENT[1:].replace(b"\r\n.", b"\r\n..") + b".\r\n")
        for first in range(len(CONTENT)):
            for second in (first, first + 1, first + 2, len(CONTENT)):
                cut = CONTENT[:first], CONTENT[first:second], CONTENT[second:]
                self.assertEqual(stuff(*cut), whole, cut)
        self.assertEqual(stuff(*(CONTENT[n : n + 1] for n in range(len(CONTENT)))), whole)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(st.sampled_from([b"\r\n", b".", b"\r\n.", b"a"]), max_size=12),
        st.lists(st.integers(0, 30), max_size=3).map(sorted),
    )
    def test_decoded(self, pieces, places):
        """Whatever the content, the decoder of our server gets it back."""
        content = b"".join(pieces) + b"\r\n"
        ends = [*places, len(content)]
        chunks = [content[a:b] for a, b in zip([0, *places], ends, strict=True)]
        decoder = DotDecoder("reject")
        self.assertEqual(decoder.feed(stuff(*chunks)), (content, b""))
        self.assertFalse(decoder.bareNewline)

    def test_empty(self) -> None:
        """An empty message is its end only."""
        self.assertEqual(stuff(), b".\r\n")

    def test_lastLine(self) -> None:
        """A last line without its CRLF gets one, or the end wouldn't be found."""
        self.assertEqual(stuff(b"a"), b"a\r\n.\r\n")

    def test_bareNewlines(self) -> None:
        """A CR or LF by itself is refused: the next hop might see an end where there is none."""
        for chunks in ((b"a\n.\nb",), (b"a\r", b"b"), (b"a\n", b".\r\n"), (b"a\r",), (b"\n.\r\n",)):
            self.assertRaises(BareNewline, stuff, *chunks)
