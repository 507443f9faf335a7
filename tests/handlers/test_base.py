"""Tests for :mod:`twisted_smtpserver.handlers.base` and the names of the package."""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import providedBy
from zope.interface.verify import verifyObject

from twisted_smtpserver import handlers
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.interfaces import HOOKS, IAuthHandler, IScramHandler


class SMTPHandlerTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        """It provides every interface but those of authentication."""
        handler = SMTPHandler()
        interfaces = set(HOOKS.values()) - {IAuthHandler, IScramHandler}
        self.assertEqual(set(providedBy(handler)), interfaces)
        for interface in interfaces:
            self.assertTrue(verifyObject(interface, handler))

    def test_noAuthentication(self) -> None:
        """To have those hooks means something, so it hasn't."""
        for name in (*IAuthHandler.names(), *IScramHandler.names()):
            self.assertFalse(hasattr(SMTPHandler(), name))

    def test_defaults(self) -> None:
        """Its hooks accept, and count as none."""
        handler = SMTPHandler()
        for name, interface in HOOKS.items():
            self.assertIsNone(findHook(handler, name))
            if interface not in (IAuthHandler, IScramHandler):
                arguments = [None] * len(inspect.signature(getattr(handler, name)).parameters)
                self.assertIsNone(getattr(handler, name)(*arguments))

    def test_overridden(self) -> None:
        """A subclass's own hook counts, though it may call the default."""

        class Subclass(SMTPHandler):
            def onRcptTo(self, address: object, session: object) -> str:
                super().onRcptTo(address, session)  # type: ignore[arg-type]
                return "mine"

        hook = findHook(Subclass(), "onRcptTo")
        assert hook is not None
        self.assertEqual(hook(None, None), "mine")
        self.assertIsNone(findHook(Subclass(), "onMailFrom"))

    def test_assigned(self) -> None:
        """A hook that is assigned to an instance counts, for that one."""
        handler = SMTPHandler()
        handler.onRcptTo = hook = lambda address, session: None  # type: ignore[method-assign]
        self.assertIs(findHook(handler, "onRcptTo"), hook)
        self.assertIsNone(findHook(SMTPHandler(), "onRcptTo"))


class NamesTests(SynchronousTestCase):
    def test_exports(self) -> None:
        """The package exports what its modules define."""
        for name in handlers.__all__:
            self.assertTrue(getattr(handlers, name).__module__.startswith(handlers.__name__ + "."))
