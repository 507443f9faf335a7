"""Tests for reverse-paths and forward-paths."""

from __future__ import annotations

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire import domain, path
from twisted_smtpserver.wire.domain import Problem
from twisted_smtpserver.wire.path import (
    Path,
    asciiDomain,
    parseForwardPath,
    parseMailArgument,
    parseRcptArgument,
    parseReversePath,
)

PIECES = [
    *(b"<", b">", b"<>", b"@", b".", b":", b",", b" ", b'"', b"\\", b"[", b"]", b"-", b"xn--"),
    *(
        b"user",
        b"a",
        b"USER+tag",
        b"example.com",
        b"Example.ORG",
        b"postmaster",
        b"b_c",
        b"1.2.3.4",
    ),
    *(b'"a b"', b'"a\\"b"', b'"a@b"', b"[192.0.2.1]", b"[IPv6:2001:DB8::1]", b"[x:>@]", b"@a.b:"),
    *("\u00fc".encode(), "b\u00fccher".encode(), b"xn--bcher-kva", b"\xff", b"\x00", b"\xc2\x85"),
    *(b"a" * 63, b"b" * 64, b"a." * 30, b" SIZE=1", "\u212a".encode(), b"\r\n", b"\t", b"!#$%&'*"),
]
arguments = st.one_of(
    st.binary(),
    st.lists(st.sampled_from(PIECES)).map(b"".join),
    st.lists(st.sampled_from(PIECES)).map(lambda pieces: b"<%b>" % b"".join(pieces)),
    st.tuples(st.sampled_from(PIECES), st.sampled_from(PIECES), st.sampled_from(PIECES)).map(
        lambda pieces: b"<%b%b@%b>" % pieces
    ),
)


def sender(problem: Problem) -> Reply:
    """The refusal of a reverse-path."""
    return Reply(501, "5.1.7", f"Bad sender address: {problem.text}")


def recipient(problem: Problem) -> Reply:
    """The refusal of a forward-path."""
    return Reply(501, "5.1.3", f"Bad recipient address: {problem.text}")


