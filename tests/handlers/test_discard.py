"""Tests for :mod:`twisted_smtpserver.handlers.discard`."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.filefakes import FakeStream
from twisted_smtpserver.handlers.discard import Discard
from twisted_smtpserver.session import Session


class DiscardTests(SynchronousTestCase):
    def discard(self, stream: FakeStream) -> Deferred[None]:
        """Give a message to the handler."""
        return Deferred.fromCoroutine(Discard().onData(cast(Any, stream), Session()))

    def test_reads(self) -> None:
        """The message is read to its end before it is accepted."""
        more: Deferred[bytes] = Deferred()
        stream = FakeStream(b"one", more, b"three")
        discarding = self.discard(stream)
        self.assertNoResult(discarding)
        more.callback(b"two")
        self.assertIsNone(self.successResultOf(discarding))
        self.assertEqual(stream.reads, 4)

    def test_fails(self) -> None:
        """What the stream raises is raised."""
        self.failureResultOf(self.discard(FakeStream(b"one", ValueError())), ValueError)
