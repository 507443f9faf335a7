"""Tests for fields of addresses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message import mailboxes
from twisted_smtpserver.message.bounds import MAX_MAILBOXES
from twisted_smtpserver.message.mailboxes import Mailbox, parseMailboxes


class ParseTests(SynchronousTestCase):
    def test_table(self) -> None:
        """What programs and people write."""
        table: dict[str, list[tuple[str, str]]] = {
            "": [],
            "joe@example.org": [("", "joe@example.org")],
            "<joe@example.org>": [("", "joe@example.org")],
            'Joe <joe@x.y>, "B, C" <b@c>': [("Joe", "joe@x.y"), ("B, C", "b@c")],
            "joe@x.y (Joe (really) B)": [("Joe (really) B", "joe@x.y")],
            "joe@x.y (Joe \\) B": [("Joe \\) B", "joe@x.y")],
            "(a)(b)joe@x.y((c))": [("a b (c)", "joe@x.y")],
            "friends: a@b, C <c@d>;": [("", "a@b"), ("C", "c@d")],
            "undisclosed-recipients:;": [],
            "<@r1,@r2:a@b>": [("", "a@b")],
            "=?utf-8?q?J=C3=B6rg?= <j@x>": [("Jörg", "j@x")],
            '"=?utf-8?q?J=C3=B6rg?=" <j@x>': [("Jörg", "j@x")],
            '"a b"@c.d': [("", '"a b"@c.d')],
            "joe@[IPv6:::1], x": [("", "joe@[IPv6:::1]"), ("x", "")],
            "a@b;c@d": [("", "a@b"), ("", "c@d")],
            '"unclosed <a@b>': [('"unclosed', "a@b")],
            "Joe <joe@x.y": [("Joe", "joe@x.y")],
            "(only comment)": [],
            '"\\"q\\\\" <a@b>': [('"q\\', "a@b")],
            "a . b @ c . d": [("", "a.b@c.d")],
            "Ann at home <a@b> now": [("Ann at home now", "a@b")],
            "Doe, John <j@d>": [("Doe", ""), ("John", "j@d")],
            '"a" "b" <x@y>': [("a b", "x@y")],
            "a<b><c>": [("a<c>", "b")],
            "a\x00b <c\r\n d@e>": [("a b", "c d@e")],
            "B\udcc3\udcb6b <x@\udcc3\udcbc.de>": [("Böb", "x@ü.de")],
            "a@b: c <d@e>": [("c", "d@e")],
            "<a@b>:c": [(":c", "a@b")],
        }
        for value, expected in table.items():
            self.assertEqual(list(parseMailboxes(value)), expected, value)

    def test_str(self) -> None:
        """A mailbox can be shown."""
        self.assertEqual(str(Mailbox("Joe", "j@x")), "Joe <j@x>")
        self.assertEqual(str(Mailbox("", "j@x")), "j@x")

    def test_bounded(self) -> None:
        """There are no more than so many, of no more than so many tokens."""
        self.assertEqual(len(parseMailboxes("a@b," * 5000)), MAX_MAILBOXES)
        self.patch(mailboxes, "_MAX_TOKENS", 5)
        self.assertEqual(len(parseMailboxes("a,b,c,d")), 3)

    @given(st.lists(st.sampled_from([*'<>()[]"\\,;:@. \r\nab\udcff', "=?utf-8?q?=41?="])))
    def test_any(self, pieces: list[str]) -> None:
        """Anything gives mailboxes of clean text."""
        for mailbox in parseMailboxes("".join(pieces)):
            self.assertTrue(all(text.isprintable() for text in mailbox), mailbox)
