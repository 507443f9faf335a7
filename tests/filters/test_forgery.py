"""Forged ``Authentication-Results:`` (RFC 8601 §5), for ``filters.authentication.Trust``."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.filters.test_filtered import FilteredCase, Judge, Store
from twisted_smtpserver.filters import Filtered, Message, Spool
from twisted_smtpserver.filters.authentication import Trust
from twisted_smtpserver.session import Envelope
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.testing import Client, connect, runInline

NAME = "Authentication-Results"

#: Our name, in two forms; how others may write it.
HOST, DOMAIN = "mx.test", "bücher.example"
SPELLINGS = {
    HOST: ("mx.test", "MX.Test", '"mx.test"', '"m\\x.test"', '"mx".test', "mx.test.", "mx . test"),
    DOMAIN: (
        *("bücher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.Example", "BÜCHER.example"),
        *(
            "bu\u0308cher.example",
            "\uff42ücher.example",
            "bücher\u3002example",
            "b\u00adücher.example",
        ),
        *('"bücher.example"', "bücher (c) . (d) example"),
    ),
}

#: Comments and blanks, which may stand anywhere around the words (RFC 5322 §3.2.2).
SPACE = st.sampled_from(["", " ", "\t", "\r\n ", "\r\n\t", "(a)", " (a (b; mx.other) \\) c)\r\n "])
SOME_SPACE = st.sampled_from([" ", "\r\n ", "(a)", "\t(other.test;)"])
FIELD_NAMES = st.sampled_from([NAME, NAME.upper(), NAME.lower(), f"{NAME} ", f"{NAME}\t"])
HARMLESS = ["X-A: b\r\n", f"{NAME}: other.test; dmarc=pass\r\n", "X-C: d\r\n\te\r\n"]


@st.composite
def forgeries(draw: Any, spellings: tuple[str, ...]) -> str:
    """A field that somebody else wrote under our name."""
    version = draw(SOME_SPACE) + "1" if draw(st.booleans()) else ""
    result = draw(st.sampled_from([" none", " dmarc=pass", "dkim/1 = pass (x)\r\n header.d=a.b"]))
    pieces = (draw(FIELD_NAMES), ":", draw(SPACE), draw(st.sampled_from(spellings)), version)
    return "".join((*pieces, draw(SPACE), ";", result, "\r\n"))


#: What a header may consist of, and what it mayn't.
PIECES = st.sampled_from(
    [
        *(NAME, NAME, NAME.upper(), "mx.test", "mx.test", '"mx.test"', "mx", ".test", "other.test"),
        *(":", ":", ";", " ", "\t", "\r\n", "\r\n", "\n", "\r", "\r\n ", "(", ")", '"', "\\", "1"),
        *(
            "dmarc=pass",
            "\0",
            "\x0b",
            "=?utf-8?q?mx.test?=",
            "X-A: b\r\n",
            "junk\r\n",
            "From joe\r\n",
        ),
        *(":\r\n", "é", "/", "\x85", "Subject", "\r\n\r\n"),
    ]
)


def speaker(value: str) -> str:
    """
    Who speaks in a field, octet by octet after RFC 8601 §2.2: not as the package does it.

    :returns: the authserv-id in lower case; ``""`` if there is none.
    """
    found, depth, isQuoted, place = "", 0, False, 0
    while place < len(value):
        each, place = value[place], place + 1
        if each == "\\" and (depth or isQuoted):
            found += "" if depth else value[place : place + 1]
            place += 1
        elif depth:
            depth += {"(": 1, ")": -1}.get(each, 0)
        elif isQuoted:
            if each == '"':
                return found.lower()
            found += each
        elif each in "( \t\r\n;":
            if found or each == ";":
                return found.lower()
            depth = int(each == "(")
        elif each == '"' and not found:
            isQuoted = True
        else:
            found += each
    return "" if depth or isQuoted else found.lower()


def reports(octets: bytes) -> Iterator[str]:
    """The values of the field that Python's own parser finds, in its old and its new manner."""
    for policy in (email.policy.compat32, email.policy.default):
        message: Any = email.message_from_bytes(octets, policy=policy)
        for name, value in message.raw_items():
            if name.lower() == NAME.lower():
                yield str(value)
        yield from map(str, message.get_all(NAME, ()))


