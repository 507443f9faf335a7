"""What a handler remembers of a transaction."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.handlers.transactions import Transactions
from twisted_smtpserver.session import Envelope, Session


class TransactionsTests(SynchronousTestCase):
    """:class:`Transactions`."""

    def setUp(self) -> None:
        self.transactions: Transactions[list[str]] = Transactions(list)
        self.session = Session()

    def begin(self) -> None:
        """Have another sender, as after another MAIL."""
        sender: Any = object()
        self.session.envelope = Envelope("1")
        self.session.envelope.mailFrom = sender

    def test_same(self) -> None:
        """It is the same value until the next MAIL."""
        self.begin()
        first = self.transactions.of(self.session)
        self.assertEqual(first, [])
        self.assertIs(self.transactions.of(self.session), first)
        self.begin()
        self.assertIsNot(self.transactions.of(self.session), first)

    def test_pop(self) -> None:
        """At the end it is forgotten; a session that had none has none."""
        self.assertIsNone(self.transactions.pop(self.session))
        self.begin()
        first = self.transactions.of(self.session)
        self.assertIs(self.transactions.pop(self.session), first)
        self.assertIsNone(self.transactions.pop(self.session))

    def test_apart(self) -> None:
        """Each session has its own."""
        self.begin()
        self.assertIsNot(self.transactions.of(self.session), self.transactions.of(Session()))
