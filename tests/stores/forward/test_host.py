"""URLs of next hops."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.stores.forward.host import Host, parseURL


class URLTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each form, with its usual port."""
        for url, host in (
            ("smtp://mx.example", Host("smtp", "mx.example", 25)),
            ("smtps://mx.example", Host("smtps", "mx.example", 465)),
            ("smtp+starttls://mx.example:587", Host("smtp+starttls", "mx.example", 587)),
            ("smtp+starttls://mx.example/", Host("smtp+starttls", "mx.example", 25)),
            ("lmtp://[::1]", Host("lmtp", "::1", 24)),
            ("lmtp:unix:/run/lmtp", Host("lmtp", path="/run/lmtp")),
            ("smtps://joe%40x@mx.example", Host("smtps", "mx.example", 465, user="joe@x")),
        ):
            self.assertEqual(parseURL(url), host)

    def test_shown(self) -> None:
        """In the log a host is what its URL said, without the user."""
        for url, text in (
            ("smtps://joe@mx.example", "smtps://mx.example:465"),
            ("lmtp://[::1]", "lmtp://[::1]:24"),
            ("lmtp:unix:/run/lmtp", "lmtp:unix:/run/lmtp"),
        ):
            self.assertEqual(str(parseURL(url)), text)

    def test_bad(self) -> None:
        """What is no such URL is refused, with the forms that there are."""
        for url in (
            *("mx.example", "http://mx.example", "smtp://", "smtp://mx:0", "smtp://mx/path"),
            *("smtp://mx?x=1", "smtp://a smtp://b", ""),
        ):
            error = self.assertRaises(ConfigurationError, parseURL, url)
            self.assertIn("isn't of the form smtp://HOST", str(error))
        for url in ("smtp://mx:99999", "smtp://[::1"):
            self.assertIn("is not a URL", str(self.assertRaises(ConfigurationError, parseURL, url)))
        error = self.assertRaises(ConfigurationError, parseURL, "lmtp:unix:run/lmtp")
        self.assertIn("must begin with a slash", str(error))

    def test_password(self) -> None:
        """A password in it is refused, and not shown."""
        for url in ("smtps://joe:s3cret@mx.example", "http://joe:s3cret@mx"):
            error = self.assertRaises(ConfigurationError, parseURL, url)
            self.assertNotIn("s3cret", str(error))
        self.assertIn("--forward-password-file", str(error))
        error = self.assertRaises(ConfigurationError, parseURL, "smtps://joe:s3cret@mx:99999")
        self.assertNotIn("s3cret", str(error))

    def test_endpoints(self) -> None:
        """Each has the endpoint that fits."""
        tls = optionsForClientTLS("mx.example")
        endpoint = parseURL("lmtp:unix:/run/lmtp").endpoint(reactor, None, 5)
        self.assertIsInstance(endpoint, UNIXClientEndpoint)
        endpoint = parseURL("smtp+starttls://mx.example").endpoint(reactor, tls, 5)
        self.assertIsInstance(endpoint, HostnameEndpoint)
        endpoint = parseURL("smtps://mx.example").endpoint(reactor, tls, 5)
        self.assertNotIsInstance(endpoint, HostnameEndpoint)
