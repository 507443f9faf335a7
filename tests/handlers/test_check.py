"""Tests for :mod:`twisted_smtpserver.handlers.check`: a hook that is misspelled lets nobody in."""

from __future__ import annotations

import types
from functools import partial
from typing import Any
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Chain, ConfigurationError, Discard, SMTPHandler, SMTPServerFactory
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.testing import connect, makeFactory


def accept(address: Any, session: Any) -> None:
    """A hook."""


def having(base: type = object, **attributes: Any) -> Any:
    """An object of a class that has these attributes."""
    return type("Inbox", (base,), attributes)()


class HookCase(SynchronousTestCase):
    """What a handler is refused with."""

    def refusal(self, handler: object) -> str:
        """The error when a factory is made."""
        return str(self.assertRaises(ConfigurationError, makeFactory, handler))


class NameTests(HookCase):
    """Names that are like hooks', and are none."""

    MEANT = (
        ("onRcpTo", "onRcptTo"),
        ("onRcpt", "onRcptTo"),
        ("onMail", "onMailFrom"),
        ("onConnected", "onConnect"),
        ("onDAta", "onData"),
        ("ondata", "onData"),
        ("on_data", "onData"),
        ("OnMailFrom", "onMailFrom"),
        ("on_rcpt_to", "onRcptTo"),
        ("onTransactionended", "onTransactionEnd"),
        ("scramsecret", "scramSecret"),
    )

    def test_meant(self) -> None:
        """The factory isn't made, and the error says which hook was meant; also of a subclass."""
        for name, meant in self.MEANT:
            expected = f"Inbox has {name!r}, but there is no such hook: did you mean {meant}?"
            for base in (object, SMTPHandler, Discard):
                own = having(base, **{name: lambda self, address, session: None})
                own.onAuth = lambda credentials, session: None
                self.assertEqual(self.refusal(own), expected)

    def test_unlike(self) -> None:
        """A name that is like none of them is refused with the names that there are."""
        text = self.refusal(having(SMTPHandler, onFoo=accept))
        self.assertTrue(text.endswith(f"no such hook: there are {', '.join(sorted(HOOKS))}"))

    def test_others(self) -> None:
        """What is no function, or has another kind of name, is the handler's own business."""
        own = having(
            onData=lambda self, stream, session: None,
            onlyOnce=accept,
            one=accept,
            on_startup=accept,
            onTime=True,
            data=accept,
            _onRcpt=accept,
            rcptTo=accept,
        )
        makeFactory(own)
        makeFactory(Mock())

    def test_assigned(self) -> None:
        """It makes no difference if it was assigned to an object."""
        handlers: list[Any] = [having(), having(SMTPHandler), fromFunctions(), Chain(Discard())]
        for handler in handlers:
            with self.assertRaisesRegex(ConfigurationError, "did you mean onRcptTo"):
                handler.onRcpTo = accept
                makeFactory(handler)

    def test_assignedLater(self) -> None:
        """A handler of ours says so at once, also when the server was made already."""
        handler: Any = having(SMTPHandler)
        makeFactory(handler)
        with self.assertRaisesRegex(ConfigurationError, "did you mean onMailFrom"):
            handler.onMailfrom = accept
        with self.assertRaisesRegex(ConfigurationError, r"onMailFrom of Inbox takes \(\), but"):
            handler.onMailFrom = lambda: None
        handler.onMailFrom = accept
        handler.data = accept

    def test_atTheStart(self) -> None:
        """Any other says so when the port is opened."""
        handler = having(onData=lambda self, stream, session: None)
        factory = makeFactory(handler)
        factory.doStart()
        factory.doStop()
        handler.onRcpTo = accept
        self.assertRaises(ConfigurationError, factory.doStart)

    def test_chain(self) -> None:
        """Each stage is looked at when the chain is made, and again when the server is."""
        with self.assertRaisesRegex(ConfigurationError, "Inbox has 'onRcpTo'"):
            Chain(having(onRcpTo=accept), Discard())
        stage = having(onHello=lambda self, name, session: None)
        chain = Chain(Chain(stage, isPart=True), Discard())
        stage.onRcpTo = accept
        self.assertIn("Inbox has 'onRcpTo'", self.refusal(chain))

    def test_keywords(self) -> None:
        """Functions have the same names."""
        with self.assertRaisesRegex(ConfigurationError, "did you mean 'onRcptTo'"):
            SMTPServerFactory(onRcpTo=accept)  # type: ignore[call-arg]  # that is the mistake
        with self.assertRaisesRegex(ConfigurationError, "did you mean onRcptTo"):
            fromFunctions(onRcpTo=accept)

    def test_module(self) -> None:
        """A module may be a handler, and has a name."""
        module: Any = types.ModuleType("inbox")
        module.onRcpTo = accept
        self.assertIn("inbox has 'onRcpTo'", self.refusal(module))

    def test_filters(self) -> None:
        """A filter is told where it belongs; there, its own hooks are right."""
        judge = having(
            onMessage=lambda self, message, session: None,
            onDataCommand=lambda self, session: None,
        )
        with self.assertRaisesRegex(ConfigurationError, "filters go into a Filtered"):
            Chain(judge, Discard())
        makeFactory(Filtered(Discard(), judge))


