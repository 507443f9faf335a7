"""Tests for the standard library's messages, made by our own parser."""

from __future__ import annotations

import copy
import email
import email.policy
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from email import errors
from email.message import EmailMessage
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.message.test_parsed import invitation
from tests.support.brokenmail import CORPUS, field, multipart, nested, text
from tests.support.slicing import countSlices
from twisted_smtpserver import MessageTooComplex
from twisted_smtpserver.message import bounds, libraryheaders
from twisted_smtpserver.message.emailmessage import building
from twisted_smtpserver.message.latetext import LateText
from twisted_smtpserver.message.slices import finish

MiB = 2**20


def build(octets: bytes) -> EmailMessage:
    return finish(building(octets))


def tree(message: Any) -> object:
    """All that is in a message, for comparison."""
    payload = message.get_payload()
    return (
        message.get_content_type(),
        message.items(),
        message.preamble,
        message.epilogue,
        [tree(part) for part in payload] if message.is_multipart() else payload,
    )


def preceded(preamble: bytes, octets: bytes) -> bytes:
    """A multipart with a preamble."""
    return octets.replace(b"\r\n\r\n--b", b"\r\n\r\n" + preamble + b"\r\n--b", 1)


def library(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.SMTP)


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    """Messages as they should be, with lines that look like boundaries, and aren't."""
    line = st.sampled_from([b"", b"hello", b"--", b"--b", b"--b0x", b"\xc3\xa4", b" x", b"From a"])
    body = b"\r\n".join(draw(st.lists(line, max_size=4)))
    kind = draw(st.sampled_from(["text", "mixed", "digest", "message"])) if depth < 3 else "text"
    if kind == "text":
        return b"Subject: x\r\nContent-Type: text/plain\r\n\r\n" + body
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n\r\n" + draw(messages(depth + 1))
    boundary = b"b%d" % depth
    parts = draw(st.lists(messages(depth + 1), min_size=1, max_size=3))
    preamble, epilogue = draw(st.sampled_from([b"", b"\r\n", b"pre\r\n"])), body
    opened = b"Content-Type: multipart/%b; boundary=%b\r\n\r\n%b" % (
        kind.encode(),
        boundary,
        preamble,
    )
    inner = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return opened + inner + b"--%b--\r\n" % boundary + epilogue


class BuildTests(SynchronousTestCase):
    def assertSame(self, octets: bytes) -> None:
        """Assert that it is what the library makes of it."""
        self.assertEqual(tree(build(octets)), tree(library(octets)))

    @settings(deadline=None)
    @given(messages())
    def test_same(self, octets: bytes) -> None:
        """A message is what the library makes of it."""
        self.assertSame(octets)

    def test_invitation(self) -> None:
        """So is one that the library wrote; and it is written as it came."""
        octets = invitation().as_bytes(policy=email.policy.SMTP)
        self.assertSame(octets)
        self.assertEqual(build(octets).as_bytes(), octets)
        html = build(octets).get_body(("html",))
        assert html is not None
        self.assertIn("Grüße", html.get_content())

    def test_ends(self) -> None:
        """However it ends, it is written as it came."""
        whole = multipart(b"\r\nx")
        for octets in (whole, whole + b"\r\n", whole + b"end"):
            self.assertEqual(build(octets).as_bytes(), octets)
        unended = whole.removesuffix(b"\r\n")
        self.assertEqual(build(unended).as_bytes(), whole)

    def test_deliveryStatus(self) -> None:
        """So is a delivery status, of which each block of fields is a message (RFC 3464 §2)."""
        self.assertSame(CORPUS["delivery status"])
        [status] = build(CORPUS["delivery status"]).iter_parts()
        self.assertEqual([dict(block) for block in status.iter_parts()][1], {"Action": "failed"})

    def test_defects(self) -> None:
        """What is wrong is noted as the library does."""
        table = {
            "no blank line": errors.MissingHeaderBodySeparatorDefect,
            "multipart without a boundary": errors.NoBoundaryInMultipartDefect,
            "boundary never comes": errors.StartBoundaryNotFoundDefect,
            "boundary is never closed": errors.CloseBoundaryNotFoundDefect,
        }
        for name, defect in table.items():
            [found] = build(CORPUS[name]).defects
            self.assertIsInstance(found, defect)

    def test_corpus(self) -> None:
        """Every field of every message that isn't refused can be read, and the message written."""
        for name, octets in CORPUS.items():
            with self.subTest(name):
                try:
                    message = build(octets)
                except MessageTooComplex:
                    continue
                for part in message.walk():
                    self.assertEqual(len(part.items()), len(part.keys()))
                    part.get_content_type(), part.get_filename(), part.get_content_charset()
                message.as_bytes()

    def test_copies(self) -> None:
        """A message can be copied and pickled, before and after it was read."""
        small = invitation().as_bytes(policy=email.policy.SMTP)
        for octets in (small, text("utf-8", "ä\r\n".encode() * 30_000)):
            message = build(octets)
            for _ in range(2):
                self.assertEqual(copy.deepcopy(message).as_bytes(), octets)
                self.assertEqual(pickle.loads(pickle.dumps(message)).as_bytes(), octets)
                list(message.items())


