"""Tests for domain names and address literals."""

from __future__ import annotations

import sys
from unittest import mock

import idna
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire import domain
from twisted_smtpserver.wire.domain import Problem, parseDomain, parseLiteral, toAscii

# Not st.characters(), which reads the whole Unicode table before its first character.
characters = st.integers(0, 0x10FFFF).map(chr)

domains = st.one_of(
    st.binary(max_size=300),
    st.lists(characters, max_size=80)
    .map("".join)
    .map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(
        st.sampled_from(
            [
                b"a",
                b"B",
                b"1",
                b"-",
                b"--",
                b".",
                b"xn--",
                b"XN--",
                b"bcher-kva",
                b"mnchen-3ya",
                b"_",
            ]
            + [label.encode() for label in ("b\u00fccher", "\u00dc", "\u4e2d", "\u05d0", "\u200d")]
            + [b"a" * 63, b"\xff", "\u212a".encode(), "\u0627\u0660".encode(), "\u13a0".encode()]
        )
    ).map(b"".join),
)

literals = st.one_of(
    st.binary(),
    st.lists(
        st.sampled_from(
            [b"1", b"255", b"256", b".", b":", b"::", b"ffff", b"IPv6:", b"x-y:", b"%", b"<", b"]"]
        )
    ).map(lambda parts: b"[" + b"".join(parts) + b"]"),
)


