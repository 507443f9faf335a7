"""Tests for header fields that the standard library doesn't get to parse."""

from __future__ import annotations

import datetime
import email
import email.policy
from email.headerregistry import HeaderRegistry
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.message import libraryheaders
from twisted_smtpserver.message.libraryheaders import MAX_LIBRARY_FIELD, BoundedHeaders

POLICY = email.policy.SMTP
LONG = " " * (1 + MAX_LIBRARY_FIELD)


class LongTests(SynchronousTestCase):
    """Fields that are long have what short ones have."""

    def make(self, name: str, value: str) -> tuple[Any, Any]:
        """A field as we parse it when it is long, and as the library does."""
        return BoundedHeaders()(name, value + LONG), POLICY.header_factory(name, value)

    def test_text(self) -> None:
        """Text is decoded."""
        for name in ("Subject", "X-Y", "Message-ID", "MIME-Version"):
            ours, theirs = self.make(name, "=?utf-8?q?Gr=C3=BC=C3=9Fe?= aus K")
            self.assertEqual(ours, "Grüße aus K" if name != "MIME-Version" else ours)
            self.assertEqual((ours.name, ours.defects), (theirs.name, ()))
        self.assertEqual((ours.version, ours.major, ours.minor), (None, None, None))

    def test_addresses(self) -> None:
        """Addresses can be had one by one."""
        value = '"Doe, Jane" <jane@x.example>, =?utf-8?q?J=C3=B6rg?= <j@y.example>, k@z.example'
        for name in ("To", "Cc", "From", "Resent-To"):
            ours, theirs = self.make(name, value)
            self.assertEqual(ours.addresses, theirs.addresses)
            self.assertEqual(ours.groups, theirs.groups)
            self.assertEqual(ours, theirs)
            self.assertRaises(ValueError, lambda ours=ours: ours.address)
        self.assertEqual(self.make("Sender", "joe@x")[0].address.addr_spec, "joe@x")
        self.assertEqual(self.make("Sender", "joe")[0].address.display_name, "joe")

    def test_date(self) -> None:
        """A date is one, if it is no longer than that."""
        value = "Mon, 01 Jan 2024 12:00:00 +0100"
        ours, theirs = self.make("Date", value)
        self.assertEqual(ours.datetime, theirs.datetime)
        self.assertIsInstance(ours.datetime, datetime.datetime)
        ours, _ = self.make("Date", "x" * 999)
        self.assertEqual((ours.datetime, len(ours.defects)), (None, 1))

    def test_parameters(self) -> None:
        """Parameters can be had by name, and by the message's methods."""
        kind = 'text/HTML; charset=utf-8; name="a;\\"b"; x*0=c; x*1*=%41; y*=utf-8\'\'%C3%BC'
        ours, theirs = self.make("Content-Type", kind)
        self.assertEqual(dict(ours.params), dict(theirs.params))
        parts = (ours.content_type, ours.maintype, ours.subtype)
        self.assertEqual(parts, ("text/html", "text", "html"))
        ours, theirs = self.make("Content-Disposition", "Attachment; filename=x.pdf")
        self.assertEqual(ours.content_disposition, theirs.content_disposition.lower())
        self.assertEqual(self.make("Content-Transfer-Encoding", "Base64")[0].cte, "base64")
        octets = f"Content-Type: {kind}{LONG}\r\nContent-Disposition: x; filename=ü{LONG}\r\n\r\n"
        policy = POLICY.clone(header_factory=BoundedHeaders())
        message: Any = email.message_from_bytes(octets.encode(), policy=policy)
        self.assertEqual(message.get_content_type(), "text/html")
        self.assertEqual(message.get_content_charset(), "utf-8")
        self.assertEqual(message.get_param("name"), 'a;"b')
        self.assertEqual(message.get_filename(), "ü")
        self.assertEqual(ours.max_count, 1)

    def test_many(self) -> None:
        """
        Of many short fields the library gets the first ones that have a structure, and text never.
        """
        names: list[str] = []

        def parse(self: Any, name: str, value: Any) -> Any:
            names.append(name)
            return original(self, name, value)

        original = HeaderRegistry.__call__
        self.patch(HeaderRegistry, "__call__", parse)
        self.patch(libraryheaders, "_long", lambda name, value: "ours")
        headers = BoundedHeaders()
        self.assertEqual(headers("Subject", "x"), "ours")
        for number in range(100):
            headers("To", f"{number:03}" + "((" * 20)
        self.assertEqual(len(names), 300 // len("To: 000" + "((" * 20))

    def test_hostile(self) -> None:
        """What makes the library's parser fall over is read, however short."""
        for name, value in (
            ("Content-Type", "(" * 150),
            ("To", "g:" + "a@b," * 30),
            ("To", "a:b;" * 30),
            ("Content-Type", "text/plain; " + "(" * 5000),
        ):
            self.assertIsInstance(BoundedHeaders()(name, value), str)

    def test_objects(self) -> None:
        """What a program sets, which may be an object, is the library's business."""
        now = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
        self.assertEqual(BoundedHeaders()("Date", now).datetime, now)

    def test_once(self) -> None:
        """A field is parsed once, however often it is read."""
        headers = BoundedHeaders()
        self.assertIs(headers("Subject", "x"), headers("Subject", "x"))
        calls: list[object] = []
        self.patch(libraryheaders, "_long", lambda *call: calls.append(call))
        headers("Subject", LONG), headers("Subject", LONG)
        self.assertEqual(calls, [("Subject", LONG)])


class FoldTests(SynchronousTestCase):
    """Fields that are long are written in lines that aren't."""

    def fold(self, value: str, **policy: Any) -> str:
        folded = BoundedHeaders()("X-Y", value).fold(policy=POLICY.clone(**policy))
        assert isinstance(folded, str)
        self.assertTrue(folded.startswith("X-Y:"))
        self.assertTrue(folded.endswith("\r\n"))
        return folded

    def assertFolded(self, value: str) -> None:
        """Assert that it is folded, and unfolds to what it was."""
        folded = self.fold(value)
        lines = folded.removesuffix("\r\n").split("\r\n")
        self.assertGreater(len(lines), 1)
        self.assertLess(max(map(len, lines)), 79)
        self.assertEqual({line[:1] for line in lines[1:]}, {" "})
        read = POLICY.header_factory("X-Y", folded[4:].replace("\r\n", "").strip())
        self.assertEqual(read, value)

    def test_ascii(self) -> None:
        """At blanks, if it is ASCII."""
        self.assertFolded("hello " * 50 + "world")
        self.assertEqual(self.fold("x" * 300), f"X-Y:\r\n {'x' * 300}\r\n")

    def test_encoded(self) -> None:
        """In encoded words, if it isn't."""
        self.assertFolded("hello Grüße aus Köln " * 20 + "world")
        self.assertFolded("ü" * 300)

    def test_octets(self) -> None:
        """Octets that are no UTF-8 are taken for what they will be."""
        folded = self.fold(b"x \xfc ".decode("ascii", "surrogateescape") * 80)
        self.assertTrue(folded.isascii())

    def test_utf8(self) -> None:
        """As it is, where UTF-8 is allowed (RFC 6532)."""
        self.assertIn("Grüße\r\n", self.fold("Grüße " * 80, utf8=True))

    @given(st.text(st.characters(codec="utf-8"), min_size=MAX_LIBRARY_FIELD + 1))
    def test_any(self, value: str) -> None:
        """Any text can be written; no line break gets in."""
        for line in self.fold(value).removesuffix("\r\n").split("\r\n")[1:]:
            self.assertIn(line[:1], (" ", "\t"))
