"""Tests for what type checkers know of the message stream."""

from __future__ import annotations

import inspect
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interfaces import IMethod

from twisted_smtpserver.interfaces import IMessageStream
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.message.stream import MessageStream


class IncomingMessageTests(SynchronousTestCase):
    """It says what the interface says."""

    def test_names(self) -> None:
        """Nothing is missing, and nothing is there that isn't promised."""
        names = {name for name in vars(IncomingMessage) if name[0] != "_"} | {"__aiter__"}
        self.assertEqual(names, set(IMessageStream.names()))

    def test_parameters(self) -> None:
        """The methods have the same parameters, as has the stream itself."""
        for name, described in IMessageStream.namesAndDescriptions():
            if IMethod.providedBy(described):
                promised = list(cast("Any", described).getSignatureInfo()["positional"])
                for kind in (IncomingMessage, MessageStream):
                    parameters = list(inspect.signature(getattr(kind, name)).parameters)
                    self.assertEqual(parameters[1:], promised, (kind, name))
