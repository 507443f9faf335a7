"""Tests for :mod:`twisted_smtpserver.headers`."""

from __future__ import annotations

import datetime
import email
import email.policy
import email.utils
import functools
import itertools
import re
import socket
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.headers import (
    COUNTED_OCTETS,
    HopCounter,
    receivedHeader,
    returnPathHeader,
)
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.path import Path

DATE = datetime.datetime(
    2024, 2, 29, 12, 30, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=-5))
)
# A busy machine is no reason to fail.
relaxed = functools.partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DATE_TEXT = "Thu, 29 Feb 2024 12:30:05 -0500"


def makeAddress(local: str, domain: str | None) -> Address:
    """An address as parsing leaves it."""
    text = local if domain is None else f"{local}@{domain}"
    return Address(Path(local, domain, text, text, False))


def makeSession(*recipients: Address, utf8: bool = False, **facts: Any) -> Session:
    """A session in the middle of a transaction, which has the facts as attributes."""
    session = Session()
    envelope = session.newEnvelope()
    envelope.id = "0123abc-1"
    envelope.smtpUtf8 = utf8
    envelope.rcptTo.extend(recipients)
    session.openingCommand = "EHLO"
    session.hostNameAppearsAs = "client.example"
    session.remoteAddress = "192.0.2.1"
    session.clientHostname = "[192.0.2.1]"
    for name, value in facts.items():
        setattr(session, name, value)
    return session


def unfold(header: bytes) -> str:
    """The field's body on one line."""
    _, body = re.sub(r"\r\n([ \t])", r"\1", header.decode("utf-8")).split(": ", 1)
    assert body.endswith("\r\n")
    return body.removesuffix("\r\n").replace("\t", " ")


def received(session: Session) -> str:
    """The body of the field for a session, without the date."""
    body, date = unfold(receivedHeader(session, hostName="mx.example.com", date=DATE)).split("; ")
    assert date == DATE_TEXT
    return body


