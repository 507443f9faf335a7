"""The filters of the how-to do what it says."""

from __future__ import annotations

from tests.filters.test_filtered import FilteredCase
from tests.support.examples import load
from tests.support.talk import brief
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.testing import runInline


class ShoutingTests(FilteredCase):
    """docs/examples/shouting.py."""

    def setUp(self) -> None:
        super().setUp()
        self.shouting = load("shouting")
        self.patch(self.shouting, "deferToThread", runInline)

    def test_shouting(self) -> None:
        """A subject in capitals is refused, others are marked."""
        client = self.serve(self.shouting.NoShouting())
        answer = client.deliver(b"Subject: BUY THIS NOW\r\n\r\n")
        self.assertEqual((*brief(answer), answer.text), (550, "5.7.1", "Please don't shout"))
        self.assertEqual(client.deliver(b"Subject: hello\r\n\r\n").code, 250)
        self.assertEqual(self.store.messages, [b"X-Volume: low\r\nSubject: hello\r\n\r\n"])

    def test_twice(self) -> None:
        """What comes a second time is thrown away; the oldest is forgotten."""
        client = self.serve(self.shouting.NotTwice(2))
        for number in (1, 1, 2, 3, 1, 3):
            content = b"Subject: %d\r\n\r\n" % number
            self.assertEqual(client.deliver(content).code, 250)
        subjects = [message[9:10] for message in self.store.messages]
        self.assertEqual(subjects, [b"1", b"2", b"3", b"1"])

    def test_handler(self) -> None:
        """The handler that the command line names is made of them."""
        handler = self.shouting.makeHandler()
        self.assertIsInstance(handler, Filtered)
