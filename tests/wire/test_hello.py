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
    """The name of the client is whatever it says in one printable word."""

    def test_accepted(self) -> None:
        """Proper names, and those that devices make up, are returned as sent."""
        cases = [
            *("example.com", "Mail.EXAMPLE.com", "localhost", "a", "1", "mail.example.com."),
            *("192.0.2.1", "my_laptop", "_", "WIN-2K_1.local", "a--b.c", "xn--bcher-kva.a", "-"),
            *("[192.0.2.1]", "[IPv6:2001:DB8::1]", "[x-tag:content]", "[10.0.0.1", "10.0.0.1]"),
            *(
                "(none)",
                "bob's-mac",
                "bob\u2019s-mac",
                "<a>",
                "a@b",
                "a:25",
                "a/b",
                '"a"',
                "*",
                "a\\b",
            ),
            *("::1", "[]", "..", "a..b", "-a", "%s", "${x}", "b\u00fccher.example", "\u4e2d\u56fd"),
            *("\U0001f4a9.la", "a" * 64, "a" * 255, "\u00fc" * 127),
        ]
        for name in cases:
            self.assertEqual(parseHello(name.encode()), name)

    def test_refused(self) -> None:
        """No name, two names, what can't be shown and what is too long get 501 5.5.4."""
        cases = [
            *(b"", b" ", b" a", b"a ", b"a b", b"a\tb", b"a\n", b"a\x00", b"\x7f", b"a\r\nb"),
            *(b"\xff", b"a\xff.example", b"\xc2\x85", b"\xed\xa0\x80", b"\xc2"),
            *(f"a{c}b".encode() for c in "\u00a0\u00ad\u200b\u2028\u202e\u2066\u3000\ufeff\ue000"),
            *(b"a" * 256, b"a" * 5000, "\u00fc".encode() * 128),
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