class ParsePathTests(SynchronousTestCase):
    """The grammar of RFC 5321 section 4.1.2, as RFC 6531 extends it."""

    def test_plain(self) -> None:
        """A dot-string at a name: the local part keeps its case, the domain loses it."""
        self.assertEqual(
            parseReversePath(b"<First.Last+tag@Mail.EXAMPLE.com>"),
            (
                Path(
                    local="First.Last+tag",
                    domain="mail.example.com",
                    address="First.Last+tag@mail.example.com",
                    raw="First.Last+tag@Mail.EXAMPLE.com",
                    needsUtf8=False,
                ),
                b"",
            ),
        )

    def test_mailboxes(self) -> None:
        """Each form of a mailbox has one local part, one domain and one canonical address."""
        table = {
            b"<a@b>": ("a", "b", "a@b"),
            b"<!#$%&'*+-/=?^_`{|}~@b>": (
                "!#$%&'*+-/=?^_`{|}~",
                "b",
                "!#$%&'*+-/=?^_`{|}~@b",
            ),
            b"<a.b.c@d.e.f>": ("a.b.c", "d.e.f", "a.b.c@d.e.f"),
            b"<1@2.3a>": ("1", "2.3a", "1@2.3a"),
            b"<a@b1>": ("a", "b1", "a@b1"),
            b"<a@b--c.d-e>": ("a", "b--c.d-e", "a@b--c.d-e"),
            b'<"a"@b>': ("a", "b", "a@b"),
            b'<"a.b"@c>': ("a.b", "c", "a.b@c"),
            b'<"\\a\\.\\b"@c>': ("a.b", "c", "a.b@c"),
            b'<""@b>': ("", "b", '""@b'),
            b'<" "@b>': (" ", "b", '" "@b'),
            b'<"a b"@c>': ("a b", "c", '"a b"@c'),
            b'<"a\\ b"@c>': ("a b", "c", '"a b"@c'),
            b'<"a@b"@c>': ("a@b", "c", '"a@b"@c'),
            b'<"a\\@b"@c>': ("a@b", "c", '"a@b"@c'),
            b'<"a>b"@c>': ("a>b", "c", '"a>b"@c'),
            b'<"a> b"@c>': ("a> b", "c", '"a> b"@c'),
            b'<"<a@b>"@c>': ("<a@b>", "c", '"<a@b>"@c'),
            b'<"a\\"b"@c>': ('a"b', "c", '"a\\"b"@c'),
            b'<"a\\\\b"@c>': ("a\\b", "c", '"a\\\\b"@c'),
            b'<"\\\\\\""@c>': ('\\"', "c", '"\\\\\\""@c'),
            b'<"Joe\\,Smith"@c>': ("Joe,Smith", "c", '"Joe,Smith"@c'),
            b'<".a"@b>': (".a", "b", '".a"@b'),
            b'<"a..b"@c>': ("a..b", "c", '"a..b"@c'),
            b'<"a."@c>': ("a.", "c", '"a."@c'),
            b"<a@[192.0.2.1]>": ("a", "[192.0.2.1]", "a@[192.0.2.1]"),
            b"<a@[192.000.002.001]>": ("a", "[192.0.2.1]", "a@[192.0.2.1]"),
            b"<a@[ipv6:2001:DB8:0::1]>": (
                "a",
                "[IPv6:2001:db8::1]",
                "a@[IPv6:2001:db8::1]",
            ),
            b"<a@[x:>@<]>": ("a", "[x:>@<]", "a@[x:>@<]"),
            b'<"a\\"@b"@[x:"]>': ('a"@b', '[x:"]', '"a\\"@b"@[x:"]'),
            b"<a@xn--bcher-kva.example>": (
                "a",
                "b\u00fccher.example",
                "a@b\u00fccher.example",
            ),
            "<\u00fc@b\u00fccher.example>".encode(): (
                "\u00fc",
                "b\u00fccher.example",
                "\u00fc@b\u00fccher.example",
            ),
            '<"\u00fc"@b>'.encode(): ("\u00fc", "b", "\u00fc@b"),
            '<"\u00fc \u4e2d"@b>'.encode(): ("\u00fc \u4e2d", "b", '"\u00fc \u4e2d"@b'),
            "<\u4e2d.\u56fd@b>".encode(): ("\u4e2d.\u56fd", "b", "\u4e2d.\u56fd@b"),
            "<u\u0308@b>".encode(): ("u\u0308", "b", "u\u0308@b"),
            b"<@c.d:a@b>": ("a", "b", "a@b"),
            b"<@c.d,@E.f:a@b>": ("a", "b", "a@b"),
            b'<@c:"x:y"@b>': ("x:y", "b", '"x:y"@b'),
            b"<@c:a@[IPv6:::1]>": ("a", "[IPv6:::1]", "a@[IPv6:::1]"),
            b"<@c_d,@[192.0.2.1]:a@b>": ("a", "b", "a@b"),
            "<a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example>".encode(): (
                "a",
                "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example",
                "a@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example",
            ),
            b"<postmaster@b>": ("postmaster", "b", "postmaster@b"),
        }
        for parse in (parseReversePath, parseForwardPath):
            for octets, (local, name, address) in table.items():
                raw = octets.decode()[1:-1]
                expected = Path(local, name, address, raw, not raw.isascii())
                for sent in (octets, b" " + octets, b"   " + octets):
                    self.assertEqual(parse(sent), (expected, b""), sent)
                    self.assertEqual(parse(sent, lenient=True), (expected, b""), sent)

    def test_malformed(self) -> None:
        """What is wrong is named, in MAIL with 501 5.1.7 and in RCPT with 501 5.1.3."""
        table = {
            b"": path.NO_BRACKETS,
            b"a@b": path.NO_BRACKETS,
            b"a@b>": path.NO_BRACKETS,
            b"SIZE=1": path.NO_BRACKETS,
            b"Name <a@b>": path.NO_BRACKETS,
            b"\t<a@b>": path.NO_BRACKETS,
            b"<": path.NOT_CLOSED,
            b"<a": path.NOT_CLOSED,
            b"<a@b": path.NOT_CLOSED,
            b"<a@": path.NOT_CLOSED,
            b"<a@[192.0.2.1]": path.NOT_CLOSED,
            b"<a@[x:>]": path.NOT_CLOSED,
            b"<@a": path.NOT_CLOSED,
            b"<@a:": path.NOT_CLOSED,
            b"<a@b>SIZE=1": path.NOT_ALONE,
            b"<a@b>>": path.NOT_ALONE,
            b"<a@b>\t": path.NOT_ALONE,
            b"<a@b>,<c@d>": path.NOT_ALONE,
            b"<a@b><c@d>": path.NOT_ALONE,
            b"<@b>": path.LOCAL_MISSING,
            b"<@b> A=a:b": path.LOCAL_MISSING,
            b"<@a:>": path.LOCAL_MISSING,
            b"<@a:@b>": path.LOCAL_MISSING,
            b"<a>": path.NO_DOMAIN,
            b'<"a">': path.NO_DOMAIN,
            b'<"postmaster">': path.NO_DOMAIN,
            b"<@a:postmaster>": path.NO_DOMAIN,
            b"<postmaster >": path.LOCAL_MALFORMED,
            b"<.a@b>": path.LOCAL_MALFORMED,
            b"<a.@b>": path.LOCAL_MALFORMED,
            b"<a..b@c>": path.LOCAL_MALFORMED,
            b"<.@a>": path.LOCAL_MALFORMED,
            b"< a@b>": path.LOCAL_MALFORMED,
            b"<a @b>": path.LOCAL_MALFORMED,
            b"<a b@c>": path.LOCAL_MALFORMED,
            b"<a,b@c>": path.LOCAL_MALFORMED,
            b"<a:b@c>": path.LOCAL_MALFORMED,
            b"<a;b@c>": path.LOCAL_MALFORMED,
            b"<(a)b@c>": path.LOCAL_MALFORMED,
            b"<a[b@c>": path.LOCAL_MALFORMED,
            b"<a\\b@c>": path.LOCAL_MALFORMED,
            b"<<a@b>>": path.LOCAL_MALFORMED,
            b'<a"b"@c>': path.LOCAL_MALFORMED,
            b"<a\x00@b>": path.LOCAL_MALFORMED,
            b"<a\r\n@b>": path.LOCAL_MALFORMED,
            b"<a\x7f@b>": path.LOCAL_MALFORMED,
            b'<">': path.QUOTES_MALFORMED,
            b'<"a@b>': path.QUOTES_MALFORMED,
            b'<"a"b@c>': path.QUOTES_MALFORMED,
            b'<"a"."b"@c>': path.QUOTES_MALFORMED,
            b'<"a\\"@b>': path.QUOTES_MALFORMED,
            b'<"a\nb"@c>': path.QUOTES_MALFORMED,
            b'<"a\tb"@c>': path.QUOTES_MALFORMED,
            b'<"a\\\x00"@c>': path.QUOTES_MALFORMED,
            b'<"a\\\nb"@c>': path.QUOTES_MALFORMED,
            '<"a\\\u00fc"@c>'.encode(): path.QUOTES_MALFORMED,
            b"<a@>": domain.MISSING,
            b"<a@.>": domain.EMPTY_LABEL,
            b"<a@b.>": domain.EMPTY_LABEL,
            b"<a@b..c>": domain.EMPTY_LABEL,
            b"<a@b c>": domain.NOT_LDH,
            b"<a@b >": domain.NOT_LDH,
            b"<a@b_c>": domain.NOT_LDH,
            b"<a@-b>": domain.NOT_LDH,
            b"<a@b->": domain.NOT_LDH,
            b"<a@b@c>": domain.NOT_LDH,
            b"<a@@b>": domain.NOT_LDH,
            b"<a@b,c@d>": domain.NOT_LDH,
            b"<a@b:c@d>": domain.NOT_LDH,
            b"<a@b\x00>": domain.NOT_TEXT,
            b"<a@b\r\nRCPT TO:<c@d>": domain.NOT_TEXT,
            b"<a@1.2.3.4>": domain.NUMERIC,
            b"<a@b.1>": domain.NUMERIC,
            b"<a@[1.2.3]>": domain.BAD_IP,
            b"<a@[::1]>": domain.BAD_IP,
            b"<a@[IPv6:x]>": domain.BAD_IPV6,
            b"<a@[1.2.3.4]b>": domain.BAD_LITERAL,
            b"<a@[1.2.3.4>": domain.BAD_LITERAL,
            b"<a@[1.2.3.4] >": domain.BAD_LITERAL,
            b"<a@b[1.2.3.4]>": domain.NOT_LDH,
            b"<a@xn--a>": domain.NOT_IDNA,
            "<a@\u212a>".encode(): domain.NOT_IDNA,
            b"<a@\xff>": domain.NOT_TEXT,
            b"<\xff@b>": domain.NOT_TEXT,
            b"<\xc3@b>": domain.NOT_TEXT,
            b"<\xed\xa0\x80@b>": domain.NOT_TEXT,
            b"<\xc0\xae@b>": domain.NOT_TEXT,
            b'<"\xff"@b>': domain.NOT_TEXT,
            "<a\u0085@b>".encode(): domain.NOT_TEXT,
            "<a\u2028@b>".encode(): domain.NOT_TEXT,
            **{
                f"<{sent}>".encode(): domain.NOT_TEXT
                for character in "\u00ad\u061c\u200b\u200e\u200f\u202e\u2060\u2066\ufeff\U000e0041"
                for sent in (f"a{character}@b", f"a@b{character}", f"@c{character}:a@b")
            },
            "<a\u200cb@c>".encode(): domain.NOT_TEXT,
            '<"a\u200db"@c>'.encode(): domain.NOT_TEXT,
            "<a@b\u200cc>".encode(): domain.NOT_IDNA,
            b"<@b,c:a@d>": path.BAD_ROUTE,
            b"<@b,:a@d>": path.BAD_ROUTE,
            b"<@b, @c:a@d>": path.BAD_ROUTE,
            b"<@:a@d>": path.BAD_ROUTE,
            b"<@b;@c:a@d>": path.BAD_ROUTE,
            b"<@b c:a@d>": path.BAD_ROUTE,
            b"<@b\x00:a@d>": path.BAD_ROUTE,
            b"<@b<c:a@d>": path.BAD_ROUTE,
            b"<@\xff:a@d>": domain.NOT_TEXT,
            b"<@b:a@c:d@e>": domain.NOT_LDH,
        }
        self.assertEqual(
            {octets: parseReversePath(octets) for octets in table},
            {octets: sender(problem) for octets, problem in table.items()},
        )
        self.assertEqual(
            {octets: parseForwardPath(octets) for octets in table},
            {octets: recipient(problem) for octets, problem in table.items()},
        )

    def test_null(self) -> None:
        """The null path is a sender, and no recipient."""
        self.assertEqual(parseReversePath(b"<>"), (Path("", None, "", "", False), b""))
        self.assertEqual(parseReversePath(b"<> A=1"), (Path("", None, "", "", False), b"A=1"))
        self.assertEqual(parseReversePath(b"<>A=1"), sender(path.NOT_ALONE))
        self.assertEqual(parseReversePath(b"< >"), sender(path.LOCAL_MALFORMED))
        self.assertEqual(parseForwardPath(b"<>"), recipient(path.LOCAL_MISSING))

    def test_postmaster(self) -> None:
        """Postmaster alone is a recipient in any case of its letters, and no sender."""
        for name in ("Postmaster", "postmaster", "POSTMASTER"):
            self.assertEqual(
                parseForwardPath(f"<{name}> A=1".encode()),
                (Path(name, None, name, name, False), b"A=1"),
            )
        self.assertEqual(parseReversePath(b"<Postmaster>"), sender(path.NO_DOMAIN))
        self.assertEqual(parseForwardPath(b"<Postmasters>"), recipient(path.NO_DOMAIN))

    def test_parameters(self) -> None:
        """What follows a space is handed on, without the spaces before it."""
        for octets in (b"<a@b>", b'<"a"@b>'):
            for rest in (b"", b"SIZE=1", b"A=<x@y> B", b"\xff\x00"):
                for space in (b" ", b"   "):
                    result = parseReversePath(octets + space + rest)
                    assert isinstance(result, tuple)
                    self.assertEqual(result[1], rest)

    def test_needsUtf8(self) -> None:
        """Only octets outside ASCII need SMTPUTF8, wherever in the path they are."""
        table = {
            b"<a@b>": False,
            b"<a@xn--bcher-kva.example>": False,
            "<\u00fc@b>".encode(): True,
            "<a@b\u00fccher.example>".encode(): True,
            "<@b\u00fccher.example:a@b>".encode(): True,
            "<a@b> X=\u00fc".encode(): False,
        }
        for octets, expected in table.items():
            result = parseForwardPath(octets)
            assert isinstance(result, tuple)
            self.assertEqual(result[0].needsUtf8, expected, octets)

    def test_immutable(self) -> None:
        """A path can't be changed."""
        value = Path("a", "b", "a@b", "a@b", False)
        with self.assertRaises(AttributeError):
            value.domain = "c"  # type: ignore[misc]


