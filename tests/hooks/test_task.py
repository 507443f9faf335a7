"""Tests for hooks that are tasks of asyncio's."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import sys
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES
from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver.hooks import invoke
from twisted_smtpserver.hooks.singleawait import SingleAwait
from twisted_smtpserver.hooks.task import HookTask
from twisted_smtpserver.testing import connect

VARIABLE: ContextVar[str] = ContextVar("VARIABLE")

Hook = Callable[[], Coroutine[Any, Any, Any]]


class Outcome:
    """How a hook ended."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[BaseException] = []


async def turns(count: int = 5) -> None:
    """Let the loop go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class HookTaskTests(SynchronousTestCase):
    """A task that awaits Deferreds, too."""

    def run_(self, hook: Hook, meanwhile: Callable[[HookTask], object] | None = None) -> Outcome:
        """Run a hook in a loop, and say how it ended; nothing may be complained of."""
        outcome = Outcome()
        complaints: list[Any] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda *it: complaints.append(it))
            running = HookTask(hook(), outcome.results.append, outcome.errors.append)
            if meanwhile is not None:
                meanwhile(running)
            for _ in range(100):
                if outcome.results or outcome.errors:
                    break
                await asyncio.sleep(0.01)
            await turns()

        asyncio.run(main())
        self.assertEqual(complaints, [])
        return outcome

    def test_atOnce(self) -> None:
        """What never waits has its result before anything else happens, and knows its task."""
        seen: list[Any] = []

        async def hook() -> int:
            seen.append(asyncio.current_task())
            return 5

        async def main() -> None:
            before = asyncio.current_task()
            self.assertEqual(invoke(hook), 5)
            self.assertIs(asyncio.current_task(), before)
            self.assertIsNotNone(seen[0])
            self.assertIsNot(seen[0], before)
            await turns()
            self.assertTrue(seen[0].done())
            asyncio.get_running_loop().call_soon(lambda: seen.append(invoke(hook)))
            await turns()
            self.assertEqual(seen[2], 5)

        asyncio.run(main())

    def test_oneTask(self) -> None:
        """The task is the same after each wait, and the context, too."""
        seen: list[Any] = []

        async def hook() -> None:
            VARIABLE.set("hook")
            for wait in (asyncio.sleep(0), succeed(None), asyncio.sleep(0.001), asyncio.sleep(0)):
                await wait
                seen.append((asyncio.current_task(), VARIABLE.get("lost")))

        self.run_(hook)
        self.assertEqual(len(set(seen)), 1)
        self.assertEqual(seen[0][1], "hook")
        self.assertEqual(VARIABLE.get("unchanged"), "unchanged")

    def test_awaits(self) -> None:
        """Deferreds, futures and tasks may be awaited in turns, whether they fired or not."""

        async def hook() -> list[Any]:
            loop = asyncio.get_running_loop()
            late: Deferred[str] = Deferred()
            loop.call_later(0.001, late.callback, "late")
            own: SingleAwait[str] = SingleAwait()
            loop.call_later(0.001, own.fire, "own")
            future = loop.create_future()
            loop.call_soon(future.set_result, "future")
            fired: SingleAwait[str] = SingleAwait()
            fired.fire("fired")
            early = [await succeed("deferred"), await late, await own, await future, await fired]
            return [*early, await asyncio.to_thread(str, "thread"), await asyncio.sleep(0, "sleep")]

        outcome = self.run_(hook)
        expected = ["deferred", "late", "own", "future", "fired", "thread", "sleep"]
        self.assertEqual((outcome.results, outcome.errors), ([expected], []))

    def test_goesOnAtOnce(self) -> None:
        """Whoever fires a Deferred sees what comes of it, as on other reactors."""
        waits: list[Deferred[str]] = [Deferred(), Deferred(), SingleAwait(), Deferred()]

        async def hook() -> list[Any]:
            seen = [await waits[0]]
            try:
                await waits[1]
            except LookupError as error:
                seen.append(str(error))
            seen.append(await waits[2])
            await asyncio.sleep(0.001)
            return [*seen, await waits[3]]

        async def main() -> list[Any]:
            results: list[Any] = []
            HookTask(hook(), results.append, results.append)
            waits[0].callback("one")
            waits[1].errback(LookupError("two"))
            waits[2].callback("three")
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_soon(waits[3].callback, "four")
            await turns()
            return results

        self.assertEqual(asyncio.run(main()), [["one", "two", "three", "four"]])

    def test_inMemory(self) -> None:
        """A client in memory has its answer at once, also in a program of asyncio's."""

        async def onData(stream: Any, session: Any) -> str:
            task = asyncio.current_task()
            octets = b"".join([chunk async for chunk in stream])
            assert asyncio.current_task() is task
            return str(len(octets))

        async def main() -> str:
            return connect(onData=onData).deliver(b"Subject: x\r\n\r\n").text

        self.assertEqual(asyncio.run(main()), "14")

    def test_failures(self) -> None:
        """What fails raises where it is awaited."""
        seen: list[str] = []

        async def hook() -> None:
            late: Deferred[str] = Deferred()
            loop = asyncio.get_running_loop()
            loop.call_later(0.001, late.errback, LookupError("late"))
            future = loop.create_future()
            loop.call_soon(future.set_exception, LookupError("future"))
            for awaited in (fail(LookupError("early")), late, future):
                try:
                    await awaited
                except LookupError as error:
                    seen.append(str(error))
            raise ValueError("the end")

        outcome = self.run_(hook)
        self.assertEqual(seen, ["early", "late", "future"])
        self.assertEqual([str(error) for error in outcome.errors], ["the end"])

    def test_anyException(self) -> None:
        """Whatever a hook raises, it ends nothing but the hook."""
        for kind in (SystemExit, KeyboardInterrupt, GeneratorExit, ValueError):
            for wait in (False, True):

                async def hook(kind: type = kind, wait: bool = wait) -> None:
                    if wait:
                        await asyncio.sleep(0)
                    raise kind

                self.assertIsInstance(self.run_(hook).errors[0], kind)

    def test_cancelFuture(self) -> None:
        """To cancel the hook is to cancel the task, and the future that it awaits."""
        seen: list[Any] = []

        async def hook() -> None:
            seen.append(asyncio.get_running_loop().create_future())
            try:
                await seen[0]
            except asyncio.CancelledError:
                seen.append(asyncio.current_task())
                raise

        for late in (False, True):
            seen.clear()

            def cancel(running: HookTask, late: bool = late) -> None:
                if late:
                    asyncio.get_running_loop().call_later(0.01, running.cancel)
                else:
                    running.cancel()

            outcome = self.run_(hook, cancel)
            self.assertIsInstance(outcome.errors[0], CancelledError)
            self.assertTrue(seen[0].cancelled())
            self.assertTrue(seen[1].cancelled())

    def test_cancelDeferred(self) -> None:
        """Likewise the Deferred that it awaits; a hook may go on then."""
        seen: list[Any] = []

        async def hook() -> str:
            waiting: Deferred[None] = Deferred(seen.append)
            try:
                await waiting
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                return "went on"
            raise AssertionError

        outcome = self.run_(hook, lambda running: running.cancel())
        self.assertEqual((len(seen), outcome.results), (1, ["went on"]))

    def test_canceledDeferred(self) -> None:
        """A Deferred that somebody else cancels raises Twisted's exception."""

        async def hook() -> str:
            waiting: Deferred[None] = Deferred()
            asyncio.get_running_loop().call_soon(waiting.cancel)
            try:
                await waiting
            except CancelledError:
                return "canceled"
            raise AssertionError

        self.assertEqual(self.run_(hook).results, ["canceled"])

    def test_cancelsItself(self) -> None:
        """A hook that cancels its own task meets that where it next waits."""

        async def hook() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
            raise AssertionError

        self.assertIsInstance(self.run_(hook).errors[0], CancelledError)

    def test_raisesCancelled(self) -> None:
        """So does one that raises the exception by itself."""

        async def hook() -> None:
            raise asyncio.CancelledError

        self.assertIsInstance(self.run_(hook).errors[0], CancelledError)

    def test_cancelTooLate(self) -> None:
        """What is over can't be canceled."""

        async def hook() -> int:
            return 5

        self.assertEqual(self.run_(hook, lambda running: running.cancel()).results, [5])

        def cancelTask(running: HookTask) -> None:
            running._task.cancel()

        self.assertEqual(self.run_(hook, cancelTask).results, [5])

    def test_closed(self) -> None:
        """A loop that goes away closes the coroutine."""
        seen: list[str] = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                seen.append("closed")

        async def main() -> HookTask:
            return HookTask(hook(), seen.append, lambda error: seen.append(type(error).__name__))

        running = asyncio.run(main())
        running.close()
        self.assertIn("closed", seen)

    def test_shared(self) -> None:
        """A Deferred that several hooks await refuses all of them."""
        shared: Deferred[None] = Deferred()
        outcomes: list[Any] = []

        async def hook() -> None:
            await shared

        async def main() -> None:
            for _ in range(2):
                HookTask(hook(), outcomes.append, lambda error: outcomes.append(str(error)))
            shared.errback(LookupError("no"))
            await turns()

        asyncio.run(main())
        self.assertEqual(outcomes, ["no", "no"])

    def test_timeouts(self) -> None:
        """asyncio.timeout() and TaskGroup work."""
        if sys.version_info < (3, 11):
            return

        async def hook() -> list[Any]:
            seen: list[Any] = []
            waits: list[Any] = [asyncio.sleep(60), Deferred()]
            for forever in waits:
                try:
                    async with asyncio.timeout(0.001):
                        await forever
                except TimeoutError:
                    seen.append("timed out")
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
            return seen + [task.result() for task in tasks]

        self.assertEqual(self.run_(hook).results, [["timed out", "timed out", 0, 1, 2]])