class ParseDomainTests(SynchronousTestCase):
    """Domain names as sent, in their one canonical form."""

    def test_valid(self) -> None:
        """A name comes in lower case and in U-labels."""
        table = {
            b"example.com": "example.com",
            b"Mail.EXAMPLE.com": "mail.example.com",
            b"localhost": "localhost",
            b"1.2.3.4a": "1.2.3.4a",
            b"1and1.com": "1and1.com",
            b"a-b.c--d.example": "a-b.c--d.example",
            b"r3---sn-x.example": "r3---sn-x.example",
            b"xn--bcher-kva.example": "b\u00fccher.example",
            b"XN--BCHER-KVA.Example": "b\u00fccher.example",
            "b\u00fccher.example".encode(): "b\u00fccher.example",
            "B\u00dcCHER.Example".encode(): "b\u00fccher.example",
            "\u4e2d\u56fd.\u4e2d\u56fd".encode(): "\u4e2d\u56fd.\u4e2d\u56fd",
            "stra\u00dfe.example".encode(): "stra\u00dfe.example",
            b"xn--strae-oqa.example": "stra\u00dfe.example",
            "\u05d0\u05d1.example".encode(): "\u05d0\u05d1.example",
            "\u13b4\u13a9\u13af".encode(): "\u13b4\u13a9\u13af",
            "a.\u0967".encode(): "a.\u0967",
            b"xn--f9dmn": "\u13b4\u13a9\u13af",
        }
        self.assertEqual({octets: parseDomain(octets) for octets in table}, table)

    def test_invalid(self) -> None:
        """Each part that is wrong has its own answer."""
        table = {
            b"": domain.MISSING,
            b".": domain.EMPTY_LABEL,
            b"a.": domain.EMPTY_LABEL,
            b".a": domain.EMPTY_LABEL,
            b"a..b": domain.EMPTY_LABEL,
            b"a_b.example": domain.NOT_LDH,
            b"-a.example": domain.NOT_LDH,
            b"a-.example": domain.NOT_LDH,
            b"-": domain.NOT_LDH,
            b"a b": domain.NOT_LDH,
            b"a@b": domain.NOT_LDH,
            b"a,b": domain.NOT_LDH,
            b"*.example": domain.NOT_LDH,
            b"xn--.example": domain.NOT_LDH,
            b"xn--abc-.example": domain.NOT_LDH,
            b"[192.0.2.1]": domain.NOT_LDH,
            b"a\x00": domain.NOT_TEXT,
            b"a\r\n": domain.NOT_TEXT,
            b"\xff.example": domain.NOT_TEXT,
            b"\xc2\x80.example": domain.NOT_TEXT,
            b"1.2.3.4": domain.NUMERIC,
            b"192.0.2.256": domain.NUMERIC,
            b"example.1": domain.NUMERIC,
            b"127": domain.NUMERIC,
        }
        self.assertEqual({octets: parseDomain(octets) for octets in table}, table)

    def test_notIdna(self) -> None:
        """Labels that IDNA 2008 doesn't have are refused, in either form."""
        cases = [
            *(b"xn--a.example", b"xn--0.example", b"xn--zzzzzzzz99999.example"),
            *(b"xn---bbk.example", b"xn--ls8h.example", b"xn--u-ccb.example"),
            # In capitals, with a full stop, a surrogate, and in other than NFC: Punycode can do it.
            *(
                b"xn--" + label.encode("punycode")
                for label in ("b\u00dccher", "a\u3002b", "\ud800")
            ),
            *(b"xn--" + label.encode("punycode") for label in ("u\u0308", "\u212a", "a\u200db")),
            "bu\u0308cher.example".encode(),
            "\U0001f4a9.example".encode(),
            "a\u3002example".encode(),
            "\uff41.example".encode(),
            "a\u00a0b.example".encode(),
            "-\u00fc.example".encode(),
            "\u00fc-.example".encode(),
            "xn--\u00fc.example".encode(),
            "\u00fc_.example".encode(),
            "\u0300a.example".encode(),
            "\u200d.example".encode(),
            "a\u200db.example".encode(),
            "a\u05d0.example".encode(),
            "\u0661.example".encode(),
        ]
        for octets in cases:
            self.assertEqual(parseDomain(octets), domain.NOT_IDNA, octets)

    def test_kelvin(self) -> None:
        """A character that is an ASCII letter in lower case doesn't pass for that letter."""
        self.assertEqual(parseDomain("ban\u212a.example".encode()), domain.NOT_IDNA)

    def test_lengths(self) -> None:
        """A label has at most 63 octets, a domain 255, in each of its forms."""
        label = b"a" * 63
        self.assertEqual(parseDomain(label), "a" * 63)
        self.assertEqual(parseDomain(label + b"a"), domain.LABEL_TOO_LONG)
        longest = b".".join([label] * 4)
        self.assertEqual(parseDomain(longest), longest.decode())
        self.assertEqual(parseDomain(longest + b"a"), domain.TOO_LONG)
        self.assertEqual(parseDomain(b"a." * 128), domain.TOO_LONG)
        # 57 characters of two octets are an A-label of 63.
        self.assertEqual(parseDomain(("\u00fc" * 57).encode()), "\u00fc" * 57)
        self.assertEqual(parseDomain(("\u00fc" * 58).encode()), domain.NOT_IDNA)

    def test_lengthOfTheOtherForm(self) -> None:
        """A name that fits in the form it was sent in only is refused."""
        asALabel = idna.alabel("\u4e2d" * 57)
        self.assertTrue(len(b".".join([asALabel] * 2)) < 255)
        self.assertEqual(parseDomain(b".".join([asALabel] * 2)), domain.TOO_LONG)
        short = "\u00fc.".encode() * 50 + b"a"
        self.assertTrue(len(short) < 255)
        self.assertEqual(parseDomain(short), domain.TOO_LONG)

    def test_lengthExactly(self) -> None:
        """The limit for the other form is 255 octets, and not one less."""
        # Nine octets for each "xn--tda.", and the rest in a last label.
        count = 31
        rest = 255 - count * len("xn--tda.")
        self.assertTrue(0 < rest < 63)
        name = "\u00fc." * count + "a" * rest
        self.assertEqual(parseDomain(name.encode()), name)
        self.assertEqual(parseDomain((name + "a").encode()), domain.TOO_LONG)

    def test_carelessLibrary(self) -> None:
        """A label on which the library fails in its own way is refused like others."""
        for error in (idna.IDNAError("x"), ValueError("x"), IndexError("x"), OverflowError("x")):
            self.forget()
            with mock.patch.object(idna, "check_label", side_effect=error):
                self.assertEqual(parseDomain("\u00fc".encode()), domain.NOT_IDNA)
                self.assertEqual(parseDomain(b"xn--tda"), domain.NOT_IDNA)
        self.forget()

    def forget(self) -> None:
        domain._parseULabel.cache_clear()
        domain._decodeLabel.cache_clear()

    @settings(max_examples=200, deadline=None)
    @given(domains)
    def test_total(self, octets: bytes) -> None:
        """Any octets are a name, which stays the same in each of its forms, or a problem."""
        name = parseDomain(octets)
        if isinstance(name, Problem):
            return
        self.assertEqual(parseDomain(name.encode()), name)
        self.assertEqual(parseDomain(toAscii(name).encode("ascii")), name)
        self.assertTrue(max(len(name.encode()), len(toAscii(name))) <= 255)


# Characters for which IDNA 2008 has rules of its own, and some that those rules look for.
RULED = [
    *("\u30fb", "\u30fc", "\u3042", "\u30a2", "\u4e2d", "\u3099", "\u0660", "\u0669", "\u06f0"),
    *("\u0627", "\u05d0", "\u05f3", "\u0375", "\u03b1", "\u0391", "\u00b7", "l", "\u0628"),
    *("\u064b", "\u200c", "\u200d", "\u094d", "\u0301", "\u13a0", "\U00010d30", "-", "0", "a"),
]
ruled = st.lists(st.sampled_from(RULED), min_size=1, max_size=64).map("".join)
# Twice the same piece, or a hundred times.
repeated = st.lists(st.tuples(ruled, st.integers(1, 60)), min_size=1, max_size=4).map(
    lambda pieces: "".join(piece * count for piece, count in pieces)[:300]
)


