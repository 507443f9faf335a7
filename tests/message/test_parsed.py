"""Tests for messages as their readers see them."""

from __future__ import annotations

import datetime
import email
import email.policy
import sys
from email.message import EmailMessage
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.brokenmail import ALL_OCTETS, CORPUS, field, multipart, nested, text
from twisted_smtpserver.message import bounds
from twisted_smtpserver.message.parsed import (
    Attachment,
    Field,
    Mailbox,
    ParsedMessage,
    fileName,
    parseMessage,
    parsing,
)


def invitation() -> EmailMessage:
    """A message as a good program makes it."""
    message = EmailMessage()
    message["From"] = "Jörg <joerg@example.org>"
    message["To"] = '"Doe, Jane" <jane@example.com>, bob@example.com'
    message["Cc"] = "carol@example.com"
    message["Reply-To"] = "list@example.org"
    message["Subject"] = "Grüße aus Köln, und noch viel mehr, so daß es auf eine Zeile nicht paßt"
    message["Date"] = "Mon, 01 Jan 2024 12:00:00 +0100"
    message["Message-ID"] = "<1@example.org>"
    message.set_content("Schöne Grüße\n")
    message.add_alternative('<p>Grüße <img src="cid:logo"></p>\n', subtype="html")
    html: Any = list(message.iter_parts())[1]
    html.add_related(b"\x89PNG", "image", "png", cid="<logo>")
    message.add_attachment(b"%PDF", "application", "pdf", filename="Einladung für Jane.pdf")
    return message


def check(parsed: ParsedMessage) -> None:
    """Assert that all of it is text that UTF-8 can encode, and of bounded length."""
    mailboxes = parsed.from_ + parsed.sender + parsed.replyTo + parsed.to + parsed.cc + parsed.bcc
    lines = [parsed.subject, parsed.messageId, *parsed.problems]
    lines += [value for header in parsed.headers for value in header]
    lines += [value for mailbox in mailboxes for value in mailbox]
    for attachment in parsed.attachments:
        lines += [attachment.name, attachment.contentType, attachment.contentId]
    for line in lines:
        assert line.isprintable() or not any(ord(letter) < 32 for letter in line), repr(line)
    "".join([*lines, parsed.text, parsed.html]).encode("utf-8")
    assert "\0" not in parsed.text + parsed.html
    assert len(parsed.text) <= bounds.MAX_TEXT + bounds.MAX_PARTS, len(parsed.text)
    assert parsed.date is None or parsed.date.utcoffset() is not None
    repr(parsed), repr(parsed.attachments)


