"""Tests for ESMTP parameters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import replies
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire import params
from twisted_smtpserver.wire.params import parseParameters

parameters = st.one_of(
    st.binary(),
    st.lists(
        st.sampled_from(
            [
                *(b"SIZE", b"size", b"BODY", b"X-A", b"=", b"=1", b"=8BITMIME", b" ", b"  ", b"-"),
                *("=\u00fc".encode(), b"=\xff", b"=\xc2\x85", b"\x00", b"=a=b", b"=<>", b"\t"),
            ]
        )
    ).map(b"".join),
)


class ParseParametersTests(SynchronousTestCase):
    """What follows the path in MAIL and RCPT."""

    def test_wellFormed(self) -> None:
        """Keywords come in upper case, values as sent, and a keyword alone is a flag."""
        table: dict[bytes, dict[str, str | bool]] = {
            b"": {},
            b"   ": {},
            b"SMTPUTF8": {"SMTPUTF8": True},
            b"size=100": {"SIZE": "100"},
            b"SIZE=100 BODY=8BITMIME SMTPUTF8": {
                "SIZE": "100",
                "BODY": "8BITMIME",
                "SMTPUTF8": True,
            },
            b" SIZE=1  ret=hdrs ": {"SIZE": "1", "RET": "hdrs"},
            b"AUTH=<>": {"AUTH": "<>"},
            b"ENVID=QQ+2B3D": {"ENVID": "QQ+2B3D"},
            b"ORCPT=rfc822;Bob@Example.ORG": {"ORCPT": "rfc822;Bob@Example.ORG"},
            b"8-bit-=x": {"8-BIT-": "x"},
            b"A=!~\\\"'": {"A": "!~\\\"'"},
            "ORCPT=utf-8;b\u00fc@b".encode(): {"ORCPT": "utf-8;b\u00fc@b"},
        }
        self.assertEqual({octets: parseParameters(octets) for octets in table}, table)

    def test_order(self) -> None:
        """The parameters keep the order they were sent in."""
        result = parseParameters(b"C=1 A=2 B")
        assert isinstance(result, dict)
        self.assertEqual(list(result), ["C", "A", "B"])

    def test_malformed(self) -> None:
        """A syntax error is 501 5.5.4, wherever it stands."""
        cases = [
            *(b"=", b"=1", b"SIZE=", b"SIZE==1", b"A=b=c", b"-A", b"-", b"A_B=1", b"SIZE =1"),
            *(b"SIZE= 1", b"A\t", b"A\tB", b"A=b\tc", b"A\nB", b"A=b\r", b"A=\x00", b"A=\x7f"),
            *(
                "\u00c4=1".encode(),
                b"A=\xff",
                b"A=\xc2\x85",
                "A=\u2028".encode(),
                b"A=\xed\xa0\x80",
            ),
            *(b"<a@b>", b"A;B", b"A,B", b'"A"'),
        ]
        for case in cases:
            for octets in (case, b"OK=1 " + case):
                self.assertEqual(parseParameters(octets), replies.MALFORMED_PARAMETER, octets)
        self.assertEqual(replies.MALFORMED_PARAMETER.code, 501)
        self.assertEqual(replies.MALFORMED_PARAMETER.enhanced, "5.5.4")

    def test_duplicate(self) -> None:
        """A keyword given twice is 501 5.5.4, in whatever case and with whatever value."""
        for octets in (b"SIZE=1 SIZE=1", b"SIZE=1 size=2", b"A A", b"A A=1", b"A=1 B A"):
            self.assertEqual(parseParameters(octets), replies.DUPLICATE_PARAMETER, octets)
        self.assertEqual(replies.DUPLICATE_PARAMETER.code, 501)
        self.assertEqual(replies.DUPLICATE_PARAMETER.enhanced, "5.5.4")

    def test_count(self) -> None:
        """Up to 32 parameters are taken, one more is 501 5.5.4."""
        some = b" ".join(b"A%d" % number for number in range(32))
        self.assertEqual(parseParameters(some), {f"A{number}": True for number in range(32)})
        self.assertEqual(parseParameters(some + b" B"), params.TOO_MANY_PARAMETERS)
        self.assertEqual(params.TOO_MANY_PARAMETERS.code, 501)
        self.assertEqual(params.TOO_MANY_PARAMETERS.enhanced, "5.5.4")

    def test_fresh(self) -> None:
        """Each call returns a dict of its own, which the caller may give away."""
        for octets in (b"", b"A=1"):
            self.assertIsNot(parseParameters(octets), parseParameters(octets))

    @settings(max_examples=200, deadline=None)
    @given(parameters)
    def test_total(self, octets: bytes) -> None:
        """Any octets are parameters that can be written down again, or a refusal with 501."""
        result = parseParameters(octets)
        if isinstance(result, Reply):
            self.assertEqual((result.code, result.enhanced), (501, "5.5.4"))
            return
        sent = " ".join(key if value is True else f"{key}={value}" for key, value in result.items())
        self.assertEqual(parseParameters(sent.encode()), result)
        self.assertTrue(len(result) <= params.MAX_PARAMETERS)
