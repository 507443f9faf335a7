"""Tests for :mod:`twisted_smtpserver.wire.xclient`."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import replies
from twisted_smtpserver.replies import (
    DUPLICATE_ATTRIBUTE,
    MALFORMED_ATTRIBUTE,
    UNKNOWN_ATTRIBUTE,
    Reply,
)
from twisted_smtpserver.wire.xclient import (
    MAX_PROTOCOL,
    MAX_VALUE,
    VALUE_TOO_LONG,
    XCLIENT_ATTRIBUTES,
    XFORWARD_ATTRIBUTES,
    Unavailable,
    XClientRequest,
    XForwardRequest,
    parseAttributes,
    parseXClient,
    parseXForward,
)
from twisted_smtpserver.wire.xtext import encodeXtext

KNOWN = frozenset({"NAME", "REVERSE_NAME"})
Parser = Callable[[bytes], XClientRequest | XForwardRequest | Reply]
BOTH: tuple[Parser, ...] = (parseXClient, parseXForward)


class ParseAttributesTests(SynchronousTestCase):
    """Names and values, before anyone asks what they mean."""

    def test_values(self) -> None:
        """Names come out in upper case, values decoded and otherwise as sent."""
        self.assertEqual(
            parseAttributes(b"name=A+2Bb+3DC reverse_Name=x", KNOWN),
            {"NAME": "A+b=C", "REVERSE_NAME": "x"},
        )

    def test_unavailable(self) -> None:
        """The two words for a missing value are told apart, in any case, encoded or not."""
        for text in (b"[UNAVAILABLE]", b"[unavailable]", b"+5BUnavailable+5D"):
            self.assertEqual(
                parseAttributes(b"NAME=" + text, KNOWN), {"NAME": Unavailable.PERMANENT}
            )
        for text in (b"[TEMPUNAVAIL]", b"[tempunavail]"):
            self.assertEqual(
                parseAttributes(b"NAME=" + text, KNOWN), {"NAME": Unavailable.TEMPORARY}
            )
        self.assertEqual(parseAttributes(b"NAME=UNAVAILABLE", KNOWN), {"NAME": "UNAVAILABLE"})

    def test_malformed(self) -> None:
        """Anything but NAME=xtext with single spaces between is refused."""
        for argument in (
            *(b" ", b"NAME", b"NAME=", b"=x", b"NAME =x", b"NAME= x", b" NAME=x", b"NAME=x "),
            *(b"NAME=x  REVERSE_NAME=y", b"NAME=x\tREVERSE_NAME=y", b"NAME=x;y z", b"NA ME=x"),
            *(b"NAME=a=b", b"NAME=a+b", b"NAME=a+2b", b"NAME=a+", b"NAME=+0D+0A", b"NAME=+00"),
            *(b"NAME=+7F", b"NAME=+C3+A4", b"NAME=\xc3\xa4", b"N\xc3\x84ME=x", b"NAME=x\n"),
            *(b"NAME=\x1b[1m", b"NAME=\0", b"\xff"),
        ):
            self.assertIs(parseAttributes(argument, KNOWN), MALFORMED_ATTRIBUTE, argument)

    def test_empty(self) -> None:
        """There has to be an attribute."""
        self.assertIs(parseAttributes(b"", KNOWN), replies.ARGUMENT_NEEDED)

    def test_unknown(self) -> None:
        """An attribute that isn't known is refused, not skipped."""
        for argument in (b"ADDR=192.0.2.1", b"NAME=x ADDR=192.0.2.1", b"NAMEX=x", b"REVERSE=x"):
            self.assertIs(parseAttributes(argument, KNOWN), UNKNOWN_ATTRIBUTE, argument)

    def test_duplicate(self) -> None:
        """An attribute given twice is refused: it can't be both."""
        self.assertIs(parseAttributes(b"NAME=x name=x", KNOWN), DUPLICATE_ATTRIBUTE)

    def test_length(self) -> None:
        """A value of 255 characters is taken, a longer one isn't."""
        longest = b"x" * MAX_VALUE
        self.assertEqual(parseAttributes(b"NAME=" + longest, KNOWN), {"NAME": longest.decode()})
        for value in (longest + b"x", b"+41" * 86, b"x" * 100000):
            self.assertIs(parseAttributes(b"NAME=" + value, KNOWN), VALUE_TOO_LONG)

    def test_bounds(self) -> None:
        """The bounds are the ones that Postfix documents."""
        self.assertEqual((MAX_VALUE, MAX_PROTOCOL), (255, 64))

    def test_refusals(self) -> None:
        """Every refusal is 501 5.5.4."""
        for reply in (MALFORMED_ATTRIBUTE, DUPLICATE_ATTRIBUTE, UNKNOWN_ATTRIBUTE, VALUE_TOO_LONG):
            self.assertEqual((reply.code, reply.enhanced), (501, "5.5.4"))

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80))
    def test_anyValue(self, value: str) -> None:
        """Whatever printable ASCII is encoded comes out again."""
        argument = f"NAME={encodeXtext(value)}".encode()
        expected: object = value
        for member in Unavailable:
            if member.value == value.upper():
                expected = member
        self.assertEqual(parseAttributes(argument, KNOWN), {"NAME": expected})