class LengthTests(SynchronousTestCase):
    """Limits well above those of RFC 5321 section 4.5.3.1, as it wants where that is possible."""

    def test_localPart(self) -> None:
        """A local part has at most 512 octets, quotes and backslashes included."""
        for good in (b"a" * 512, b'"' + b"a" * 510 + b'"', b'"' + b"\\a" * 255 + b'"'):
            self.assertIsInstance(parseReversePath(b"<%b@b>" % good), tuple, good)
        self.assertIsInstance(parseReversePath("<{}@b>".format("\u00fc" * 256).encode()), tuple)
        cases = [
            b"a" * 513,
            b'"' + b"a" * 511 + b'"',
            ("\u00fc" * 256 + "a").encode(),
            b"a." * 999 + b"a",
        ]
        for bad in cases:
            self.assertEqual(parseReversePath(b"<%b@b>" % bad), sender(path.LOCAL_TOO_LONG), bad)

    def test_domain(self) -> None:
        """A label has at most 63 octets, a domain 255."""
        self.assertIsInstance(parseReversePath(b"<a@%b.b>" % (b"a" * 63)), tuple)
        for bad in (b"a" * 64, b"a" * 64 + b".b", b"b." + b"a" * 64):
            self.assertEqual(parseReversePath(b"<a@%b>" % bad), sender(domain.LABEL_TOO_LONG), bad)
        self.assertEqual(parseReversePath(b"<a@%b>" % (b"a." * 999)), sender(domain.TOO_LONG))

    def test_path(self) -> None:
        """A path has at most 1024 octets, brackets and source route included."""
        name = b".".join([b"a" * 63] * 3)
        for lenient in (False, True):
            for form in (b"<@%b:u@b>", b"<@%b:u@" + name + b">", b'<@%b:"u"@b>'):
                octets = form % (b"r" * (1024 - len(form % b"")))
                self.assertEqual(len(octets), 1024)
                self.assertIsInstance(parseReversePath(octets, lenient), tuple, octets)
                octets = form % (b"r" * (1025 - len(form % b"")))
                self.assertEqual(parseReversePath(octets, lenient), sender(path.PATH_TOO_LONG))

    def test_route(self) -> None:
        """A source route is never given to IDNA, and an endless one is refused at once."""
        hops = b"@a," * 1000 + b"@b"
        with mock.patch.object(path, "parseDomain") as parseDomain:
            for octets in (b"<%b:a@b>" % hops, b"<%b" % hops):
                self.assertEqual(parseReversePath(octets), sender(path.PATH_TOO_LONG))
            parseDomain.assert_not_called()
            parseDomain.return_value = "b"
            parseReversePath("<@\u00fc.\u4e2d,@\u00e9:a@b>".encode())
            parseDomain.assert_called_once_with(b"b")


