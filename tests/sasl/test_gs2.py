"""Tests for :mod:`twisted_smtpserver.sasl.gs2`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl.gs2 import Gs2Header, decodeSaslname, parseGs2


class ParseGs2Tests(SynchronousTestCase):
    """The header of RFC 5801 §4."""

    def test_takesEachForm(self) -> None:
        """All three flags, with and without an authorization identity; the rest is untouched."""
        for octets, header in (
            (b"n,,", Gs2Header("n", None, None, b"n,,")),
            (b"y,,", Gs2Header("y", None, None, b"y,,")),
            (b"p=tls-exporter,,", Gs2Header("p", "tls-exporter", None, b"p=tls-exporter,,")),
            (b"n,a=jo,", Gs2Header("n", None, "jo", b"n,a=jo,")),
            (b"n,a=a=2Cb=3D,", Gs2Header("n", None, "a,b=", b"n,a=a=2Cb=3D,")),
        ):
            with self.subTest(octets=octets):
                self.assertEqual(parseGs2(octets + b"n=x,r=y"), (header, b"n=x,r=y"))
                self.assertEqual(parseGs2(octets), (header, b""))

    def test_refuses(self) -> None:
        """What isn't of the grammar, or names nobody, is refused."""
        for octets in (
            b"",
            b"n",
            b"n,",
            b"N,,",
            b"q,,",
            b"F,n,,",
            b"p,,",
            b"p=,,",
            b"p=tls exporter,,",
            b"n,a=,",
            b"n,a=jo",
            b"n,jo,",
            b"n,b=jo,",
            b"n,a=\0,",
            b"n,a=jo\n,",
            b"n,a=\xff,",
            b"n,a=a=2cb,",
            b" n,,",
        ):
            with self.subTest(octets=octets):
                self.assertIsNone(parseGs2(octets))

    @settings(deadline=None, max_examples=200)
    @given(
        st.binary()
        | st.lists(st.sampled_from([b"n", b"p=", b",", b"a=", b"=", b"x"])).map(b"".join)
    )
    def test_isTotal(self, octets: bytes) -> None:
        """Whatever comes in, header and rest are the message again, or it is refused."""
        parsed = parseGs2(octets)
        if parsed is not None:
            self.assertEqual(parsed[0].octets + parsed[1], octets)


class DecodeSaslnameTests(SynchronousTestCase):
    """Names in which comma and equals sign are escaped."""

    def test_unescapes(self) -> None:
        """Each escape is replaced once: an escaped escape stays as it was meant."""
        for octets, name in (
            (b"jo", "jo"),
            (b"=2C", ","),
            (b"=3D", "="),
            (b"=3D2C", "=2C"),
            (b"=3D3D", "=3D"),
            ("\u00f6=2C".encode(), "\u00f6,"),
        ):
            with self.subTest(octets=octets):
                self.assertEqual(decodeSaslname(octets), name)

    def test_refuses(self) -> None:
        """Bare specials, unknown or lower-case escapes and non-names are refused."""
        for octets in (b"", b",", b"=", b"=2", b"=2c", b"=41", b"a\0", b"\x7f", b"\xff"):
            with self.subTest(octets=octets):
                self.assertIsNone(decodeSaslname(octets))

    @settings(deadline=None, max_examples=200)
    @given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60))
    def test_roundTrip(self, name: str) -> None:
        """What a client escapes is read as it was meant."""
        escaped = name.replace("=", "=3D").replace(",", "=2C").encode()
        self.assertEqual(decodeSaslname(escaped), name)
