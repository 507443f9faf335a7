"""Attacks by one's own handler: Deferreds that are shared, or fired twice."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator
from threading import get_ident
from typing import Any

from twisted.internet.defer import AlreadyCalledError, Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.talk import HELLO, MAIL, RCPT, codes
from twisted_smtpserver import Rejection
from twisted_smtpserver.hooks import firing
from twisted_smtpserver.hooks.firing import whenFired
from twisted_smtpserver.testing import Client, connect, makeFactory


class SharedTests(SynchronousTestCase):
    """One Deferred for several hooks, such as a cache or a batch has."""

    def setUp(self) -> None:
        """The Deferred."""
        self.shared: Deferred[Any] = Deferred()

    def hooks(self, name: str) -> list[Any]:
        """A hook that returns it, and one that awaits it."""

        def returns(*arguments: Any) -> Any:
            return self.shared

        async def awaits(*arguments: Any) -> Any:
            return await self.shared

        async def stores(stream: Any, session: Any) -> Any:
            await stream.read()
            return await self.shared

        return [returns, stores if name == "onData" else awaits]

    def clients(self, name: str, hook: Any) -> list[Client]:
        """Three clients, two of which wait for it when it fires."""
        factory = makeFactory(**{name: hook})
        return [connect(factory) for _ in range(3)]

    def test_refused(self) -> None:
        """If it fails, all are refused; where it is returned, those that come later, too."""
        for name, lines in (("onMailFrom", [MAIL]), ("onRcptTo", [MAIL, RCPT])):
            for hook in self.hooks(name):
                self.setUp()
                *clients, late = self.clients(name, hook)
                for client in clients:
                    client.pipeline(HELLO, *lines)
                self.shared.errback(Rejection("no", 550))
                if hook.__name__ == "returns":
                    late.pipeline(HELLO, *lines[:-1])
                    late.send(lines[-1].encode() + b"\r\n")
                    clients.append(late)
                for client in clients:
                    self.assertEqual(codes(client.answers())[-1:], [550], name)

    def test_notStored(self) -> None:
        """If a batch of messages can't be stored, none of them is answered 250."""
        for hook in self.hooks("onData"):
            self.setUp()
            clients = self.clients("onData", hook)
            for client in clients:
                client.pipeline(HELLO, MAIL, RCPT, "BDAT 2 LAST")
                client.send(b"\r\n")
            self.shared.errback(Rejection("disk full", 452))
            for client in clients:
                self.assertEqual(codes(client.answers()), [452])

    def test_result(self) -> None:
        """If it succeeds, all have its result."""
        for hook in self.hooks("onMailFrom"):
            self.setUp()
            clients = self.clients("onMailFrom", hook)
            for client in clients[:2]:
                client.pipeline(HELLO, MAIL)
            self.shared.callback("welcome")
            clients[2].pipeline(HELLO)
            clients[2].send(MAIL.encode() + b"\r\n")
            for client in clients:
                self.assertEqual([each.text for each in client.answers()], ["welcome"])