class LenientTests(SynchronousTestCase):
    """What is taken in addition if the application asks for it."""

    def test_spaces(self) -> None:
        """Spaces around the path change nothing in the value."""
        expected = Path("A.", "b.example", "A.@b.example", "A.@B.example", False)
        for form in ("<A.@B.example>", " <A.@B.example>", "   <A.@B.example>  "):
            octets = form.encode()
            self.assertEqual(parseReversePath(octets, lenient=True), (expected, b""), octets)
            octets = f"{form} A=1 B".encode()
            self.assertEqual(parseForwardPath(octets, lenient=True), (expected, b"A=1 B"), octets)

    def test_asSent(self) -> None:
        """What is not well-formed stays as sent, but for the case of its domain."""
        table = {
            "a..b@Example.COM": ("a..b", "example.com"),
            ".a@b": (".a", "b"),
            "a.@b": ("a.", "b"),
            "a@b_C.example": ("a", "b_c.example"),
            "a@b.": ("a", "b."),
            "a@-b": ("a", "-b"),
            "a@1.2.3.4": ("a", "1.2.3.4"),
            "a@[::1]": ("a", "[::1]"),
            "a@[1.2.3.4": ("a", "[1.2.3.4"),
            "a..b@[ipv6:0::1]": ("a..b", "[IPv6:::1]"),
            "a,b@c": ("a,b", "c"),
            "a:b@c": ("a:b", "c"),
            "a\\b@c": ("a\\b", "c"),
            '"a@B': ('"a', "b"),
            "a..b@xn--bcher-kva.example": ("a..b", "b\u00fccher.example"),
            "a..b@B\u00dcCHER.example": ("a..b", "b\u00fccher.example"),
            "a@xn--A": ("a", "xn--a"),
            "a@\u212aB": ("a", "\u212ab"),
            "\u00fc..@b": ("\u00fc..", "b"),
            "@c,@d_e:a..b@f": ("a..b", "f"),
        }
        for raw, (local, name) in table.items():
            expected = Path(local, name, f"{local}@{name}", raw, not raw.isascii())
            octets = f"<{raw}>".encode()
            self.assertEqual(parseReversePath(octets, lenient=True), (expected, b""), octets)
            self.assertIsInstance(parseReversePath(octets), Reply)

    def test_refused(self) -> None:
        """An address needs its brackets, one "@", and something on both sides of it."""
        table = {
            b"": path.NO_BRACKETS,
            b"a@b": path.NO_BRACKETS,
            b"a@b SIZE=1": path.NO_BRACKETS,
            b"BODY=8BITMIME": path.NO_BRACKETS,
            b"a@b>": path.NO_BRACKETS,
            b"<a@b": path.NOT_CLOSED,
            b"<": path.NOT_CLOSED,
            b"< a@b>": path.LOCAL_MALFORMED,
            b"<a@b >": domain.NOT_LDH,
            b"<a b@c>": path.LOCAL_MALFORMED,
            b"<a\tb@c>": path.LOCAL_MALFORMED,
            b"<a@b@c>": domain.NOT_LDH,
            b"<@b>": path.LOCAL_MISSING,
            b"<a@>": domain.MISSING,
            b"<root>": path.NO_DOMAIN,
            b"<Postmaster>": path.NO_DOMAIN,
            b"<<a@b>>": path.LOCAL_MALFORMED,
            b"<a<b@c>": path.LOCAL_MALFORMED,
            b"<a@b>A=1": path.NOT_ALONE,
            b"<a..b@c>>": path.LOCAL_MALFORMED,
        }
        self.assertEqual(
            {octets: parseReversePath(octets, lenient=True) for octets in table},
            {octets: sender(problem) for octets, problem in table.items()},
        )
        self.assertEqual(parseForwardPath(b"<>", lenient=True), recipient(path.LOCAL_MISSING))

    def test_text(self) -> None:
        """Controls, invisible characters and what isn't UTF-8 are refused all the same."""
        cases = [b"a\x00", b"a\x7f", b"\xff", "a\u0085".encode(), "a\u2028".encode()]
        cases += [f"a..{invisible}".encode() for invisible in "\u200b\u200d\u202e\u2060\ufeff"]
        for local in cases:
            for octets in (b"<%b@b>" % local, b"<%b.@b>" % local, b"<a..b@%b>" % local):
                self.assertIsInstance(parseReversePath(octets, lenient=True), Reply, octets)

    def test_lengths(self) -> None:
        """The limits stay."""
        for good in (b"<%b.@b>" % (b"a" * 511), b"<a.@%b>" % (b"b" * 255)):
            self.assertIsInstance(parseReversePath(good, lenient=True), tuple, good)
        table = {
            b"<%b.@b>" % (b"a" * 512): path.LOCAL_TOO_LONG,
            b"<a.@%b>" % (b"b" * 256): domain.TOO_LONG,
            b"<@%b:a.@b>" % (b"c" * 1017): path.PATH_TOO_LONG,
        }
        self.assertEqual(
            {octets: parseReversePath(octets, lenient=True) for octets in table},
            {octets: sender(problem) for octets, problem in table.items()},
        )


