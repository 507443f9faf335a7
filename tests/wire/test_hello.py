"""Tests for the argument of EHLO, HELO and LHLO."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import replies
from twisted_smtpserver.wire.hello import parseHello

arguments = st.one_of(
    st.binary(),
    st.lists(
        st.sampled_from(
            [
                *(b"a", b"B1", b".", b"-", b"_", b" ", b"[", b"]", b"192.0.2.1", b"IPv6:", b":"),
                *(b"::1", b"\xc3\xbc", b"\xff", b"\x00", b"\r\n", b"a" * 63),
            ]
        )
    ).map(b"".join),
)


class ParseHelloTests(SynchronousTestCase):
    """The name of the client is one domain or one literal."""

    def test_accepted(self) -> None:
        """Names of proper hosts, and those that real clients make up, are returned as sent."""
        cases = [
            *("example.com", "Mail.EXAMPLE.com", "localhost", "a", "1", "mail.example.com."),
            *("192.0.2.1", "my_pc", "_", "_a._b", "WIN-2K_1.local", "a--b.c", "xn--bcher-kva.a"),
            *("[192.0.2.1]", "[IPv6:2001:DB8::1]", "[ipv6:::1]", "[x-tag:content]"),
            *("b\u00fccher.example", "B\u00dcCHER.example", "b\u00fccher.example.", "\u4e2d\u56fd"),
            "a" * 63,
            ".".join(["a" * 63] * 4),
            ".".join(["a" * 63] * 3 + ["a" * 62, ""]),
        ]
        for name in cases:
            self.assertEqual(parseHello(name.encode()), name)

    def test_refused(self) -> None:
        """No name, two names, and what is neither a name nor a literal get 501 5.5.4."""
        cases = [
            *(b"", b" ", b" a", b"a ", b"a b", b"a\tb", b"a\n", b"a\x00", b"\x7f", b"a\r\nb"),
            *(b".", b"..", b".a", b"a..b", b"a..", b"-a", b"a-", b"a.-b", b"a-.b", b"-", b"--"),
            *(b"<a>", b"a@b", b"a:25", b"a/b", b"(a)", b'"a"', b"a;b", b"a,b", b"*.a", b"a\\b"),
            *(b"::1", b"2001:db8::1", b"[", b"]", b"[]", b"[a]", b"[::1]", b"[1.2.3.256]"),
            *(
                b"[1.2.3.4",
                b"1.2.3.4]",
                b"[1.2.3.4]a",
                b"[1.2.3.4].",
                b"[IPv6:::1%eth0]",
                b"[x:y z]",
            ),
            *(b"\xff", b"a\xff.example", b"\xc2\x85", "\u2028".encode(), b"\xed\xa0\x80"),
            *("\u00fc_a".encode(), "-\u00fc".encode(), "\u00fc..".encode(), "\u00fc b".encode()),
            *("\u212a".encode(), "\U0001f4a9.la".encode(), "a\u3002b".encode(), "\u00a0".encode()),
            b"a" * 64,
            b"a." + b"b" * 64 + b".c",
            b".".join([b"a" * 63] * 4) + b".",
            b"a" * 5000,
            "\u00fc.".encode() * 100,
        ]
        for argument in cases:
            self.assertEqual(parseHello(argument), replies.BAD_HELLO, argument)

    @settings(max_examples=200, deadline=None)
    @given(arguments)
    def test_total(self, argument: bytes) -> None:
        """Any octets are one printable word of at most 255 octets, as sent, or refused."""
        result = parseHello(argument)
        if isinstance(result, str):
            self.assertEqual(result.encode(), argument)
            self.assertNotRegex(result, "[\x00-\x20\x7f-\xa0\u2028\u2029]")
            self.assertTrue(0 < len(argument) <= 255)
        else:
            self.assertEqual(result, replies.BAD_HELLO)
