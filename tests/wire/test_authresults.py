"""Tests for :mod:`twisted_smtpserver.wire.authresults`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.wire.authresults import (
    MAX_FIELD,
    MAX_PROPERTIES,
    MAX_RESULTS,
    NOTHING_KNOWN,
    Authentication,
    AuthenticationResult,
    joined,
    parseAuthservId,
    parseResults,
)

#: What Debian's programs write; then RFC 8601's appendix B.
REAL = [
    (
        (
            b" mx.example.com;\r\n\tdkim=pass (2048-bit key; unprotected) header.d=example.com"
            b' header.i=@example.com header.a=rsa-sha256 header.s=mail header.b="Zm/X+q3="'
        ),
        [
            (
                "dkim",
                "pass",
                {
                    "header.d": "example.com",
                    "header.i": "@example.com",
                    "header.a": "rsa-sha256",
                    "header.s": "mail",
                    "header.b": "Zm/X+q3=",
                },
            )
        ],
    ),
    (
        (
            b" mx.example.com;\r\n\tspf=softfail (mx: 1.2.3.4 is; neither \\) nor) "
            b"smtp.mailfrom=a@b.c;"
            b'\r\n\tdmarc=fail reason="SPF not aligned; no DKIM" header.from=b.c (policy=none)'
        ),
        [
            ("spf", "softfail", {"smtp.mailfrom": "a@b.c"}),
            ("dmarc", "fail", {"header.from": "b.c"}),
        ],
    ),
    (b" example.org 1; none", []),
    (
        (
            b" foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) ="
            b" (wait for it) fail\r\n policy (A dot can go here) . (like that) expired\r\n"
            b" (this surprised me) = (as I wasn't expecting it) 1362471462"
        ),
        [("dkim", "fail", {"policy.expired": "1362471462"})],
    ),
]

TOKENS = st.sampled_from(
    ["mx.test", ";", "=", "dkim", "pass", " ", "(", ")", '"', "\\", "\r\n", ".", "smtp", "/", "é"]
)


class ParseTests(SynchronousTestCase):
    """Fields as they are, and as nobody should write them."""

    def test_real(self) -> None:
        """Fields that programs write."""
        for value, expected in REAL:
            found = [
                (each.method, each.result, dict(each.properties)) for each in parseResults(value)
            ]
            self.assertEqual(found, expected, value)

    def test_reason(self) -> None:
        """The reason comes without its quotes."""
        (_, dmarc) = parseResults(REAL[1][0])
        self.assertEqual(dmarc.reason, "SPF not aligned; no DKIM")
        (one,) = parseResults(b'x; a=b reason="say \\"hi\\""')
        self.assertEqual(one.reason, 'say "hi"')

    def test_id(self) -> None:
        """Who speaks, behind comments and in quotes, too."""
        for value, expected in [
            (b" MX.test; none", "mx.test"),
            (b"\r\n\t(a (b) \\) c) (d)\r\n mx.test 1; none", "mx.test"),
            (b' "mx.\\test" ; none', "mx.test"),
            (b" mx.test", "mx.test"),
            (b" \xff\xfe; none", "\ufffd\ufffd"),
            (b"", None),
            (b" ; none", None),
            (b" (never closed mx.test; none", None),
            (b" ((((deeper than anybody)))) mx.test; none", "mx.test"),
            (b' "never closed; none', None),
            (b" a" * 300 + b"; none", None),
            (b' "mx".test\0; none', "mx.test"),
            (b" mx.test) \\; none", "mx.test)"),
            (b" " * 1024 + b"mx.test; none", None),
            (b" " * 508 + b"mx.test; none", None),
        ]:
            self.assertEqual(parseAuthservId(value), expected, value)

    def test_malformed(self) -> None:
        """What can't be understood is left out; the rest counts."""
        for value, expected in [
            (b"x; nonsense; spf=pass", ["spf"]),
            (b"x; =pass; spf=pass", ["spf"]),
            (b"x; spf=pass smtp.=y; dkim=pass", ["spf", "dkim"]),
            (b"x;;; spf=pass", ["spf"]),
            (b"x; spf = pass smtp . mailfrom = a ; dkim / 1 = pass", ["spf", "dkim"]),
            (b"x; spf", []),
            (b"spf=pass", []),
            (b"x; spf=pass (open; dkim=pass", ["spf"]),
            (b'x; spf=pass "open; dkim=pass', ["spf"]),
        ]:
            found = [each.method for each in parseResults(value)]
            self.assertEqual(found, expected, value)

    @given(st.lists(TOKENS, max_size=30).map("".join))
    def test_total(self, text: str) -> None:
        """Whatever it is, there is a result."""
        value = text.encode()
        parseAuthservId(value)
        for each in parseResults(value):
            self.assertTrue(each.method and each.result)

    def test_bounded(self) -> None:
        """No field is too long to be left alone, and none yields too much."""
        self.assertEqual(parseResults(b"x; spf=pass" + b" " * MAX_FIELD), [])
        many = b"x" + b"; a=b" * (MAX_RESULTS + 1)
        self.assertEqual(len(parseResults(many)), MAX_RESULTS)
        self.assertEqual(len(joined([many, many]).results), MAX_RESULTS)
        wide = b"x; a=b" + b"".join(b" c.d%d=e" % number for number in range(MAX_PROPERTIES + 1))
        self.assertEqual(len(parseResults(wide)[0].properties), MAX_PROPERTIES)

    def test_evil(self) -> None:
        """Nothing takes more than linear time: these would take minutes otherwise."""
        for piece in (
            b"(",
            b"(a",
            b"()",
            b'"',
            b'\\"',
            b'"\\',
            b"(\\",
            b" ",
            b";",
            b"a=b c.d=",
            b"(()",
        ):
            value = b"x; a=b " + piece * (MAX_FIELD // len(piece) - 8)
            parseResults(value)
            parseAuthservId(value)
            parseAuthservId(piece * 100_000)


class AuthenticationTests(SynchronousTestCase):
    """What handlers see."""

    def test_methods(self) -> None:
        """Of several results of a method one that passed is shown."""
        known = joined(
            [b"x; spf=fail; dkim=fail header.d=a; dkim=pass header.d=b", b"x; dmarc=none"]
        )
        assert known.dkim is not None
        assert known.spf is not None
        assert known.dmarc is not None
        self.assertEqual(known.dkim.properties, {"header.d": "b"})
        self.assertEqual([each.passed for each in known.all("dkim")], [False, True])
        self.assertEqual((known.spf.result, known.dmarc.result, known.arc), ("fail", "none", None))
        self.assertEqual(len(list(known)), 4)

    def test_nothing(self) -> None:
        """Before a filter has said anything there is nothing, not None."""
        self.assertEqual((NOTHING_KNOWN.spf, list(NOTHING_KNOWN)), (None, []))
        self.assertEqual(Authentication(), NOTHING_KNOWN)
        self.assertEqual(hash(AuthenticationResult("a", "b")), hash(AuthenticationResult("a", "b")))