class TypedCase(SynchronousTestCase):
    """What the tests of both commands need."""

    def assertBad(self, parse: Parser, name: str, *values: str) -> None:
        """Assert that each value of an attribute is refused with a text that names it."""
        for value in values:
            argument = f"{name}={encodeXtext(value)}".encode()
            self.assertEqual(parse(argument), Reply(501, "5.5.4", f"Bad {name} syntax"), argument)

    def assertGood(self, parse: Parser, name: str, field: str, *pairs: tuple[str, object]) -> None:
        """Assert what each value of an attribute becomes, and that nothing else is set."""
        for value, expected in pairs:
            result = parse(f"{name}={encodeXtext(value)}".encode())
            assert not isinstance(result, Reply), (name, value, result)
            self.assertEqual(getattr(result, field), expected)
            self.assertEqual(
                {field}, {f for f in result.__slots__ if getattr(result, f) is not None}
            )


class CommonAttributesTests(TypedCase):
    """The attributes that both commands have."""

    def test_addresses(self) -> None:
        """ADDR is an IPv4 address, or an IPv6 address with or without its prefix, normalized."""
        for parse in BOTH:
            self.assertGood(
                *(parse, "ADDR", "address"),
                ("192.0.2.1", "192.0.2.1"),
                ("IPV6:2001:DB8:0::1", "2001:db8::1"),
                ("ipv6:::1", "::1"),
                ("2001:db8::1", "2001:db8::1"),
                ("IPv6:::ffff:192.0.2.1", "192.0.2.1"),
                ("[UNAVAILABLE]", Unavailable.PERMANENT),
            )
            self.assertBad(
                *(parse, "ADDR", "IPV6:192.0.2.1", "IPV6:", "[192.0.2.1]", "192.0.2.256"),
                *("192.0.2.01", "fe80::1%eth0", "IPV6:IPV6:::1", "IPV4:192.0.2.1", "localhost"),
                *("192.0.2.1 ", "192.0.2.0/24", "[TEMPUNAVAIL]"),
            )

    def test_ports(self) -> None:
        """PORT is a number from 0 to 65535."""
        for parse in BOTH:
            self.assertGood(
                *(parse, "PORT", "port"),
                *(("0", 0), ("25", 25), ("65535", 65535)),
                ("[unavailable]", Unavailable.PERMANENT),
            )
            self.assertBad(parse, "PORT", "65536", "-1", "025", "x", "1 ", "9" * 255)

    def test_words(self) -> None:
        """NAME and HELO are what can stand in a header as it is."""
        for parse in BOTH:
            for name, field in (("NAME", "name"), ("HELO", "helo")):
                self.assertGood(
                    *(parse, name, field),
                    ("client.example", "client.example"),
                    ("[192.0.2.1]", "[192.0.2.1]"),
                    ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
                    ("Under_score-1", "Under_score-1"),
                    ("[UNAVAILABLE]", Unavailable.PERMANENT),
                )
                self.assertBad(
                    parse, name, *("a b", " ", *(f"a{special}b" for special in '<>()\\",;@'))
                )

    def test_temporary(self) -> None:
        """Only NAME can be unavailable for the time being."""
        for parse in BOTH:
            self.assertGood(parse, "NAME", "name", ("[TEMPUNAVAIL]", Unavailable.TEMPORARY))
            self.assertBad(parse, "HELO", "[TEMPUNAVAIL]")
            self.assertBad(parse, "PROTO", "[TEMPUNAVAIL]")

    def test_syntax(self) -> None:
        """What is wrong with the attributes as such is refused as such."""
        for parse in BOTH:
            self.assertIs(parse(b""), replies.ARGUMENT_NEEDED)
            self.assertIs(parse(b"NAME"), MALFORMED_ATTRIBUTE)
            self.assertIs(parse(b"NAME=x NAME=y"), DUPLICATE_ATTRIBUTE)
            self.assertIs(parse(b"SHOE=42"), UNKNOWN_ATTRIBUTE)

    @settings(max_examples=200, deadline=None)
    @given(
        st.one_of(
            st.binary(),
            st.lists(
                st.tuples(
                    st.sampled_from((*XCLIENT_ATTRIBUTES, *XFORWARD_ATTRIBUTES, "X")),
                    st.one_of(
                        st.sampled_from(("25", "192.0.2.1", "ipv6:::1", "SMTP", "[TEMPUNAVAIL]")),
                        st.text(st.characters(max_codepoint=255)).map(encodeXtext),
                    ),
                )
            ).map(lambda pairs: " ".join(f"{name}={value}" for name, value in pairs).encode()),
        )
    )
    def test_total(self, argument: bytes) -> None:
        """No octets make them raise, and no refusal repeats what the peer said."""
        for parse in BOTH:
            result = parse(argument)
            if isinstance(result, Reply):
                self.assertEqual((result.code, result.enhanced), (501, "5.5.4"))
                self.assertLess(len(result.text), 60)
            else:
                for field in result.__slots__:
                    value = getattr(result, field)
                    self.assertTrue(not isinstance(value, str) or value.isprintable())


