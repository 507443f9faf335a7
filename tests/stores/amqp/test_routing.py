"""Tests for twisted_smtpserver.stores.amqp.routing."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL
from twisted_smtpserver import ConfigurationError, Session
from twisted_smtpserver.stores.amqp import AMQP
from twisted_smtpserver.stores.amqp.routing import Router, headersOf
from twisted_smtpserver.testing import connect


class Recipient:
    """An address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.local, _, domain = address.partition("@")
        self.domain = domain or None

    def __str__(self) -> str:
        return self.address


class RouterTests(SynchronousTestCase):
    def test_keys(self) -> None:
        """A key may have parts of a recipient."""
        joe: Any = Recipient("joe@a.example")
        postmaster: Any = Recipient("postmaster")
        for template, key, other in (
            ("mail", "mail", "mail"),
            ("{{x}}", "{x}", "{x}"),
            ("in.{domain}", "in.a.example", "in."),
            ("{local}/{address}", "joe/joe@a.example", "postmaster/postmaster"),
        ):
            router = Router(template)
            self.assertEqual((router.keyOf(joe), router.keyOf(postmaster)), (key, other))

    def test_nonsense(self) -> None:
        """What else is in braces is refused."""
        for template in ("{user}", "{}", "{", "{local.__class__}"):
            error = self.assertRaises(ConfigurationError, Router, template)
            self.assertIn("may have {address}, {local} and {domain} only", str(error))


class RecipientTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """550 for a recipient with too long a key, 452 when there are too many for one message."""
        store = AMQP("amqp://h", exchange="mail", routingKey="{local}")
        client = connect(store)
        client.pipeline(HELLO, MAIL)
        self.assertEqual(client.say(f"RCPT TO:<{'x' * 300}@a.example>").code, 550)
        codes = [
            client.say(f"RCPT TO:<{'x' * 200}{number}@{'a' * 50}.example>").code
            for number in range(200)
        ]
        self.assertEqual(set(codes), {250, 452})
        self.assertEqual(codes, sorted(codes))
        self.assertGreater(codes.count(250), 150)


class HeaderTests(SynchronousTestCase):
    def test_text(self) -> None:
        """What isn't known is left out; what UTF-8 can't encode is replaced."""
        session = Session()
        session.newEnvelope()
        session.hostNameAppearsAs = "a\udc80"
        session.user = object()
        headers = headersOf(session, [])
        self.assertEqual(headers["hello"], "a?")
        self.assertEqual(headers["sender"], "")
        self.assertNotIn("user", headers)
        self.assertNotIn("remote_address", headers)