class ArityTests(HookCase):
    """Hooks that can't be called as the server calls them."""

    def test_hooks(self) -> None:
        """Each hook must take what it is given; the error says what that is, and what it takes."""
        for name, interface in HOOKS.items():
            wanted = interface[name].getSignatureInfo()["positional"]
            given = f"called with ({', '.join(wanted)})"
            wrongs: list[Any] = [
                lambda self: None,
                lambda self, a, b, c, d: None,
                lambda self, *, session: None,
            ]
            for wrong in wrongs:
                text = self.refusal(having(**{name: wrong}))
                self.assertTrue(text.startswith(f"the hook {name} of Inbox takes ("), text)
                self.assertTrue(text.endswith(given), text)

    def test_self(self) -> None:
        """A method without self is found."""
        text = self.refusal(having(onData=lambda stream, session: None))
        expected = "the hook onData of Inbox takes (session), but it is called with "
        self.assertEqual(text, expected + "(stream, session)")

    def test_functions(self) -> None:
        """So is a function by keyword, or assigned to a chain."""
        with self.assertRaisesRegex(ConfigurationError, "onMailFrom of FunctionHandler takes"):
            wrong: Any = lambda address: None  # noqa: E731  # no type checker shall object
            SMTPServerFactory(onMailFrom=wrong)
        chain: Any = Chain(Discard())
        with self.assertRaisesRegex(ConfigurationError, "onMailFrom of Chain takes"):
            chain.onMailFrom = lambda address: None

    def test_enough(self) -> None:
        """Any way to take the arguments will do: by other names, by a star, with a default."""

        async def coroutine(stream: Any, session: Any) -> None:
            """Also when it waits."""

        for good in (
            lambda a, b: None,
            lambda *everything: None,
            lambda a, b, c=None, *, d=None: None,
            partial(lambda a, b, c: None, 1),
            coroutine,
            Mock(),
            isinstance,  # as many arguments
            dict.fromkeys,
        ):
            makeFactory(fromFunctions(onMailFrom=good))

    def test_unknown(self) -> None:
        """What Python can't tell about, because it is written in C, is believed."""
        makeFactory(fromFunctions(onMailFrom=max))

    def test_noFunction(self) -> None:
        """A hook that is no function is none."""
        text = "the hook onRcptTo is not a function but 5 (in Inbox)"
        self.assertEqual(self.refusal(having(onRcptTo=5)), text)
        own = having(onRcptTo=None, onData=lambda self, stream, session: None)
        self.assertEqual(connect(own).deliver(b"").code, 250)
