"""The search box's language."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import deliver, openInbox
from twisted_smtpserver.inbox.search import MAX_LENGTH, MAX_TERMS, parseSearch
from twisted_smtpserver.inbox.store import MessageStore

MESSAGES = {
    "plain": b"From: Ann <ann@example.org>\nTo: Bob <bob@example.net>\nSubject: Reset password\n"
    b"Message-ID: <one@x>\n\nYour code is 123456, 100% sure_ly\n",
    "copied": "From: Zoë <zoe@example.com>\nTo: carl@example.net\nCc: dora@example.net\n"
    "Reply-To: help@example.com\nSubject: Grüße aus Zürich\n\nGute Straße, 東京へ\n".encode(),
    "files": b"From: ann@example.org\nSubject: Files\nX-Tags: Work\n"
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee there\n"
    b"--b\nContent-Type: image/png\nContent-ID: <p>\nContent-Disposition: inline\n\nPNG\n"
    b"--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=bill.pdf\n"
    b"\nPDF" + b"x" * 3000 + b"\n--b--\n",
}


class SearchTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Three messages, one second apart."""
        inbox = openInbox()
        self.store = inbox.desk.store
        recipients = {"copied": ("carl@example.net", "secret@example.net")}
        self.names = {
            deliver(inbox, message, *recipients.get(name, ())): name
            for name, message in MESSAGES.items()
        }

    def found(self, text: str, zone: str = "") -> list[str]:
        page = self.store.page(parseSearch(text, zone), 0, 50)
        return [self.names[message["ID"]] for message in reversed(page["messages"])]

    def test_words(self) -> None:
        """Words and pieces of words, in any case and any script, in texts, names and files."""
        self.assertEqual(self.found("PASSWORD"), ["plain"])
        self.assertEqual(self.found("asswor"), ["plain"])
        self.assertEqual(self.found("STRASSE"), [])
        self.assertEqual(self.found("straße"), ["copied"])
        self.assertEqual(self.found("東京へ"), ["copied"])
        self.assertEqual(self.found("ZÜRICH"), ["copied"])
        self.assertEqual(self.found("bill"), ["files"])
        self.assertEqual(self.found("example.net"), ["plain", "copied", "files"])

    def test_short(self) -> None:
        """What is shorter than a trigram is found, too; wildcards are characters."""
        self.assertEqual(self.found("東京"), ["copied"])
        self.assertEqual(self.found("0%"), ["plain"])
        self.assertEqual(self.found("_l"), ["plain"])
        self.assertEqual(self.found("%"), ["plain"])

    def test_phrases(self) -> None:
        """A phrase in quotes; one that isn't closed ends with the search."""
        self.assertEqual(self.found('"code is"'), ["plain"])
        self.assertEqual(self.found('"is code"'), [])
        self.assertEqual(self.found('is code "code is'), ["plain"])
        self.assertEqual(self.found('subject:"reset password"'), ["plain"])

    def test_operators(self) -> None:
        """FTS5's own operators are words like any other."""
        for text in (
            "AND",
            "code OR 123456x",
            "NEAR(code is)",
            "content:code",
            "cod*",
            "^code",
            "(",
            "-",
        ):
            self.assertEqual(self.found(text), [], text)

    def test_all(self) -> None:
        """All terms must be true; an empty search is, and so is one that is half typed."""
        self.assertEqual(self.found("code sure"), ["plain"])
        self.assertEqual(self.found("code Zürich"), [])
        self.assertEqual(self.found(""), ["plain", "copied", "files"])
        self.assertEqual(self.found("from: tag: before:"), ["plain", "copied", "files"])

    def test_denied(self) -> None:
        """A term after - or ! must be false."""
        self.assertEqual(self.found("-code"), ["copied", "files"])
        self.assertEqual(self.found("!from:ann"), ["copied"])
        self.assertEqual(self.found("-has:attachment -is:read"), ["plain", "copied"])

    def test_people(self) -> None:
        """Senders and recipients, by name or address."""
        self.assertEqual(self.found("from:ann@"), ["plain", "files"])
        self.assertEqual(self.found("FROM:Zoë"), ["copied"])
        self.assertEqual(self.found("to:bob"), ["plain"])
        self.assertEqual(self.found("cc:dora"), ["copied"])
        self.assertEqual(self.found("reply-to:help"), ["copied"])
        self.assertEqual(self.found("addressed:example.com"), ["copied"])
        self.assertEqual(self.found("to:%"), [])

    def test_hidden(self) -> None:
        """Who got it without being named in it got a blind copy."""
        self.assertEqual(self.found("bcc:secret"), ["copied"])
        self.assertEqual(self.found("bcc:carl"), [])

    def test_states(self) -> None:
        """Read, unread, tagged, with files, with pictures; by id and by tag."""
        self.assertEqual(self.found("has:attachment"), ["files"])
        self.assertEqual(self.found("has:inline"), ["files"])
        self.assertEqual(self.found("is:tagged"), ["files"])
        self.assertEqual(self.found("tag:work"), ["files"])
        self.assertEqual(self.found("tag:wor"), [])
        self.assertEqual(self.found("message-id:one@x"), ["plain"])
        self.store.markRead(parseSearch("subject:reset"), True)
        self.assertEqual(self.found("is:read"), ["plain"])
        self.assertEqual(self.found("is:unread"), ["copied", "files"])

    def test_sizes(self) -> None:
        """Larger and smaller, with units."""
        self.assertEqual(self.found("larger:2k"), ["files"])
        self.assertEqual(self.found("smaller:2KB"), ["plain", "copied"])
        self.assertEqual(self.found("larger:1M"), [])
        self.assertEqual(
            parseSearch("larger:big").problems, ["'big' is not a size such as 500k or 2M"]
        )

    def test_dates(self) -> None:
        """Days and times, in a time zone."""
        everything = ["plain", "copied", "files"]
        self.assertEqual(self.found("after:2026-11-21"), everything)
        self.assertEqual(self.found("before:2026-11-21"), [])
        self.assertEqual(self.found("before:2026/11/22"), everything)
        self.assertEqual(self.found("after:2026-11-21T12:00:02Z"), ["copied", "files"])
        # 12:00 UTC on the 21st is the 22nd in Auckland.
        self.assertEqual(self.found("after:2026-11-22", "Pacific/Auckland"), everything)
        for zone in ("nowhere", "../../etc/passwd", "/etc", "\x00", "x" * 5000):
            self.assertEqual(self.found("after:2026-11-22", zone), [], zone)

    def test_noDates(self) -> None:
        """A text that isn't a date is reported."""
        for text in ("yesterday", "2026-13-01", "99999-01-01", "0001-01-01T00:00:00"):
            problems = parseSearch(f"before:{text}").problems
            self.assertTrue(problems == [] or "is not a date" in problems[0], text)
        self.assertEqual(
            parseSearch("before:soon").problems, ["'soon' is not a date such as 2026-11-21"]
        )

    def test_bounded(self) -> None:
        """A search has a length, and a number of terms; more is reported."""
        long = parseSearch("x" * (MAX_LENGTH + 1))
        self.assertEqual(len(long.problems), 1)
        many = parseSearch("ab " * (MAX_TERMS + 1))
        self.assertEqual((len(many.clauses), len(many.problems)), (MAX_TERMS, 1))


class TotalTests(SynchronousTestCase):
    store = MessageStore()

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    '"',
                    "-",
                    "!",
                    ":",
                    " ",
                    "from:",
                    "before:",
                    "larger:",
                    "tag:",
                    "\\",
                    "%",
                    "'",
                    "é",
                ]
            )
            | st.text(max_size=5)
        ).map("".join),
        st.text(max_size=10),
    )
    def test_total(self, text: str, zone: str) -> None:
        """Any text is a search that SQLite can run."""
        self.store.page(parseSearch(text, zone), 0, 1)

    def test_noValueInSQL(self) -> None:
        """Nothing of the search's values is in the SQL."""
        for name in ("from", "tag", "before", "larger", ""):
            sql = parseSearch(f"{name}:qqqq'qqqq").sql
            self.assertIsNone(re.search("qqqq", sql), name)