class WholeTests(SynchronousTestCase):
    """A message in which all is as it should be."""

    def test_all(self) -> None:
        """All of it is there, decoded."""
        parsed = parseMessage(invitation().as_bytes())
        read = email.message_from_bytes(invitation().as_bytes(), policy=email.policy.default)
        self.assertEqual(parsed.subject, read["Subject"])
        self.assertEqual(parsed.from_, (Mailbox("Jörg", "joerg@example.org"),))
        self.assertEqual(str(parsed.to[0]), "Doe, Jane <jane@example.com>")
        self.assertEqual(parsed.to[1], ("", "bob@example.com"))
        self.assertEqual([box.address for box in parsed.cc], ["carol@example.com"])
        self.assertEqual([box.address for box in parsed.replyTo], ["list@example.org"])
        self.assertEqual((parsed.sender, parsed.bcc), ((), ()))
        noon = datetime.datetime(2024, 1, 1, 11, tzinfo=datetime.timezone.utc)
        self.assertEqual(parsed.date, noon)
        self.assertEqual(parsed.messageId, "1@example.org")
        self.assertEqual(parsed.text, "Schöne Grüße\n")
        self.assertEqual(parsed.html, '<p>Grüße <img src="cid:logo"></p>\n')
        self.assertEqual(
            parsed.attachments,
            (
                Attachment("", "image/png", "logo", True, b"\x89PNG"),
                Attachment("Einladung für Jane.pdf", "application/pdf", "", False, b"%PDF"),
            ),
        )
        self.assertEqual(parsed.problems, ())
        self.assertIn("Grüße", repr(parsed))

    def test_givenBack(self) -> None:
        """The message's octets are given back in a slice of their own, before the result is."""
        octets = multipart(b"\r\nHello", b"Content-Type: a/b\r\n\r\nHello")
        count = sys.getrefcount(octets)
        steps = parsing(octets)
        counts = [sys.getrefcount(octets) for _ in steps]
        self.assertGreater(counts[-2], count)
        self.assertEqual(counts[-1], count)

    def test_kinds(self) -> None:
        """Octets of any kind do, and a message that the standard library made."""
        message = invitation()
        octets = message.as_bytes()
        expected = parseMessage(octets)
        for same in (bytearray(octets), memoryview(octets), message):
            self.assertEqual(parseMessage(same), expected)
        self.assertEqual(parseMessage(octets.replace(b"\n", b"\r\n")), expected)

    def test_unwritable(self) -> None:
        """So does one that the standard library can't write any more."""
        message = EmailMessage()
        message["Subject"] = "hi"
        message.set_payload(["no part"])
        self.assertEqual(parseMessage(message).attachments, ())

    def test_headers(self) -> None:
        """Every field of the message can be had by name, in any case."""
        octets = b"X-A: 1\r\nx-a: =?utf-8?q?=C3=A4?=\r\n two\r\nSubject: hi\r\n\r\n"
        headers = parseMessage(octets).headers
        self.assertEqual(headers, (("X-A", "1"), ("x-a", "ä two"), ("Subject", "hi")))
        self.assertEqual(headers.get("x-A"), "1")
        self.assertEqual(headers.getAll("X-a"), ["1", "ä two"])
        self.assertEqual((headers.get("Y"), headers.get("Y", "none")), ("", "none"))
        self.assertIsInstance(headers[0], Field)

    def test_texts(self) -> None:
        """Several texts follow each other; a text with a name, or to be attached, is attached."""
        parsed = parseMessage(
            multipart(
                b"\r\none",
                b"Content-Type: text/html\r\n\r\n<p>",
                b"Content-Type: text/plain; name=a.txt\r\n\r\nnamed",
                b"Content-Disposition: Attachment\r\n\r\nattached",
                b"\r\ntwo",
            )
        )
        self.assertEqual((parsed.text, parsed.html), ("one\ntwo", "<p>"))
        self.assertEqual([each.content for each in parsed.attachments], [b"named", b"attached"])

    def test_message(self) -> None:
        """A message in the message is an attachment, which can be parsed."""
        part = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nhello"
        [attachment] = parseMessage(multipart(part)).attachments
        self.assertEqual(attachment.contentType, "message/rfc822")
        inner = parseMessage(attachment.content)
        self.assertEqual((inner.subject, inner.text), ("inner", "hello"))


class BrokenTests(SynchronousTestCase):
    """Messages in which nothing is as it should be."""

    def test_corpus(self) -> None:
        """None of a corpus of broken mail makes it raise, and what comes out is clean."""
        for name, octets in CORPUS.items():
            with self.subTest(name):
                check(parseMessage(octets))
                check(parseMessage(octets.replace(b"\r\n", b"\n")))

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([*CORPUS.values()]), max_size=2), st.binary(), st.integers(0))
    def test_anything(self, pieces: list[bytes], octets: bytes, at: int) -> None:
        """Nor do any octets, alone or in the middle of such mail."""
        whole = b"".join(pieces)
        at = at % (len(whole) + 1) % 2000
        check(parseMessage(whole[:at] + octets + whole[at : at + 20000]))

    def test_examples(self) -> None:
        """What can be understood of it is understood."""
        expected = {
            "8-bit fields": "Grüße",
            "8-bit fields, Latin-1": "Grüße",
            "duplicate fields": "1",
            "first line is a continuation": "hi",
            "from a mailbox file": "hi",
            "encoded words, cut in two": "ä",
            "encoded words, hidden newline": "a Bcc: x",
            "NULs": "a b",
        }
        found = {name: parseMessage(CORPUS[name]).subject for name in expected}
        self.assertEqual(found, expected)
        self.assertEqual(parseMessage(CORPUS["8-bit fields"]).from_[0].name, "Jörg")
        self.assertEqual(parseMessage(text("", b"a\x00b\rc\r\n")).text, "a\ufffdb\nc\n")
        self.assertEqual(parseMessage(CORPUS["dates"]).date, None)