HANDLER = """
import asyncio
import threading
import time

from twisted.internet.defer import Deferred

from twisted_smtpserver import SMTPHandler

canceled = []


class Handler(SMTPHandler):
    async def onConnect(self, session):
        await asyncio.sleep(0.001)
        assert asyncio.current_task() is not None

    async def onMailFrom(self, address, session):
        assert asyncio.current_task() is not None
        return await asyncio.to_thread(str, "from a thread")

    async def onRcptTo(self, address, session):
        if address.local == "slow":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                canceled.append("canceled")
                raise
        if address.local in ("thread", "refused"):
            try:
                word = await self.fromThread(address.local)
            except LookupError:
                word = "failed"
            assert asyncio.current_task() is not None
            await asyncio.sleep(0.001)
            return f"{word} {threading.current_thread() is threading.main_thread()}"
        await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0.001))
        return " ".join(canceled) or None

    async def onData(self, stream, session):
        task = asyncio.current_task()
        octets = b"".join([chunk async for chunk in stream])
        assert asyncio.current_task() is task
        if b"task" in octets:
            await asyncio.ensure_future(self.awaitDeferred())
        return f"{len(octets)} octets"

    async def awaitDeferred(self):
        await Deferred()

    def fromThread(self, name):
        waiting = Deferred()

        def fire():
            while not waiting.callbacks:
                time.sleep(0.001)
            if name == "refused":
                waiting.errback(LookupError())
            else:
                waiting.callback("fired")

        threading.Thread(target=fire, daemon=True).start()
        return waiting
"""


