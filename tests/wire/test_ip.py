"""Tests for sets of networks."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.wire.ip import Networks


class NetworksTests(SynchronousTestCase):
    def test_everyone(self) -> None:
        """True stands for everyone, unix sockets included."""
        networks = Networks(True, "useProxy")
        self.assertTrue(networks)
        self.assertIn("192.0.2.1", networks)
        self.assertIn(None, networks)

    def test_nobody(self) -> None:
        """False and an empty list stand for nobody."""
        nobody: Any
        for nobody in (False, [], ()):
            networks = Networks(nobody, "useProxy")
            self.assertFalse(networks)
            self.assertNotIn("192.0.2.1", networks)
            self.assertNotIn(None, networks)

    def test_networks(self) -> None:
        """Addresses and networks are in it, of either version; host bits don't matter."""
        networks = Networks(["192.0.2.1", "198.51.100.7/24", "2001:db8::/32"], "useProxy")
        self.assertTrue(networks)
        for address in (
            *("192.0.2.1", "198.51.100.255", "2001:db8:1::5", "2001:db8::1%eth0"),
            *("::ffff:192.0.2.1", "::ffff:c633:6401"),
        ):
            self.assertIn(address, networks)
        for address in ("192.0.2.2", "198.51.101.0", "2001:db9::1", "::ffff:192.0.2.2", "::1"):
            self.assertNotIn(address, networks)

    def test_oneAsText(self) -> None:
        """A single one needs no list."""
        self.assertIn("10.1.2.3", Networks("10.0.0.0/8", "useProxy"))

    def test_noAddress(self) -> None:
        """What isn't an IP address is in no network."""
        networks = Networks(["0.0.0.0/0", "::/0"], "useProxy")
        for address in (None, "", "localhost", "/run/socket", b"192.0.2.1", 5):
            self.assertNotIn(address, networks)

    def test_bad(self) -> None:
        """The text of the error names the option and what is wrong."""
        bad: Any
        for bad in (
            ["fe80::1%eth0"],
            ["example.com"],
            "example.com",
            ["192.0.2.0/33"],
            [""],
            [None],
            [5],
            5,
            None,
        ):
            with self.assertRaisesRegex(ConfigurationError, "^useProxy: .* is neither"):
                Networks(bad, "useProxy")