class ParseXClientTests(TypedCase):
    """XCLIENT."""

    def test_everything(self) -> None:
        """All the attributes at once, in any order."""
        self.assertEqual(
            parseXClient(
                b"DESTPORT=25 NAME=client.example ADDR=IPV6:2001:db8::1 port=56324 PROTO=esmtp "
                b"HELO=mail.client.example LOGIN=user+40example.com DESTADDR=192.0.2.1"
            ),
            XClientRequest(
                name="client.example",
                address="2001:db8::1",
                port=56324,
                protocol="ESMTP",
                helo="mail.client.example",
                login="user@example.com",
                destinationAddress="192.0.2.1",
                destinationPort=25,
            ),
        )

    def test_documented(self) -> None:
        """Postfix's own example; what it doesn't name stays open."""
        self.assertEqual(
            parseXClient(b"NAME=spike.porcupine.org ADDR=168.100.189.2"),
            XClientRequest(name="spike.porcupine.org", address="168.100.189.2"),
        )

    def test_protocols(self) -> None:
        """PROTO is a protocol that this server speaks."""
        self.assertGood(
            *(parseXClient, "PROTO", "protocol"),
            *(("SMTP", "SMTP"), ("esmtp", "ESMTP"), ("Lmtp", "LMTP")),
            ("[UNAVAILABLE]", Unavailable.PERMANENT),
        )
        self.assertBad(parseXClient, "PROTO", "HTTP", "ESMTPS", "SMT")

    def test_login(self) -> None:
        """LOGIN is any printable text."""
        self.assertGood(
            *(parseXClient, "LOGIN", "login"),
            ("Jo Doe <x>", "Jo Doe <x>"),
            ("[UNAVAILABLE]", Unavailable.PERMANENT),
        )
        self.assertBad(parseXClient, "LOGIN", "[TEMPUNAVAIL]")

    def test_destination(self) -> None:
        """DESTADDR and DESTPORT are of the types of ADDR and PORT."""
        self.assertGood(
            *(parseXClient, "DESTADDR", "destinationAddress"),
            *(("IPV6:::1", "::1"), ("[UNAVAILABLE]", Unavailable.PERMANENT)),
        )
        self.assertGood(parseXClient, "DESTPORT", "destinationPort", ("587", 587))
        self.assertBad(parseXClient, "DESTADDR", "example.com")
        self.assertBad(parseXClient, "DESTPORT", "smtp")

    def test_frozen(self) -> None:
        """Neither request can be changed."""
        for request in (XClientRequest(), XForwardRequest()):
            with self.assertRaises(AttributeError):
                request.name = "x"  # type: ignore[misc]

    def test_foreign(self) -> None:
        """XFORWARD's own attributes aren't XCLIENT's."""
        for argument in (b"IDENT=x", b"SOURCE=LOCAL"):
            self.assertIs(parseXClient(argument), UNKNOWN_ATTRIBUTE)

    def test_names(self) -> None:
        """The names for EHLO are the ones that are understood."""
        self.assertEqual(
            " ".join(XCLIENT_ATTRIBUTES), "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
        )


