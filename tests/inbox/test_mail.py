"""What the inbox makes of a parsed message."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import deliver, openInbox
from twisted_smtpserver.inbox.mail import inlines, shorten, snippetOf, textOf, typeOf
from twisted_smtpserver.inbox.rows import MAX_INDEXED, MAX_SUBJECT
from twisted_smtpserver.inbox.search import Condition, parseSearch
from twisted_smtpserver.inbox.tags import MAX_TAG, MAX_TAGS, tagsOf
from twisted_smtpserver.message.mailboxes import Mailbox
from twisted_smtpserver.message.parsed import Attachment, parseMessage


class TextTests(SynchronousTestCase):
    def test_words(self) -> None:
        """Of a page only what it shows is left."""
        for page, text in {
            "<p>One<b>two</b>": "One two",
            "a<STYLE x>b</style>c<script>d</script>e": "a c e",
            "a<script>b": "a",
            "a<title/>b</TITLE >c": "a c",
            "<scripted>a": "a",
            "x &lt;y&gt; &amp; &#65;&#x42;": "x <y> & AB",
            "a<b": "a",
            "": "",
        }.items():
            self.assertEqual(textOf(page), text, page)

    def test_letters(self) -> None:
        """Letters that change their length in lower case move nothing."""
        self.assertEqual(textOf("İ<script>x</script>y").casefold(), "i̇ y")

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.sampled_from(["<", ">", "/", "&", "#", "script", "9" * 5000, "İ", "x", " "])
        ).map("".join)
    )
    def test_total(self, page: str) -> None:
        """Any page has a text, however large the numbers in it are."""
        textOf(page)

    def test_snippet(self) -> None:
        """The beginning of the text, or of the HTML, in one line."""
        self.assertEqual(snippetOf(parseMessage(b"\r\none\r\n  two\r\n")), "one two")
        page = b"Content-Type: text/html\r\n\r\n<p>one</p>two"
        self.assertEqual(snippetOf(parseMessage(page)), "one two")
        self.assertEqual(len(snippetOf(parseMessage(b"\r\n" + b"x" * 1000))), 250)


class PartTests(SynchronousTestCase):
    def make(
        self, kind: str = "image/png", identifier: str = "", inline: bool = False
    ) -> Attachment:
        return Attachment("a", kind, identifier, inline, b"")

    def test_types(self) -> None:
        """What isn't a type is none."""
        self.assertEqual(typeOf(self.make("image/png")), "image/png")
        for wrong in ("", "image", "image/", "a/b;c", "a/b\r\nc", "x" * 100 + "/y"):
            self.assertEqual(typeOf(self.make(wrong)), "application/octet-stream")

    def test_inline(self) -> None:
        """A part belongs to the text if it says so, or if the HTML refers to it."""
        message = parseMessage(b"Content-Type: text/html\r\n\r\n<img src=cid:logo> cid:")
        names = ("logo", "other", "log", "")
        parts = [self.make(inline=True), *[self.make(identifier=name) for name in names]]
        message = replace(message, attachments=tuple(parts))
        self.assertEqual(inlines(message), [True, True, False, False, False])


class BoundTests(SynchronousTestCase):
    def test_shorten(self) -> None:
        """A list of people has only as many as there is room for."""
        boxes = [Mailbox("x" * 10, "y" * 10)] * 5
        self.assertEqual(len(shorten(boxes, 59)), 2)
        self.assertEqual(len(shorten(boxes, 100)), 5)

    def test_indexed(self) -> None:
        """Searches look at the beginning of a text only."""
        inbox = openInbox(maxOctets=2**23)
        deliver(inbox, b"\nearly\n" + (b"x" * 900 + b"\n") * (MAX_INDEXED // 900 + 1) + b"late\n")
        found = [inbox.desk.store.page(parseSearch(w), 0, 1)["count"] for w in ("early", "late")]
        self.assertEqual(found, [1, 0])

    def test_tags(self) -> None:
        """A message has a bounded number of tags, of bounded length."""
        tags = tagsOf([*map(str, range(100)), "x" * 1000])
        self.assertEqual(len(tags), MAX_TAGS)
        self.assertEqual(len(tagsOf(["x" * 1000])[0]), MAX_TAG)

    def test_row(self) -> None:
        """A row of the list is bounded, whatever the message has in its header."""
        inbox = openInbox(maxOctets=2**23)
        many = b", ".join(b"a%d@example.org" % n for n in range(2000))
        lines = [b"Subject: " + b"s" * 50_000, b"From: " + b"f" * 50_000 + b" <a@x.test>"]
        lines += [name + b": " + many for name in (b"To", b"Cc", b"Reply-To")]
        lines += [b"X-Tags: " + b"t, " * 5000 + b"u" * 5000, b"Message-ID: <" + b"m" * 5000 + b">"]
        deliver(inbox, b"\n".join([*lines, b"", b"text", b""]))
        [row] = inbox.desk.store.page(Condition(), 0, 1)["messages"]
        self.assertLess(len(str(row)), 30_000)
        self.assertEqual(len(row["Subject"]), MAX_SUBJECT)
        self.assertEqual(row["From"], {"Name": "", "Address": ""})
        self.assertEqual(len(row["Tags"]), 2)
        whole, _ = inbox.desk.store.message(row["ID"]) or ({}, False)
        self.assertEqual(len(whole["To"]), 2000)