class ParseArgumentTests(SynchronousTestCase):
    """The keyword before the path."""

    def test_keyword(self) -> None:
        """FROM: and TO: come in any case, followed by the path at once."""
        plain = (Path("a", "b", "a@b", "a@b", False), b"SIZE=1")
        for keyword in (b"FROM:", b"from:", b"From:"):
            self.assertEqual(parseMailArgument(keyword + b"<a@b> SIZE=1"), plain)
        for keyword in (b"TO:", b"to:", b"To:"):
            self.assertEqual(parseRcptArgument(keyword + b"<a@b> SIZE=1"), plain)

    def test_path(self) -> None:
        """Each command has its own special path and its own codes."""
        null = Path("", None, "", "", False)
        self.assertEqual(parseMailArgument(b"FROM:<>"), (null, b""))
        self.assertEqual(parseRcptArgument(b"TO:<>"), recipient(path.LOCAL_MISSING))
        postmaster = Path("postmaster", None, "postmaster", "postmaster", False)
        self.assertEqual(parseRcptArgument(b"TO:<postmaster>"), (postmaster, b""))
        self.assertEqual(parseMailArgument(b"FROM:<postmaster>"), sender(path.NO_DOMAIN))
        plain = (Path("a", "b", "a@b", "a@b", False), b"")
        self.assertEqual(parseMailArgument(b"FROM:  <a@b>"), plain)
        self.assertEqual(parseRcptArgument(b"TO: <a@b>"), plain)
        self.assertEqual(parseMailArgument(b"FROM: BODY=8BITMIME"), sender(path.NO_BRACKETS))

    def test_syntax(self) -> None:
        """Without the keyword the answer is 501 5.5.4 and the syntax."""
        mail = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
        cases = [b"", b"<a@b>", b"FROM", b"FROM <a@b>", b"FROM :<a@b>", b" FROM:<a@b>", b"TO:<a@b>"]
        for argument in (*cases, b"FROMM:<a@b>", b"\xffROM:<a@b>", b"FR\xcfM:", b"FROM\x00:"):
            self.assertEqual(parseMailArgument(argument), mail, argument)
        rcpt = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
        for argument in (
            b"",
            b"<a@b>",
            b"TO",
            b"TO <a@b>",
            b"TO :<a@b>",
            b" TO:<a@b>",
            b"FROM:<a@b>",
        ):
            self.assertEqual(parseRcptArgument(argument), rcpt, argument)

    def test_lenient(self) -> None:
        """Spaces behind the keyword are tolerated if asked for; the keyword itself is needed."""
        plain = (Path("a", "b", "a@b", "a@b", False), b"X=1")
        for argument in (b"FROM:<a@b> X=1", b"from : <a@b> X=1", b"FROM:  <a@b>  X=1"):
            self.assertEqual(parseMailArgument(argument, lenient=True), plain, argument)
        for argument in (b"TO:<a@b> X=1", b"to : <a@b> X=1", b"TO:  <a@b>  X=1"):
            self.assertEqual(parseRcptArgument(argument, lenient=True), plain, argument)
        mail = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
        for argument in (b"", b" FROM:<a@b>", b"FROM <a@b>", b"F ROM:<a@b>", b"FROM\t:<a@b>"):
            self.assertEqual(parseMailArgument(argument, lenient=True), mail, argument)