class ForgeryTests(FilteredCase):
    """Whatever a message comes with, nobody takes it for a report of ours."""

    def stored(self, content: bytes, authservId: str = HOST, **options: Any) -> bytes:
        """What the store gets of a message; a field of its own is in front."""
        client = self.serve(lambda message: None, authservId=authservId, options=options)
        self.store.messages.clear()
        for line in ("EHLO x", "MAIL FROM:<a@b.c>", "RCPT TO:<d@e.f>"):
            client.say(line)
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        self.assertEqual([answer.code for answer in client.answers()], [250])
        stored: bytes = self.store.messages.pop()
        return stored

    @given(
        st.sampled_from([HOST, DOMAIN]).flatmap(
            lambda host: st.tuples(
                st.just(host),
                st.lists(
                    st.one_of(forgeries(SPELLINGS[host]), st.sampled_from(HARMLESS)), max_size=6
                ),
            )
        )
    )
    @settings(max_examples=150, deadline=None)
    def test_spellings(self, drawn: tuple[str, list[str]]) -> None:
        """Each spelling of our name is removed, wherever it stands; nothing else is."""
        host, fields = drawn
        body = "\r\n".join(["", "body", *fields])
        kept = "".join(field for field in fields if field in HARMLESS)
        content = "".join(fields) + body
        self.assertEqual(self.stored(content.encode(), host), (kept + body).encode())

    @given(st.lists(PIECES, max_size=30).map("".join))
    @example(f"From joe\r\n{NAME}: mx.test; dmarc=pass\r\n\r\n")
    @example(f":\r\n{NAME}: mx.test; dmarc=pass\r\n\r\n")
    @example(f"junk\r\n{NAME}: mx.test; dmarc=pass\r\n\r\n")
    @example(f"X-A: b\r{NAME}: mx.test; dmarc=pass\r\n\r\n")
    @example(f"X-A: b\r\r\n{NAME}: mx.test; dmarc=pass\r\n\r\n")
    @example(f"{NAME}: =?utf-8?q?mx=2Etest?=; dmarc=pass\r\n\r\n")
    @example(f"{NAME}: (=?utf-8?q?=29_mx=2Etest=3B_dmarc=3Dpass_=28?=) other.test; none\r\n\r\n")
    @settings(max_examples=300, deadline=None)
    def test_readers(self, text: str) -> None:
        """Python's parser, which goes on where others end a header, finds none either."""
        stored = self.stored(text.encode(), bareNewlines="accept")
        for value in reports(b"Received: by mx.test\r\n" + stored):
            self.assertNotEqual(speaker(value), HOST, stored)

    def test_oracle(self) -> None:
        """The reader that the tests believe can see a forgery."""
        for value in SPELLINGS[HOST][:4]:
            content = f"X-A: b\r\n{NAME}: (c) {value} 1; none\r\n\r\n".encode()
            self.assertEqual([speaker(each) for each in reports(content)], [HOST] * 4)
        for value in ("other.test; x", "(mx.test)", '"mx.test', ";mx.test", ""):
            self.assertNotEqual(speaker(value), HOST)

    def test_parts(self) -> None:
        """A message within the message stays as it is, and counts for nothing."""
        inner = f"{NAME}: mx.test; dmarc=pass\r\nSubject: inner\r\n\r\nHello\r\n"
        content = (
            "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n"
            f"{NAME}: mx.test; spf=pass\r\n\r\n{inner}--b--\r\n"
        ).encode()
        found: list[Any] = []

        def look(message: Message) -> dict[str, str]:
            found.append(message.envelope.authentication.results)
            return {"X-A": "b"}

        self.serve(look, look, authservId=HOST).deliver(content)
        self.assertEqual(self.store.messages, [b"X-A: b\r\nX-A: b\r\n" + content])
        self.assertEqual(found, [(), ()])

    def test_longHeader(self) -> None:
        """No forgery hides behind what is read of a header: a longer one is refused."""
        filling = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 900) for n in range(300))
        client = self.serve(lambda message: None, authservId=HOST)
        answer = client.deliver(filling + f"{NAME}: mx.test; dmarc=pass\r\n\r\n".encode())
        self.assertEqual((answer.code, self.store.messages), (554, []))

    def test_headerEnd(self) -> None:
        """An empty line ends a header, and so does the message's end; any other line doesn't."""
        for content, isEnded in [
            (b"A: b\r\n\r\n", True),
            (b"A: b\n\n", True),
            (b"A: b\r\n", True),
            (b"", True),
            (b"A: b\r\njunk\r\n", False),
            (b" A: b\r\n", False),
            (b"A: b\r\n\rB: c\r\n", False),
        ]:
            message = Message(Spool(), Envelope("1"), content)
            self.assertEqual(message.isHeaderEnded, isEnded, content)


class BesideTests(FilteredCase):
    """Several Filtered with the same name."""

    CONTENT = f"{NAME}: mx.test; dmarc=pass\r\nSubject: hi\r\n\r\nHello\r\n".encode()

    def deliver(self, handler: object) -> Client:
        """Deliver a forged message to two recipients whose mail goes to two stores."""
        client = connect(handler, reactor=self.clock)
        client.deliver(self.CONTENT, "joe@x.test", "ann@one.test", "bob@two.test")
        return client

    def stores(self, report: Any) -> tuple[dict[str, Any], list[Store]]:
        """Two stores, each with filters of its own."""
        stores = [Store(), Store()]
        each = {
            f"{name}.test": Filtered(store, Judge(report), authservId=HOST, runInThread=runInline)
            for name, store in zip(("one", "two"), stores, strict=True)
        }
        return each, stores

    def test_beside(self) -> None:
        """Side by side, each removes what is forged: none relies on the other."""
        found: list[Any] = []

        def look(message: Message) -> dict[str, str]:
            found.append(message.envelope.authentication.results)
            return {"X-A": "b"}

        routes, stores = self.stores(look)
        self.deliver(ByRecipient(routes, runInThread=runInline))
        for store in stores:
            self.assertEqual(store.messages, [b"X-A: b\r\nSubject: hi\r\n\r\nHello\r\n"])
        self.assertEqual(found, [(), ()])

    def test_behind(self) -> None:
        """Behind a common one, both keep what its filters have reported."""
        routes, stores = self.stores(lambda message: None)
        outer = Judge(lambda message: {NAME: "mx.test; spf=fail"})
        both = ByRecipient(routes, runInThread=runInline)
        self.deliver(Filtered(both, outer, authservId=HOST, runInThread=runInline))
        for store in stores:
            front = f"{NAME}: mx.test; spf=fail\r\n".encode()
            self.assertEqual(store.messages, [front + b"Subject: hi\r\n\r\nHello\r\n"])

    def test_context(self) -> None:
        """Only that message is taken for checked, and only while it is handed on."""
        trust = Trust(HOST)

        def isRemoved(identifier: str) -> bool:
            message = Message(Spool(), Envelope(identifier), self.CONTENT)
            trust.removeForged(message)
            return message.isChanged

        before = trust.handOn(Message(Spool(), Envelope("1"), b""))
        self.assertEqual((isRemoved("1"), isRemoved("2")), (False, True))
        trust.handedOn(before)
        self.assertTrue(isRemoved("1"))