class ReceivedHeaderTests(SynchronousTestCase):
    def test_octets(self) -> None:
        """The whole field, folded between its clauses."""
        session = makeSession(
            makeAddress("joe", "example.com"),
            clientHostname="reverse.example",
            secure=True,
            user="joe",
            tls=SimpleNamespace(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384"),
        )
        self.assertEqual(
            receivedHeader(session, hostName="mx.example.com", date=DATE),
            b"Received: from client.example (reverse.example [192.0.2.1])\r\n"
            b"\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by mx.example.com\r\n"
            b"\twith ESMTPSA id 0123abc-1 for <joe@example.com>;\r\n"
            b"\tThu, 29 Feb 2024 12:30:05 -0500\r\n",
        )

    def test_noReverseName(self) -> None:
        """Without a reverse name the address stands alone."""
        self.assertEqual(
            received(makeSession()),
            "from client.example ([192.0.2.1]) by mx.example.com with ESMTP id 0123abc-1",
        )

    def test_ipv6(self) -> None:
        """An IPv6 address has its tag, in normal form, and no zone."""
        for address in ("2001:DB8:0:0::1", "2001:db8::1%eth0"):
            session = makeSession(remoteAddress=address)
            self.assertIn("from client.example ([IPv6:2001:db8::1]) by", received(session))

    def test_noAddress(self) -> None:
        """A unix socket has no address, and a name without one isn't to be believed."""
        for address in (None, "", "nonsense"):
            session = makeSession(remoteAddress=address, clientHostname="localhost")
            self.assertIn("from client.example by mx.example.com ", received(session))

    def test_hello(self) -> None:
        """What a host may call itself stands as it was given, but for a final dot."""
        for hello, shown in (
            ("Client.Example", "Client.Example"),
            ("my_pc", "my_pc"),
            ("192.0.2.7", "192.0.2.7"),
            ("client.example.", "client.example"),
            ("[192.0.2.7]", "[192.0.2.7]"),
            ("[IPv6:2001:DB8::7]", "[IPv6:2001:db8::7]"),
            ("[tag:a(b)c;d]", "[tag:a?b?c?d]"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("bücher.example", "xn--bcher-kva.example"),
        ):
            session = makeSession(hostNameAppearsAs=hello)
            self.assertIn(f"from {shown} ([192.0.2.1]) by", received(session))

    def test_badHello(self) -> None:
        """Anything else goes into a comment, and can't get out of there."""
        for hello, shown in (
            ("a b", "a b"),
            ("", ""),
            ("x) by evil.example (", "x? by evil.example ?"),
            ('x\\"', "x??"),
            ("x\r\nBcc: y", "x??Bcc: y"),
            ("x\x85\u2028\ud800\x7f\0\t", "x??????"),
            ("[192.0.2.1", "[192.0.2.1"),
            ("a" * 1000, "a" * 200),
            ("söme thing", "s?me thing"),
        ):
            session = makeSession(hostNameAppearsAs=hello)
            self.assertIn(f"from [192.0.2.1] ([192.0.2.1]) (hello {shown}) by", received(session))

    def test_badHelloFromAName(self) -> None:
        """The reverse name, if there is one, stands in for a hello that is none."""
        session = makeSession(hostNameAppearsAs="a b", clientHostname="reverse.example")
        self.assertIn(
            "from reverse.example (reverse.example [192.0.2.1]) (hello", received(session)
        )

    def test_badHelloFromNowhere(self) -> None:
        """There may be nothing at all to go by."""
        session = makeSession(hostNameAppearsAs=None, remoteAddress=None)
        self.assertIn("from unknown (hello ) by", received(session))

    def test_badReverseName(self) -> None:
        """A reverse name that is none is left out."""
        for name in ("a b", "x) (y", "x\r\ny", "", "a..b", "a" * 256):
            session = makeSession(clientHostname=name)
            self.assertIn("from client.example ([192.0.2.1]) by", received(session))

    def test_utf8(self) -> None:
        """With SMTPUTF8 names and addresses are UTF-8; without they are not."""
        facts: dict[str, Any] = {
            "hostNameAppearsAs": "bücher.example",
            "clientHostname": "straße.example",
        }
        joe = makeAddress("jö", "bücher.example")
        self.assertEqual(
            received(makeSession(joe, utf8=True, **facts)),
            "from bücher.example (straße.example [192.0.2.1]) by mx.example.com with UTF8SMTP"
            " id 0123abc-1 for <jö@bücher.example>",
        )
        self.assertEqual(
            received(makeSession(joe, **facts)),
            "from xn--bcher-kva.example (xn--strae-oqa.example [192.0.2.1]) by mx.example.com"
            " with ESMTP id 0123abc-1 for <j?@xn--bcher-kva.example>",
        )
        self.assertIn(
            "(hello söme thing)",
            received(makeSession(utf8=True, hostNameAppearsAs="söme thing")),
        )

    def test_surrogates(self) -> None:
        """What has no UTF-8 form is replaced there, too."""
        session = makeSession(makeAddress("a\udc80", "b\udc80"), utf8=True)
        session.hostNameAppearsAs = "c\udc80"
        body = received(session)
        self.assertIn("(hello c?)", body)
        self.assertIn("for <a?@b?>", body)

    def test_fold(self) -> None:
        """A line has up to 78 octets."""
        for length, first in ((49, 78), (50, 65)):
            header = receivedHeader(makeSession(hostNameAppearsAs="a" * length))
            self.assertEqual(header.index(b"\r\n"), first)

    def test_for(self) -> None:
        """A recipient is named only if it is the only one."""
        joe, ann = makeAddress("joe", "example.com"), makeAddress("ann", "example.com")
        self.assertIn("for <joe@example.com>", received(makeSession(joe)))
        for recipients in ((), (joe, ann), (joe, joe)):
            self.assertNotIn("for <", received(makeSession(*recipients)))
        self.assertIn("for <Postmaster>", received(makeSession(makeAddress("Postmaster", None))))

    def test_longRecipient(self) -> None:
        """A recipient that no line could hold isn't named."""
        self.assertNotIn("for <", received(makeSession(makeAddress("é" * 800, "x"), utf8=True)))
        self.assertIn("for <", received(makeSession(makeAddress("a" * 800, "x"))))

    def test_tls(self) -> None:
        """TLS that ended upstream, or whose facts aren't known, isn't described."""
        for tls in (None, SimpleNamespace(version=None, cipher=None)):
            self.assertNotIn("using", received(makeSession(secure=True, tls=tls)))
        tls = SimpleNamespace(version="TLSv1.2", cipher=None)
        self.assertIn("(using TLSv1.2)", received(makeSession(tls=tls)))

    def test_noId(self) -> None:
        """An envelope without an id, or with one that is no atom, gets no id clause."""
        for identifier in ("", "a b", "a;b"):
            session = makeSession()
            session.envelope.id = identifier
            self.assertNotIn(" id ", received(session))

    def test_otherEnvelope(self) -> None:
        """The envelope may be another one than the session's."""
        session = makeSession()
        envelope = Envelope("other")
        session.forgetEnvelope()
        self.assertIn(b" id other;", receivedHeader(session, envelope))

    def test_defaults(self) -> None:
        """Our name is this machine's, and the date is now, with its offset."""
        before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        body = unfold(receivedHeader(makeSession()))
        self.assertIn(f" by {socket.gethostname()} with ", body)
        date = email.utils.parsedate_to_datetime(body.split("; ")[1])
        self.assertIsNotNone(date.tzinfo)
        self.assertTrue(before <= date <= datetime.datetime.now(datetime.timezone.utc))

    def test_ourName(self) -> None:
        """Nor can our own name break the field."""
        header = receivedHeader(makeSession(), hostName="mx (\r\n) bücher")
        self.assertIn("by mx??????b?cher with", unfold(header))


class ReturnPathHeaderTests(SynchronousTestCase):
    def returnPath(self, local: str, domain: str | None, utf8: bool = False) -> bytes:
        """The field for a sender."""
        envelope = Envelope()
        envelope.smtpUtf8 = utf8
        envelope.mailFrom = makeAddress(local, domain)
        return returnPathHeader(envelope)

    def test_sender(self) -> None:
        """The sender is in angle brackets."""
        self.assertEqual(
            self.returnPath("joe", "example.com"), b"Return-Path: <joe@example.com>\r\n"
        )

    def test_null(self) -> None:
        """The null reverse-path is an empty pair, and so is no sender."""
        self.assertEqual(self.returnPath("", None), b"Return-Path: <>\r\n")
        self.assertEqual(returnPathHeader(Envelope()), b"Return-Path: <>\r\n")

    def test_quoting(self) -> None:
        """A local part that needs quotes has them."""
        for local, quoted in (
            ("a b", '"a b"'),
            ("a..b", '"a..b"'),
            (".a", '".a"'),
            ("", '""'),
            ('a"b\\c', '"a\\"b\\\\c"'),
            ("a>b", '"a>b"'),
            ("a\r\nBcc: b", '"a??Bcc: b"'),
            ("a+b.c/d", "a+b.c/d"),
        ):
            expected = f"Return-Path: <{quoted}@example.com>\r\n".encode()
            self.assertEqual(self.returnPath(local, "example.com"), expected)

    def test_utf8(self) -> None:
        """UTF-8 is for transactions with SMTPUTF8; a joiner is part of the address."""
        self.assertEqual(
            self.returnPath("jö\u200dë", "bücher.example", utf8=True),
            "Return-Path: <jö\u200dë@bücher.example>\r\n".encode(),
        )
        self.assertEqual(
            self.returnPath("joe", "bücher.example"),
            b"Return-Path: <joe@xn--bcher-kva.example>\r\n",
        )

    def test_domain(self) -> None:
        """A literal stays; a domain that lenient parsing let through can't do harm."""
        for domain, shown in (
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("a_b.example", "a_b.example"),
            ("a>\r\n(b;c", "a????b?c"),
        ):
            self.assertEqual(
                self.returnPath("joe", domain), f"Return-Path: <joe@{shown}>\r\n".encode()
            )

    def test_long(self) -> None:
        """A path that no line could hold gives way to none."""
        self.assertEqual(self.returnPath("a" * 1000, "x"), b"Return-Path: <>\r\n")
        self.assertIn(b"aaa@x", self.returnPath("a" * 800, "x"))


hostile = st.text(max_size=30) | st.text('\r\n\t ()\\"<>@;:.[]aé\0', max_size=30)


class InjectionTests(SynchronousTestCase):
    """Whatever a client says, what is built stays one field."""

    def check(self, header: bytes, name: str, utf8: bool) -> None:
        """It is one well-formed header field."""
        lines = header.split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        for number, line in enumerate(lines):
            self.assertTrue(0 < len(line) <= 998)
            self.assertNotRegex(line, rb"[\r\n\0\x7f\x01-\x08]")
            self.assertEqual(line.startswith(b"\t"), number > 0)
        text = header.decode("utf-8" if utf8 else "ascii")
        message = email.message_from_string(f"{text}\r\nbody", policy=email.policy.compat32)
        self.assertEqual(message.keys(), [name])
        self.assertEqual(message.get_payload(), "body")

    @relaxed(max_examples=50)
    @given(st.tuples(hostile, hostile, hostile, hostile, hostile), st.booleans())
    def test_received(self, texts: tuple[str, str, str, str, str], utf8: bool) -> None:
        """``Received:`` is one field, whose parentheses match outside of quotes."""
        hello, reverse, address, local, domain = texts
        session = makeSession(
            makeAddress(local, domain),
            utf8=utf8,
            hostNameAppearsAs=hello,
            clientHostname=reverse,
            remoteAddress=address,
            tls=SimpleNamespace(version=hello or "x", cipher=reverse),
        )
        header = receivedHeader(session, hostName="mx.example.com", date=DATE)
        self.check(header, "Received", utf8)
        body = re.sub(r'"(?:\\.|[^"\\])*"', "", unfold(header))
        self.assertNotIn("\\", body)
        stripped = re.sub(r"\([^()]*\)", "", body)
        self.assertNotRegex(stripped, r"[()]")
        self.assertEqual(stripped.count(";"), 1)
        self.assertEqual(len(re.findall(r" by mx\.example\.com with ", stripped)), 1)

    @relaxed(max_examples=200)
    @given(hostile, hostile, st.booleans())
    def test_returnPath(self, local: str, domain: str, utf8: bool) -> None:
        """``Return-Path:`` is one field, with one pair of brackets outside of quotes."""
        envelope = Envelope()
        envelope.smtpUtf8 = utf8
        envelope.mailFrom = makeAddress(local, domain)
        header = returnPathHeader(envelope)
        self.check(header, "Return-Path", utf8)
        body = re.sub(r'"(?:\\.|[^"\\])*"', "", unfold(header))
        self.assertRegex(body, r"^<[^<>]*>$")


def count(*chunks: bytes) -> int:
    """The hops that a counter finds."""
    counter = HopCounter()
    for chunk in chunks:
        counter.feed(chunk)
    return counter.count


class HopCounterTests(SynchronousTestCase):
    def test_counts(self) -> None:
        """Only fields of that name in the header section count, in any case, folded or not."""
        message = (
            b"Received: one\r\n\treceived: folded\r\n Received: folded, too\r\n"
            b"X-Received: no\r\nReceived-SPF: no\r\nRECEIVED: two\r\n"
            b"Subject: Received: no\r\nreceived:three\r\n\r\nReceived: in the body\r\n"
        )
        self.assertEqual(count(message), 3)
        for cut in range(len(message)):
            self.assertEqual(count(message[:cut], message[cut:]), 3)
        self.assertEqual(count(*(message[at : at + 1] for at in range(len(message)))), 3)

    def test_noHeaderSection(self) -> None:
        """A message may begin with the empty line, or be empty."""
        self.assertEqual(count(b"\r\nReceived: x\r\n"), 0)
        self.assertEqual(count(b"\r", b"\nReceived: x\r\n"), 0)
        self.assertEqual(count(b""), 0)

    def test_bareNewlines(self) -> None:
        """Where bare newlines are accepted, lines may end in them."""
        self.assertEqual(count(b"Received: 1\nReceived: 2\n\nReceived: 3\n"), 2)

    def test_finished(self) -> None:
        """After the header section nothing is looked at."""
        counter = HopCounter()
        counter.feed(b"Received: 1\r\n")
        self.assertFalse(counter.finished)
        counter.feed(b"\r\n")
        self.assertTrue(counter.finished)
        counter.feed(b"\r\nReceived: 2\r\n")
        self.assertEqual(counter.count, 1)

    def test_bound(self) -> None:
        """No more than the first octets are looked at, however they are cut."""
        field = b"\r\nReceived: x"
        for chunks in (
            (b"a" * (COUNTED_OCTETS - len(field)) + field + field,),
            (b"a" * (COUNTED_OCTETS - len(field)), field, field),
            (b"a" * (COUNTED_OCTETS - len(field) - 3), b"aaa" + field + field),
        ):
            self.assertEqual(count(*chunks), 1)
        counter = HopCounter()
        counter.feed(b"a" * COUNTED_OCTETS)
        self.assertTrue(counter.finished)

    def test_memory(self) -> None:
        """Nothing but the beginning of a line is kept."""
        counter = HopCounter()
        counter.feed(b"a" * 1000)
        self.assertEqual(counter._carried, b"")
        counter.feed(b"\r\n" + b"r" * 1000)
        self.assertEqual(counter._carried, b"")
        counter.feed(b"\r\nreceived")
        self.assertEqual(counter._carried, b"\nreceived")

    @relaxed(max_examples=200)
    @given(
        st.lists(
            st.sampled_from(
                [b"Received:", b"received", b"x", b":", b"\r\n", b"\r\n", b"\n", b"\r", b" ", b""]
            ),
            max_size=40,
        ),
        st.lists(st.integers(0, 100)),
    )
    def test_reference(self, pieces: list[bytes], cuts: list[int]) -> None:
        """The same as splitting the whole message into lines."""
        message = b"".join(pieces)
        expected = 0
        for line in message.split(b"\n")[:-1]:
            if line in (b"", b"\r"):
                break
            expected += line.lower().startswith(b"received:")
        else:
            expected += message.split(b"\n")[-1].lower().startswith(b"received:")
        edges = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
        chunks = [message[a:b] for a, b in itertools.pairwise(edges)]
        self.assertEqual(count(*chunks), expected)
