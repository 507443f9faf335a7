"""Tests for :mod:`twisted_smtpserver.handlers.functions`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers.functions import fromFunctions
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.interfaces import HOOKS


def accept(*arguments: object) -> None:
    """A hook that does nothing."""


class FromFunctionsTests(SynchronousTestCase):
    def test_hooks(self) -> None:
        """The handler has the hooks that were given, and no others."""
        for given in HOOKS:
            handler = fromFunctions(**{given: accept})
            for name in HOOKS:
                self.assertIs(findHook(handler, name), accept if name == given else None)

    def test_assigned(self) -> None:
        """A hook may be assigned later, and says so in the repr."""
        handler: Any = fromFunctions(onData=accept)
        handler.onRcptTo = accept
        self.assertIs(findHook(handler, "onRcptTo"), accept)
        self.assertIn("onRcptTo", repr(handler))
        self.assertIn("onData", repr(handler))
        self.assertNotIn("onAuth", repr(handler))

    def test_misspelled(self) -> None:
        """A name that is nearly right is corrected."""
        for name, meant in (("onRcpTo", "onRcptTo"), ("ondata", "onData"), ("onClosed", "onClose")):
            error = self.assertRaises(ConfigurationError, fromFunctions, **{name: accept})
            self.assertIn(f"did you mean {meant}?", str(error))
            self.assertIn(repr(name), str(error))

    def test_unknown(self) -> None:
        """A name that is like none is answered with all there are."""
        error = self.assertRaises(ConfigurationError, fromFunctions, xyz=accept)
        for name in HOOKS:
            self.assertIn(name, str(error))

    def test_notCallable(self) -> None:
        """What isn't a function is refused at once, None included."""
        for value in (None, "onData"):
            error = self.assertRaises(ConfigurationError, fromFunctions, onData=value)
            self.assertIn("onData", str(error))
