"""Tests for twisted_smtpserver.stores.amqp.address."""

from __future__ import annotations

from unittest import mock

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.stores.amqp import address
from twisted_smtpserver.stores.amqp.address import BrokerAddress


class ParseTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """What may be left out has a default; what is escaped is read."""
        for url, meant in (
            ("amqp://h", BrokerAddress("h", 5672)),
            ("amqps://h/", BrokerAddress("h", 5671, isSecure=True)),
            ("amqp://joe:p%40s@h:7/a%2Fb", BrokerAddress("h", 7, "a/b", False, "joe", "p@s")),
        ):
            self.assertEqual(BrokerAddress.parse(url), meant)
        self.assertEqual(BrokerAddress.parse("amqp://joe:x@h", "y").password, "y")

    def test_nonsense(self) -> None:
        """What makes no sense is refused with advice, and without the URL."""
        for url in ("", "secret", "http://h", "amqp://:secret@", "amqp://h:secret", "amqp://h/a/b"):
            error = self.assertRaises(ConfigurationError, BrokerAddress.parse, url)
            self.assertIn("write amqp://USER@HOST:PORT/VIRTUALHOST", str(error))
            self.assertNotIn("secret", str(error))

    def test_texts(self) -> None:
        """Neither text of it has the password."""
        parsed = BrokerAddress.parse("amqp://joe:secret@h")
        self.assertEqual(str(parsed), "h:5672")
        self.assertNotIn("secret", repr(parsed))


class EndpointTests(SynchronousTestCase):
    def test_endpoint(self) -> None:
        """With amqps: the certificate is verified, for that host."""
        endpoint = BrokerAddress.parse("amqp://h.example").endpoint(reactor, 5)
        self.assertIsInstance(endpoint, HostnameEndpoint)
        with mock.patch.object(address, "optionsForClientTLS") as creator:
            secure = BrokerAddress.parse("amqps://h.example").endpoint(reactor, 5)
        creator.assert_called_once_with("h.example")
        self.assertNotIsInstance(secure, HostnameEndpoint)