class TwiceTests(SynchronousTestCase):
    """A handler fires its Deferred again."""

    def test_twice(self) -> None:
        """The client has one answer, and the next command's isn't that of the second."""
        answers: list[Deferred[Any]] = []

        def onMailFrom(address: Any, session: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        client = connect(onMailFrom=onMailFrom)
        client.pipeline(HELLO, MAIL)
        answers[0].errback(Rejection("no", 550))
        self.assertRaises(AlreadyCalledError, answers[0].callback, None)
        self.assertEqual(codes(client.answers()), [550])
        client.send(MAIL.encode() + b"\r\n")
        self.assertRaises(AlreadyCalledError, answers[0].callback, None)
        self.assertEqual(client.answers(), [])
        answers[1].callback(None)
        self.assertEqual(codes(client.answers()), [250])

    def test_afterTheEnd(self) -> None:
        """One that comes after handlerTimeout, or when the client is gone, changes nothing."""
        answers: list[Deferred[Any]] = []

        def onMailFrom(address: Any, session: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        client = connect(onMailFrom=onMailFrom, handlerTimeout=5)
        client.pipeline(HELLO, MAIL)
        client.wait(5)
        self.assertEqual(codes(client.answers()), [451])
        client.send(MAIL.encode() + b"\r\n")
        client.lose()
        for answer in answers:
            answer.callback(None)
        self.assertEqual(client.answers(), [])


class LeakTests(SynchronousTestCase):
    """What is known of a Deferred goes with it."""

    def test_refusals(self) -> None:
        """Nothing is left of Deferreds that failed, though tracebacks lead back to them."""
        made: list[Any] = []

        def onRcptTo(address: Any, session: Any) -> Deferred[Any]:
            def refuse(_: Any) -> None:
                raise Rejection(f"not {refused}")

            refused: Deferred[Any] = Deferred()
            refused.addCallback(refuse)
            made.append(weakref.ref(refused))
            refused.callback(None)
            return refused

        client = connect(onRcptTo=onRcptTo)
        client.pipeline(HELLO, MAIL, RCPT, RCPT)
        client.lose()
        gc.collect()
        self.assertEqual([reference() for reference in made], [None, None])

    def test_seen(self) -> None:
        """A failure that two hooks took isn't logged as one that nobody has seen."""
        shared: Deferred[None] = Deferred()
        taken: list[Any] = []
        whenFired(shared, taken.append)
        whenFired(shared, taken.append)
        shared.errback(Rejection("no"))
        del shared
        gc.collect()
        self.assertEqual([type(each) for each in taken], [Failure, Failure])
        self.assertEqual(self.flushLoggedErrors(), [])


class ThreadTests(TestCase):
    """Deferreds that are fired in a thread, as no Deferred may be."""

    @inlineCallbacks
    def fire(self, hook: str, isAsync: bool) -> Generator[Deferred[Any], Any, None]:
        """Fire the Deferred of a hook in a thread; its result is taken in the reactor's."""
        fired: Deferred[Any] = Deferred()
        answered: Deferred[int] = Deferred()

        async def waits(*arguments: Any) -> None:
            await fired
            answered.callback(get_ident())

        def returns(*arguments: Any) -> Deferred[Any]:
            return fired.addCallback(lambda result: None)

        def onTransactionEnd(*arguments: Any) -> None:
            if not answered.called:
                answered.callback(get_ident())

        hooks: dict[str, Any] = {hook: waits if isAsync else returns}
        client = connect(**hooks, onTransactionEnd=onTransactionEnd)
        client.pipeline(HELLO, MAIL, RCPT, "BDAT 2 LAST")
        client.send(b"\r\n")
        with capturedLogs() as events:
            yield deferToThread(fired.callback, None)
            ident = yield answered
        self.assertEqual(ident, get_ident())
        self.assertEqual([e["event"] for e in events if "event" in e][:1], ["firedInThread"])

    def test_awaited(self) -> Deferred[None]:
        """A coroutine goes on in the reactor's thread."""
        return self.fire("onRcptTo", True)

    def test_data(self) -> Deferred[None]:
        """The message is answered in the reactor's thread."""
        return self.fire("onData", False)

    def test_otherReactor(self) -> None:
        """A server on a reactor of its own has the result in that one's thread."""
        taken: list[object] = []

        class Reactor:
            def callFromThread(self, take: Any, value: object) -> None:
                taken.append(value)

        deferred: Deferred[str] = Deferred()
        self.patch(firing, "get_ident", lambda: -1)
        self.patch(firing, "REACTORS", {-1: Reactor()})
        whenFired(deferred, taken.append)
        self.patch(firing, "get_ident", lambda: -2)
        deferred.callback("result")
        self.assertEqual(taken, ["result"])
