"""Tests for twisted_smtpserver.shared.address."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from txredisapi import RedisFactory

from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.shared import address
from twisted_smtpserver.shared.address import RedisAddress


class ParseTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """What may be left out has a default; what is escaped is read."""
        for url, meant in (
            ("redis://localhost", RedisAddress("localhost")),
            ("redis://192.0.2.1:6380/3", RedisAddress("192.0.2.1", 6380, "", 3)),
            ("redis://[2001:db8::1]/", RedisAddress("2001:db8::1")),
            ("rediss://r.example", RedisAddress("r.example", isSecure=True)),
            ("redis://:p%40ss@h", RedisAddress("h", password="p@ss")),
            ("redis://joe:x@h", RedisAddress("h", username="joe", password="x")),
            ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
            ("unix://:x@/r%20s?db=2", RedisAddress(path="/r s", database=2, password="x")),
        ):
            self.assertEqual(RedisAddress.parse(url), meant)

    def test_passwordBeside(self) -> None:
        """A password that is given by itself counts more than that of the URL."""
        parsed = RedisAddress.parse("redis://joe:x@h", "y")
        self.assertEqual((parsed.username, parsed.password), ("joe", "y"))

    def test_nonsense(self) -> None:
        """What makes no sense is refused with advice, and without the URL."""
        for url in (
            *("", "localhost", "http://h", "redis://", "redis://:secret@", "unix://h/path"),
            *("redis://h:secret", "redis://h/secret", "unix:///p?db=secret", "redis://[secret"),
        ):
            error = self.assertRaises(ConfigurationError, RedisAddress.parse, url)
            self.assertIn("write redis://HOST:PORT/DATABASE", str(error))
            self.assertNotIn("secret", str(error))

    def test_noSecrets(self) -> None:
        """Neither text of it has the password."""
        for url, text in (("redis://:secret@h/1", "h:6379/1"), ("unix://:secret@/p", "unix:/p")):
            parsed = RedisAddress.parse(url)
            self.assertEqual(str(parsed), text)
            self.assertNotIn("secret", repr(parsed))


class ConnectTests(SynchronousTestCase):
    def connect(self, url: str) -> Any:
        """The factory, and where it was told to connect to."""
        self.refused: list[Failure] = []
        with mock.patch.object(RedisFactory, "startConnecting") as start:
            handler = RedisAddress.parse(url).connect(2, self.refused.append)
        (endpoint,) = start.call_args.args
        return handler._factory, endpoint

    def test_tcp(self) -> None:
        """A host is connected to by TCP."""
        factory, endpoint = self.connect("redis://joe:x@h.example:7/3")
        self.assertIsInstance(endpoint, HostnameEndpoint)
        self.assertEqual((endpoint._hostText, endpoint._port), ("h.example", 7))
        self.assertEqual((factory.username, factory.password, factory.dbid), ("joe", "x", 3))
        self.assertEqual(factory.replyTimeout, 2)

    def test_tls(self) -> None:
        """With rediss: the certificate is verified, for that host."""
        creator = mock.Mock()
        with mock.patch.object(address, "optionsForClientTLS", creator):
            _, endpoint = self.connect("rediss://h.example")
        creator.assert_called_once_with("h.example")
        self.assertNotIsInstance(endpoint, HostnameEndpoint)

    def test_unix(self) -> None:
        """A path is a unix socket's."""
        _, endpoint = self.connect("unix:///run/r?db=1")
        self.assertIsInstance(endpoint, UNIXClientEndpoint)

    def test_refused(self) -> None:
        """A wrong password is told, and isn't an error that nobody cared for."""
        factory, _ = self.connect("redis://h")
        factory.connectionError("WRONGPASS")
        (failure,) = self.refused
        self.assertEqual(failure.getErrorMessage(), "WRONGPASS")