class AsciiDomainTests(SynchronousTestCase):
    """Domains for headers."""

    def test_table(self) -> None:
        """A path or a domain gives A-labels; where there is no domain, there is no text."""
        for argument in (b"<a@xn--bcher-kva.example>", "<a@B\u00fccher.example>".encode()):
            result = parseReversePath(argument)
            assert isinstance(result, tuple)
            self.assertEqual(asciiDomain(result[0]), "xn--bcher-kva.example")
        self.assertEqual(asciiDomain("b\u00fccher.example"), "xn--bcher-kva.example")
        self.assertEqual(asciiDomain("[192.0.2.1]"), "[192.0.2.1]")
        self.assertEqual(asciiDomain(Path("", None, "", "", False)), "")
        self.assertEqual(asciiDomain(None), "")
        self.assertEqual(asciiDomain("\u212a.example"), "?.example")


class PropertyTests(SynchronousTestCase):
    """What holds whatever the peer sends."""

    def check(self, argument: bytes, lenient: bool) -> None:
        """One argument, in both commands."""
        for parse in (parseReversePath, parseForwardPath):
            result = parse(argument, lenient)
            if isinstance(result, Reply):
                self.assertEqual(result.code, 501)
                self.assertIn(result.enhanced, ("5.1.7", "5.1.3"))
                continue
            found, rest = result
            self.assertTrue(argument.endswith(rest))
            self.assertIn(found.raw.encode(), argument)
            self.assertNotRegex(found.raw + found.address, "[\x00-\x1f\x7f-\x9f\u2028\u2029]")
            self.assertTrue(asciiDomain(found).isascii())
            again = parse(f"<{found.address}>".encode(), lenient)
            assert isinstance(again, tuple)
            canonical = again[0]
            self.assertEqual(
                (canonical.local, canonical.domain, canonical.address, again[1]),
                (found.local, found.domain, found.address, b""),
            )

    @settings(max_examples=200, deadline=None)
    @given(arguments)
    def test_strict(self, argument: bytes) -> None:
        """Any octets are refused, or a path whose address parses to the same value."""
        self.check(argument, lenient=False)

    @settings(max_examples=200, deadline=None)
    @given(arguments)
    def test_lenient(self, argument: bytes) -> None:
        """Any octets are refused, or a path whose address parses to the same value, leniently."""
        self.check(argument, lenient=True)

    @settings(max_examples=200, deadline=None)
    @given(arguments)
    def test_lenientTakesMore(self, argument: bytes) -> None:
        """What strict parsing takes, lenient parsing takes for the same."""
        for parse in (parseReversePath, parseForwardPath):
            strict = parse(argument)
            if isinstance(strict, tuple):
                self.assertEqual(parse(argument, lenient=True), strict)

    @settings(max_examples=200, deadline=None)
    @given(arguments, st.sampled_from([b"", b"FROM:", b"to:", b" FROM :", b"TO :"]), st.booleans())
    def test_arguments(self, argument: bytes, keyword: bytes, lenient: bool) -> None:
        """Whatever follows the verb is a path and parameters, or a refusal with 501."""
        for parse in (parseMailArgument, parseRcptArgument):
            result = parse(keyword + argument, lenient)
            if isinstance(result, Reply):
                self.assertEqual(result.code, 501)
            else:
                self.assertIsInstance(result[0], Path)
                self.assertIsInstance(result[1], bytes)