class ParseXForwardTests(TypedCase):
    """XFORWARD."""

    def test_everything(self) -> None:
        """All the attributes at once."""
        self.assertEqual(
            parseXForward(
                b"NAME=spike.porcupine.org ADDR=168.100.189.2 PORT=4242 PROTO=ESMTP "
                b"HELO=[168.100.189.2] IDENT=3CF6B2AAE8 SOURCE=REMOTE"
            ),
            XForwardRequest(
                name="spike.porcupine.org",
                address="168.100.189.2",
                port=4242,
                protocol="ESMTP",
                helo="[168.100.189.2]",
                ident="3CF6B2AAE8",
                source="REMOTE",
            ),
        )

    def test_protocols(self) -> None:
        """PROTO is any protocol, of up to 64 characters."""
        longest = "x" * MAX_PROTOCOL
        self.assertGood(
            *(parseXForward, "PROTO", "protocol"),
            *(("ESMTP", "ESMTP"), ("uucp", "uucp"), (longest, longest)),
            ("[UNAVAILABLE]", Unavailable.PERMANENT),
        )
        self.assertBad(parseXForward, "PROTO", longest + "x", "a b", "a;b")

    def test_ident(self) -> None:
        """IDENT is a word."""
        self.assertGood(
            *(parseXForward, "IDENT", "ident"),
            *(("4XyZ-1", "4XyZ-1"), ("[UNAVAILABLE]", Unavailable.PERMANENT)),
        )
        self.assertBad(parseXForward, "IDENT", "a b", "<a>")

    def test_source(self) -> None:
        """SOURCE is local, remote or unavailable."""
        self.assertGood(
            *(parseXForward, "SOURCE", "source"),
            *(("LOCAL", "LOCAL"), ("remote", "REMOTE")),
            ("[UNAVAILABLE]", Unavailable.PERMANENT),
        )
        self.assertBad(parseXForward, "SOURCE", "elsewhere", "LOCAL REMOTE")

    def test_foreign(self) -> None:
        """XCLIENT's own attributes aren't XFORWARD's."""
        for argument in (b"LOGIN=x", b"DESTADDR=192.0.2.1", b"DESTPORT=25"):
            self.assertIs(parseXForward(argument), UNKNOWN_ATTRIBUTE)

    def test_names(self) -> None:
        """The names for EHLO are the ones that are understood."""
        self.assertEqual(" ".join(XFORWARD_ATTRIBUTES), "NAME ADDR PORT PROTO HELO IDENT SOURCE")