class BoundTests(SynchronousTestCase):
    """What is too complex stays whole, and is told."""

    def assertProblem(self, parsed: ParsedMessage, problem: str) -> None:
        """Assert that it was told, once."""
        self.assertEqual(len(parsed.problems), 1, parsed.problems)
        self.assertIn(problem, parsed.problems[0])

    def test_nesting(self) -> None:
        """Parts that are too deep are in an attachment."""
        parsed = parseMessage(nested(1000))
        self.assertProblem(parsed, "more than 30 parts within each other")
        [attachment] = parsed.attachments
        self.assertTrue(attachment.content.endswith(b"deep inside\r\n"))
        self.assertEqual(parseMessage(nested(30)).text, "deep inside\n")
        self.assertEqual(parseMessage(nested(30)).problems, ())

    def test_parts(self) -> None:
        """What comes after too many parts is in one attachment."""
        parsed = parseMessage(multipart(*[b"\r\nx"] * (bounds.MAX_PARTS + 9)))
        self.assertProblem(parsed, "more than 1000 parts")
        [attachment] = parsed.attachments
        # The message is a part, too.
        self.assertEqual(attachment.content, b"\r\nx\r\n--b\r\n" * 9 + b"\r\nx\r\n--b--\r\n")

    def test_text(self) -> None:
        """Of a text that is too long there is the beginning, and all of it in an attachment."""
        long = b"x" * bounds.MAX_TEXT
        self.assertEqual(parseMessage(multipart(b"\r\n" + long)).attachments, ())
        parsed = parseMessage(multipart(b"\r\n" + long + b"y", b"\r\nz"))
        self.assertProblem(parsed, "octets of text/plain")
        self.assertEqual(parsed.text, long.decode())
        self.assertEqual([part.content for part in parsed.attachments], [long + b"y", b"z"])

    def test_fields(self) -> None:
        """Of fields that are too many, or too long, there is the beginning; then comes the body."""
        octets = b"a:b\r\n" * (bounds.MAX_FIELDS + 1) + b"\r\nhello"
        parsed = parseMessage(octets)
        self.assertProblem(parsed, "more than 5000 header fields")
        self.assertEqual((len(parsed.headers), parsed.text), (bounds.MAX_FIELDS, "hello"))
        parsed = parseMessage(b"X: " + b"a b\r\n " * 2**15 + b"\r\nY: z\r\n\r\nhello")
        self.assertProblem(parsed, "a header field of 65536 octets")
        self.assertEqual((parsed.headers.get("y"), parsed.text), ("z", "hello"))
        self.assertLess(len(parsed.headers.get("x")), bounds.MAX_FIELD)

    def test_header(self) -> None:
        """Of a header that is too long there is the beginning."""
        line = b"X: " + b"x" * 10000 + b"\r\n"
        parsed = parseMessage(line * 100 + b"\r\nhello")
        self.assertProblem(parsed, "a header of more than")
        self.assertEqual((len(parsed.headers), parsed.text), (27, "hello"))
        self.assertEqual(parseMessage(line * 1000).text, "")

    def test_parameters(self) -> None:
        """Of parameters that are too many there are the first."""
        self.assertProblem(parseMessage(CORPUS["1,000 parameters"]), "more than 100 parameters")

    def test_addresses(self) -> None:
        """Likewise of addresses."""
        self.assertEqual(len(parseMessage(field("To", b"a@b," * 9000)).to), bounds.MAX_MAILBOXES)


class FileNameTests(SynchronousTestCase):
    """Names of files."""

    def test_table(self) -> None:
        """No name leads out of the folder it is used in, or is none."""
        table = {
            "a.txt": "a.txt",
            "Grüße.pdf": "Grüße.pdf",
            "/etc/passwd": "passwd",
            "..\\..\\autoexec.bat": "autoexec.bat",
            "..": "",
            ".": "",
            "": "",
            "a/": "",
            ".bashrc": "bashrc",
            'a<b>:"c|d?*': "a_b___c_d__",
            "a\r\nb\0c": "a b c",
            "con\u202efdp.exe": "con\u202efdp.exe",
        }
        for name, expected in table.items():
            self.assertEqual(fileName(name), expected, name)

    def test_long(self) -> None:
        """A name is cut to what file systems take, and keeps its ending."""
        self.assertEqual(fileName("x" * 300 + ".pdf"), "x" * 251 + ".pdf")
        self.assertEqual(fileName("ä" * 300), "ä" * 127)
        self.assertEqual(len(fileName("x." + "y" * 300)), 22 + 1 - 2 + 1)
        self.assertEqual(len(fileName("." + "ä" * 300).encode()), 254)

    @given(st.text())
    def test_any(self, name: str) -> None:
        """Any text gives a good name, or none."""
        found = fileName(name)
        self.assertLessEqual(len(found.encode()), 255)
        self.assertEqual(set(found) & set("/\\\0\r\n"), set())
        self.assertNotIn(found, (".", ".."))

    def test_repr(self) -> None:
        """An attachment's repr hasn't its content."""
        self.assertLess(len(repr(Attachment("a", "b/c", "", False, ALL_OCTETS))), 60)