class WorkTests(SynchronousTestCase):
    """What a name costs, whatever the peer made it of: counted, not timed."""

    # An ASCII name takes 50 calls, a name of 20 Chinese characters 400. Without its bound, the
    # costliest took 14,000.
    # Without bounds it was 28,000 calls for the first name below.
    MOST_CALLS = 6000

    def cost(self, octets: bytes) -> int:
        """The functions that are called to parse a name, those that are written in C included."""
        domain._parseULabel.cache_clear()
        domain._decodeLabel.cache_clear()
        calls = 0

        def count(frame: object, event: str, argument: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        previous = sys.getprofile()
        sys.setprofile(count)
        try:
            parseDomain(octets)
        finally:
            sys.setprofile(previous)
        return calls

    def test_known(self) -> None:
        """The names that are the hardest on IDNA's rules cost little more than others."""
        dots = "\u03b1" * 23 + "\u30fb" * 26 + "\u3042"
        hard = [
            f"{dots}.{dots}",
            "\u0627" + "\u0660" * 54,
            "\u0627" + "\u06f0" * 54,
            "\u0628" + "\u064b" * 25 + "\u200c" + "\u064b" * 25 + "\u0628",
            "\u0628\u200c" * 24 + "\u0628",
            "".join(chr(0x4E00 + 300 * number) for number in range(59)),
            "".join(chr(0x4E00 + number) for number in range(59, 0, -1)),
            ".".join(chr(0x4E00 + number) for number in range(31)),
            "\u00fc" * 127,
        ]
        costs = {name: self.cost(name.encode()) for name in hard}
        aLabel = b"xn--" + dots.encode("punycode")
        costs["xn--"] = self.cost(aLabel + b"." + aLabel)
        self.assertEqual(
            {name: calls for name, calls in costs.items() if calls > self.MOST_CALLS}, {}
        )

    @settings(max_examples=200, deadline=None)
    @given(st.lists(repeated, min_size=1, max_size=4).map(".".join))
    def test_any(self, name: str) -> None:
        """No name costs more, whatever is repeated in it."""
        self.assertLess(self.cost(name.encode()), self.MOST_CALLS)

    @settings(max_examples=500, deadline=None)
    @given(st.one_of(ruled, repeated))
    def test_sameAsTheLibrary(self, label: str) -> None:
        """A label is taken exactly if the library takes it, and has the same A-label."""
        if label.isascii():
            return
        try:
            expected = idna.alabel(label).decode("ascii")
        except (ValueError, LookupError):
            expected = None
        self.assertEqual(domain._encodeLabel(label), expected)
        if expected is not None:
            self.assertEqual(domain._decodeLabel(expected), label)

    def test_remembered(self) -> None:
        """A name that was just parsed isn't given to IDNA again, and few are remembered."""
        self.cost("b\u00fccher.example".encode())
        with mock.patch.object(idna, "check_label", side_effect=AssertionError):
            self.assertEqual(parseDomain("b\u00fccher.example".encode()), "b\u00fccher.example")
        for number in range(2000):
            parseDomain(f"\u00fc{number}".encode())
        self.assertEqual(domain._parseULabel.cache_info().currsize, 1024)


class ParseLiteralTests(SynchronousTestCase):
    """Address literals, RFC 5321 section 4.1.3."""

    def test_valid(self) -> None:
        """An IP address comes in normal form, anything else as sent."""
        table = {
            b"[192.0.2.1]": "[192.0.2.1]",
            b"[255.255.255.255]": "[255.255.255.255]",
            b"[0.0.0.0]": "[0.0.0.0]",
            b"[010.000.002.001]": "[10.0.2.1]",
            b"[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]",
            b"[ipv6:2001:DB8:0:0:0:0:0:1]": "[IPv6:2001:db8::1]",
            b"[IPV6:::]": "[IPv6:::]",
            b"[IPv6:::1]": "[IPv6:::1]",
            b"[IPv6:1::]": "[IPv6:1::]",
            b"[IPv6:1:2:3:4:5:6:7:8]": "[IPv6:1:2:3:4:5:6:7:8]",
            b"[IPv6:1:2:3:4:5:6:7::]": "[IPv6:1:2:3:4:5:6:7:0]",
            b"[IPv6:::ffff:192.0.2.1]": "[IPv6:::ffff:192.0.2.1]",
            b"[IPv6:::ffff:c000:201]": "[IPv6:::ffff:192.0.2.1]",
            b"[IPv6:::FFFF:192.000.002.001]": "[IPv6:::ffff:192.0.2.1]",
            b"[IPv6:1:2:3:4:5:6:1.2.3.4]": "[IPv6:1:2:3:4:5:6:102:304]",
            b"[IPv6:64:ff9b::1.2.3.4]": "[IPv6:64:ff9b::102:304]",
            b"[x:y]": "[x:y]",
            b"[X-Tag:a>b<c@d:e!Z^~]": "[X-Tag:a>b<c@d:e!Z^~]",
            b"[-a:b]": "[-a:b]",
        }
        self.assertEqual({octets: parseLiteral(octets) for octets in table}, table)

    def test_invalid(self) -> None:
        """What is wrong with a literal is said in terms of what it looks like."""
        table = {
            **dict.fromkeys([b"", b"[", b"]", b"192.0.2.1", b"[1.2.3.4", b"1.2.3.4]"], "literal"),
            **dict.fromkeys(
                [b"[]", b"[1.2.3]", b"[1.2.3.4.5]", b"[1.2.3.256]", b"[1.2.3.0001]"], "4"
            ),
            **dict.fromkeys([b"[0x7f.0.0.1]", b"[2130706433]", b"[1.2.3.4 ]", b"[ 1.2.3.4]"], "4"),
            **dict.fromkeys(
                [b"[1.2.3.4/24]", b"[1.2.3.-4]", b"[example.com]", b"[1.2.3.4\n]"], "4"
            ),
            **dict.fromkeys([b"[::1]", b"[2001:db8::]", b"[fe80::1%eth0]"], "4"),
            **dict.fromkeys([b"[IPv6:]", b"[IPv6::]", b"[IPv6:1]", b"[IPv6:1:2:3:4:5:6:7]"], "6"),
            **dict.fromkeys(
                [b"[IPv6:1::2::3]", b"[IPv6:12345::]", b"[IPv6:g::]", b"[IPv6::1]"], "6"
            ),
            **dict.fromkeys([b"[IPv6:fe80::1%eth0]", b"[IPv6:fe80::1%]", b"[IPv6: ::1]"], "6"),
            **dict.fromkeys([b"[IPv6:::1.2.3.256]", b"[IPv6:::1.2.3]", b"[IPv6:1.2.3.4]"], "6"),
            **dict.fromkeys([b"[IPv6:1.2.3.4::]", b"[IPv6:::1.2.3.4.5]", b"[IPv6:::1/64]"], "6"),
            **dict.fromkeys([b"[IPv6:[::1]]", b"[ipv6:x]", b"[IPv6:::1\n]"], "6"),
            **dict.fromkeys(
                [b"[x:]", b"[:x]", b"[x-:y]", b"[x:a b]", b"[x:a[b]", b"[x:a]b]"], "tag"
            ),
            **dict.fromkeys(
                [b"[x:a\\b]", b"[x_y:z]", b"[x:\x00]", b"[x:\x7f]", b"[x y:z]", b"[IPv6 ::1]"],
                "tag",
            ),
            **dict.fromkeys([b"[x:\xff]", b"[IPv6:\xb9::]", "[\u0661.2.3.4]".encode()], "tag"),
            b"[x:" + b"y" * 252 + b"]": "long",
        }
        problems = {
            "literal": domain.BAD_LITERAL,
            "4": domain.BAD_IP,
            "6": domain.BAD_IPV6,
            "tag": domain.BAD_LITERAL,
            "long": domain.TOO_LONG,
        }
        self.assertEqual(
            {octets: parseLiteral(octets) for octets in table},
            {octets: problems[kind] for octets, kind in table.items()},
        )

    def test_longest(self) -> None:
        """A literal of 255 octets, brackets included, is not too long."""
        octets = b"[x:" + b"y" * 251 + b"]"
        self.assertEqual(parseLiteral(octets), octets.decode())

    @settings(max_examples=200, deadline=None)
    @given(literals)
    def test_total(self, octets: bytes) -> None:
        """Any octets are a literal in a form that parses to itself, or a problem."""
        literal = parseLiteral(octets)
        if isinstance(literal, Problem):
            return
        self.assertRegex(literal, r"\A\[[!-Z^-~]+\]\Z")
        self.assertEqual(parseLiteral(literal.encode("ascii")), literal)


class ToAsciiTests(SynchronousTestCase):
    """Domains for places where only ASCII may stand."""

    def test_table(self) -> None:
        """U-labels become A-labels; what has none is made ASCII all the same."""
        table = {
            "": "",
            "example.com": "example.com",
            "b\u00fccher.example": "xn--bcher-kva.example",
            "\u4e2d\u56fd.b\u00fccher.a": "xn--fiqs8s.xn--bcher-kva.a",
            "[192.0.2.1]": "[192.0.2.1]",
            "b\u00fc_cher.\u00fc": "b?_cher.xn--tda",
            "\u00fc..": "xn--tda..",
        }
        self.assertEqual({name: toAscii(name) for name in table}, table)
