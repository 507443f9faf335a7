"""How the HTML of strangers is cut for the search of what connects."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.inbox import htmlview
from twisted_smtpserver.inbox.htmlview import showHTML

PIECES = ["<link ", "<iframe>", "<", "cid:a ", " ", "x" * 30, "<p>", "y" * 300]


class SliceTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=30))
    def test_cut(self, pieces: list[str]) -> None:
        """Wherever it is cut, no piece is long, and nothing that connects is left in it."""
        self.patch(htmlview, "_SLICE", 40)
        self.patch(htmlview, "_LONGEST_SLICE", 160)
        html = "".join(pieces)
        try:
            found = list(htmlview._slices(html))
            shown = showHTML(html, "0123", "h", isRemote=False).body.decode()
        finally:
            self.patch(htmlview, "_SLICE", 16384)
            self.patch(htmlview, "_LONGEST_SLICE", 65536)
        self.assertEqual("".join(found), html)
        self.assertLessEqual(max(map(len, found), default=0), 200)
        self.assertNotIn("<link", shown)
        self.assertNotIn("<iframe", shown)