class OverTheWireTests(SynchronousTestCase):
    """A server in a process of its own, which has another reactor than the tests."""

    def serve(self, reactor: str, *flags: str, **modules: str) -> LiveServer:
        """Start a server that finds these modules."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        server = LiveServer(folder, *flags, twistd=(f"--reactor={reactor}",))
        self.addCleanup(server.__exit__)
        return server

    def talk(self, server: LiveServer, *lines: bytes) -> list[bytes]:
        """The greeting, and what each line is answered."""
        answers = []
        client = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        with client, client.makefile("rb") as file:
            for line in (b"", *lines):
                client.sendall(line)
                answer = file.readline()
                while answer[3:4] == b"-":
                    answer = file.readline()
                answers.append(answer.rstrip())
        return answers

    BEGINNING = (b"EHLO client.example\r\n", b"MAIL FROM:<joe@example.org>\r\n")
    RCPT = b"RCPT TO:<jane@example.com>\r\n"
    SLOW = b"RCPT TO:<slow@example.com>\r\n"

    def test_asyncio(self) -> None:
        """Under the asyncio reactor hooks are tasks, and handlerTimeout cancels them."""
        flags = ("--handler", "taskful.Handler", "--handler-timeout=0.3")
        server = self.serve("asyncio", *flags, taskful=HANDLER)
        message = (b"DATA\r\n", b"Subject: x\r\n\r\nText\r\n.\r\n")
        answers = self.talk(server, *self.BEGINNING, self.SLOW, self.RCPT, *message)
        self.assertTrue(answers[0].startswith(b"220 "), answers)
        self.assertEqual(answers[2], b"250 2.1.0 from a thread")
        self.assertTrue(answers[3].startswith(b"451 "), answers)
        self.assertEqual(answers[4], b"250 2.1.5 canceled")
        self.assertEqual(answers[6], b"250 2.6.0 20 octets")
        # A task of the handler's own that awaits a Deferred is told how.
        message = (b"DATA\r\n", b"Subject: task\r\n.\r\n")
        answers = self.talk(server, *self.BEGINNING, self.RCPT, *message)
        self.assertTrue(answers[-1].startswith(b"451 "), answers)
        server.awaitLog("a task of your own can't await a Deferred")
        log = server.stop()
        self.assertEqual(log.count("#critical"), 1, log)
        self.assertNotIn("never retrieved", log)

    def test_firedInThread(self) -> None:
        """A hook whose Deferred is fired in a thread goes on in the reactor's; the log says so."""
        server = self.serve("asyncio", "--handler", "taskful.Handler", taskful=HANDLER)
        recipients = [b"RCPT TO:<%b@example.com>\r\n" % name for name in (b"thread", b"refused")]
        answers = self.talk(server, *self.BEGINNING, *recipients)
        self.assertEqual(answers[-2:], [b"250 2.1.5 fired True", b"250 2.1.5 failed True"])
        server.awaitLog("use reactor.callFromThread(deferred.callback, result)")
        self.assertNotIn("Traceback", server.stop())

    def test_advice(self) -> None:
        """Under others, what fails for want of the loop says so in the log, and in no reply."""
        server = self.serve("select", "--handler", "taskful.Handler", taskful=HANDLER)
        [answer] = self.talk(server)
        self.assertTrue(answer.startswith(b"451 "), answer)
        self.assertNotIn(b"asyncio", answer)
        server.awaitLog("--reactor=asyncio")
        self.assertRegex(server.stop(), r"incident [0-9a-f]+: onConnect failed .*--reactor=asyncio")

    def test_example(self) -> None:
        """The how-to's handler asks its scanner."""
        scanner = Scanner()
        self.addCleanup(scanner.stop)
        text = (EXAMPLES / "with_asyncio.py").read_text()
        text = text.replace("port=7777", f"port={scanner.port}")
        flags = ("--handler", "with_asyncio.Scanned")
        server = self.serve("asyncio", *flags, with_asyncio=text)
        for word, expected in ((b"good", b"250 "), (b"virus", b"550 5.7.1")):
            message = (b"DATA\r\n", b"Subject: %b\r\n.\r\n" % word)
            answers = self.talk(server, *self.BEGINNING, self.RCPT, *message)
            self.assertTrue(answers[-1].startswith(expected), answers)
        scanner.stop()
        answers = self.talk(server, *self.BEGINNING, self.RCPT, *message)
        self.assertTrue(answers[-1].startswith(b"451 4.3.0"), answers)


class Scanner:
    """Finds viruses by their name."""

    def __init__(self) -> None:
        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"bad\n" if b"virus" in self.rfile.read() else b"clean\n")

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Answer)
        self.port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """End it, also for a second time."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