class BoundTests(SynchronousTestCase):
    """What is too complex is refused."""

    def assertRefused(self, octets: bytes, what: str) -> None:
        """Assert that it is, and what is said."""
        refusal = self.assertRaises(MessageTooComplex, build, octets)
        self.assertIn(what, str(refusal))
        self.assertEqual((refusal.code, refusal.enhanced), (554, "5.6.0"))

    def test_refused(self) -> None:
        """Each bound, by the octets that made a server stand still."""
        table = {
            "nested 1,000 deep": "more than 30 parts within each other",
            "messages 1,000 deep": "more than 30 parts within each other",
            "5,000 parts": "more than 1000 parts",
            "50,000 fields": "more than 5000 header fields",
            "a field of a megabyte": "a header field of 65536 octets",
            "100,000 semicolons": "a header field of 65536 octets",
            "1,000 parameters": "more than 100 parameters",
            "1,200 comments": "more than 20 comments",
            "charset 'punycode'": "a charset",
            "charset 'idna'": "a charset",
        }
        for name, what in table.items():
            self.assertRefused(CORPUS[name], what)

    def test_rest(self) -> None:
        """And the others."""
        self.assertRefused((b"X: " + b"x" * 999 + b"\r\n") * 300, "a header of more than 262144")
        kind = field("Content-Type", b"a/b; c=" + b"d" * 8192)
        self.assertRefused(kind, "a field Content-Type of more than 8192")
        self.assertRefused(field("To", b"a@b," * 2000), "more than 2000 addresses in to")
        forwarded = b"".join(
            b"Content-Type: message/rfc822\r\nTo: " + b"a@b," * 1999 + b"\r\n\r\n" for _ in range(3)
        )
        self.assertRefused(forwarded, "more than 5000 addresses")
        self.assertRefused(field("Content-Disposition", b"a" + b";b=c" * 101), "100 parameters")
        self.assertRefused(b"\r\n" * 1_000_001, "more than 1000000 lines")
        blocks = b"Content-Type: message/delivery-status\r\n\r\n" + b"A: b\r\n\r\n" * 1001
        self.assertRefused(blocks, "more than 1000 parts")
        long = b"Content-Type: message/delivery-status\r\n\r\n" + b"x" * (bounds.MAX_HEADER + 1)
        self.assertRefused(long, "a delivery status of more than 262144 octets")

    def test_accepted(self) -> None:
        """What real mail has is accepted: just as much as the bounds allow."""
        build(nested(30))
        build(multipart(*[b"\r\nx"] * (bounds.MAX_PARTS - 1)))
        build(b"a:b\r\n" * bounds.MAX_FIELDS + b"\r\n")
        build(field("To", b", ".join([b"somebody <somebody@example.com>"] * 1500)))
        build(b"\r\n" * bounds.MAX_LINES)


class CostTests(SynchronousTestCase):
    """What it takes."""

    def peak(self, make: Callable[[bytes], object], octets: bytes) -> int:
        """The most memory that it takes to make something of octets, beside them."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        made = make(octets)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del made
        return peak

    def test_memory(self) -> None:
        """However large the message, to make it takes its octets only: none of them are moved."""
        size = 8 * MiB
        contents = {
            "ASCII": field("X", b"y") + (b"x" * 76 + b"\r\n") * (size // 78),
            "not ASCII": text("utf-8", "ä".encode() * (size // 2)),
            "ASCII but for the end": text("utf-8", b"x" * size + b"\xff"),
            "not ASCII, in parts": multipart(*[b"\r\n" + b"\xff" * (size // 50)] * 50),
            "a preamble": preceded(b"\xff" * size, multipart(b"\r\n")),
        }
        for name, octets in contents.items():
            self.assertLess(self.peak(build, octets), MiB, name)

    def test_reading(self) -> None:
        """A text is made without anything beside it, but for what is made wider."""
        # A tracer, as coverage is one, keeps the interpreter from making strings longer in place.
        self.addCleanup(sys.settrace, sys.gettrace())
        sys.settrace(None)
        size = 8 * MiB
        for most, octets in (
            (1, b"x" * size),
            (2, b"\xff" * size),
            (3, b"x" * size + b"\xff"),
        ):
            peak = self.peak(lambda octets: LateText(octets, 0, len(octets)).read(), octets)
            self.assertLess(peak, (most + 0.1) * size)

    def test_walk(self) -> None:
        """Whoever looks for a part doesn't make the texts of others."""
        large = b"Content-Type: text/plain\r\n\r\n" + b"x" * MiB
        octets = multipart(large, b"Content-Type: text/html\r\n\r\nHi")
        message = build(preceded(b"x" * MiB, octets))
        html = message.get_body(("html",))
        assert html is not None
        self.assertEqual(html.get_content(), "Hi")
        plain = next(message.iter_parts())
        self.assertFalse(plain.is_multipart())
        self.assertIsInstance(vars(plain)["_payload"], LateText)
        self.assertEqual(plain.get_content(), "x" * MiB)
        self.assertIsInstance(vars(plain)["_payload"], str)
        self.assertIsInstance(vars(message)["preamble"], LateText)
        self.assertIn("x" * MiB, message.preamble)

    def test_lines(self) -> None:
        """Nor does it depend on what the message is made of: a line costs nothing."""
        octets = b"\r\n" * (bounds.MAX_LINES - 1)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        finish(building(octets))
        self.assertLess(tracemalloc.get_traced_memory()[1], 2 * 2.1 * bounds.MAX_LINES)

    def test_addresses(self) -> None:
        """Many addresses are parsed in slices, before anybody reads them."""
        octets = field("To", b'"A" <a@b>,\r\n ' * 1900)
        message, slices = countSlices(building(octets))
        self.assertGreater(slices, 50)
        self.patch(libraryheaders, "_address", None)  # reading makes nothing anew
        self.assertEqual(len(message["to"].addresses), 1900)

    def test_refused(self) -> None:
        """Who keeps the refusal of a message doesn't keep the message."""
        octets = CORPUS["1,200 comments"] + b"\r\n"
        count = sys.getrefcount(octets)
        steps = building(octets)
        with self.assertRaises(MessageTooComplex) as caught:
            while True:
                next(steps)
        self.assertIn("more than 20 comments", str(caught.exception))
        self.assertEqual(sys.getrefcount(octets), count)
