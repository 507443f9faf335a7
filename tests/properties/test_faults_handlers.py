"""
Handlers, threads, clocks and names that fail under a running server, over the wire.

``docs/topics/failures.rst`` lists all faults and their tests.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re
import shutil
import tempfile
import threading
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import AlreadyCalledError, Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.filefakes import FakeOS, failing
from tests.support.talk import HELLO, MAIL, RCPT, Later, brief, codes, talk
from twisted_smtpserver import Chain, Maildir, blocking
from twisted_smtpserver.connection.reverselookup import TIME_LIMIT
from twisted_smtpserver.handlers import maildir
from twisted_smtpserver.handlers.policies import DNSBlockList
from twisted_smtpserver.message import files
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect, makeFactory, runInline

ROOT = pathlib.Path(__file__).parent.parent.parent
MESSAGE = b"Subject: test\r\n\r\nbody\r\n"


class DiskErrorTests(SynchronousTestCase):
    """The disk says that it couldn't write, as late as it can."""

    def test_sync(self) -> None:
        """451 4.3.0, nothing of why, and no file: neither under the old name nor the new one."""
        path = pathlib.Path(self.mktemp()).absolute()
        client = connect(Maildir(path, runInThread=runInline))
        # The first sync is that of the file, the second, after the rename, that of its folder.
        for fails in (1, 2):
            fake, left = FakeOS(), iter(range(fails, 0, -1))
            fake.replaced = {
                "fsync": lambda fd, left=left: failing(errno.EIO)() if next(left) == 1 else None
            }
            self.patch(files, "os", fake)
            answer = client.deliver(MESSAGE)
            self.assertEqual(brief(answer), (451, "4.3.0"))
            self.assertEqual(answer.text, "Local error in processing, try again later")
            self.assertEqual((os.listdir(path / "tmp"), os.listdir(path / "new")), ([], []))
            self.patch(files, "os", os)
        self.assertEqual(client.deliver(MESSAGE).code, 250)
        self.assertEqual(len(os.listdir(path / "new")), 1)


class TwiceTests(SynchronousTestCase):
    """A handler in callback style that answers a second time."""

    def twice(self, client: Client, later: Later, *answers: int | None) -> None:
        """What comes late is the handler's own error, and moves nothing here."""
        later.answer()
        self.assertEqual([*codes(client.answers())], [answer for answer in answers if answer])
        self.assertRaises(AlreadyCalledError, later.answer)
        self.assertRaises(AlreadyCalledError, later.fail, ValueError("secret"))
        self.assertEqual(client.answers(), [])

    def test_everyHook(self) -> None:
        """The first answer counts; the next command gets its own, not the second one."""
        later = Later()
        client = connect(onHello=later, onMailFrom=later, onRcptTo=later, onData=later)
        for line in (HELLO, MAIL, RCPT):
            client.send(line.encode() + b"\r\n")
            self.twice(client, later, 250)
        client.send(b"DATA\r\n")
        later.calls[-1][0].read()
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(codes(client.answers()), [354])
        self.twice(client, later, 250)
        self.assertEqual(client.session.messages, 1)

    def test_late(self) -> None:
        """So it is with one who was given up: its answers go nowhere."""
        later = Later()
        client = connect(onMailFrom=later, handlerTimeout=60)
        client.say(HELLO)
        client.send(MAIL.encode() + b"\r\n")
        client.clock.advance(60)
        self.assertEqual(codes(client.answers()), [451])
        client.send(MAIL.encode() + b"\r\n")
        first, second = later.answers
        for _ in range(2):
            self.assertRaises(AlreadyCalledError, first.callback, None)
            self.assertEqual(client.answers(), [])
        second.callback(None)
        self.assertEqual(codes(client.answers()), [250])

    def test_atOnce(self) -> None:
        """In the hook itself it is a bug like any other: 451 4.3.0, and no word of it."""

        def answerTwice(*arguments: Any) -> Deferred[None]:
            answer: Deferred[None] = Deferred()
            answer.callback(None)
            answer.callback(None)
            return answer

        handler = RecordingHandler()
        handler.onMailFrom = answerTwice  # type: ignore[assignment,method-assign]
        client = talk(Phase.READY, handler)
        answer = client.say(MAIL)
        self.assertEqual(brief(answer), (451, "4.3.0"))
        self.assertRegex(answer.text, r"^Internal error, incident \S+$")
        self.assertIsInstance(handler.errors[0].value, AlreadyCalledError)
        self.flushLoggedErrors(AlreadyCalledError)
        self.assertEqual(client.say("NOOP").code, 250)


def ended(waited: Deferred[Any]) -> Deferred[None]:
    """Fires after all that already waits for another Deferred's result."""
    done: Deferred[None] = Deferred()
    later: Any = reactor

    def end(result: Any) -> Any:
        later.callLater(0, done.callback, None)
        return result

    waited.addBoth(end)
    return done


class ThreadTests(TestCase):
    """All threads of the reactor's pool are busy, for as long as the test wants."""

    def setUp(self) -> None:
        self.threads: IReactorThreads = reactor  # type: ignore[assignment]
        self.goOn = threading.Event()
        self.addCleanup(self.goOn.set)
        self.hops: list[Deferred[Any]] = []

    def occupy(self) -> None:
        """Give each thread something that takes long."""
        pool = self.threads.getThreadPool()
        self.busy = [deferToThread(self.goOn.wait) for _ in range(pool.max)]

    def inThread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """``deferToThread``, whose ends can be waited for."""
        return self.noted(deferToThread(function, *arguments))

    def noted(self, hop: Deferred[Any]) -> Deferred[Any]:
        """A hop whose end can be waited for."""
        self.hops.append(ended(hop))
        return hop

    async def settle(self) -> None:
        """Let the threads do all that they were asked for."""
        self.goOn.set()
        while self.busy:
            await self.busy.pop()
        while self.hops:
            await self.hops.pop(0)

    async def test_maildir(self) -> None:
        """
        The message waits for ``handlerTimeout``, and others don't; it is refused, and not stored
        when a thread is free after all. Then all goes on.
        """
        path = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, path)
        factory = makeFactory(Maildir(path, runInThread=self.inThread), handlerTimeout=60)
        client, other = connect(factory), connect(factory)
        self.occupy()
        for line in (HELLO, MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(other.say("NOOP").code, 250)
        client.wait(59)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual([brief(answer) for answer in client.answers()], [(451, "4.3.0")])
        self.assertEqual(client.say("NOOP").code, 250)
        await self.settle()
        self.assertEqual((os.listdir(path / "tmp"), os.listdir(path / "new")), ([], []))
        for line in (MAIL, RCPT, "DATA"):
            client.say(line)
        client.send(MESSAGE + b".\r\n")
        await self.settle()
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(len(os.listdir(path / "new")), 1)

    async def test_blocking(self) -> None:
        """So with hooks in threads: 451, and what they say later is heard by nobody."""
        calls: list[object] = []
        hook = blocking(lambda *arguments: calls.append(arguments))
        client = connect(onMailFrom=lambda *args: self.noted(hook(*args)), handlerTimeout=60)
        other = connect(client.factory)
        client.say(HELLO)
        self.occupy()
        client.send(MAIL.encode() + b"\r\n")
        self.assertEqual(codes([other.say(HELLO), other.say("NOOP")]), [250, 250])
        client.wait(60)
        self.assertEqual([brief(answer) for answer in client.answers()], [(451, "4.3.0")])
        await self.settle()
        self.assertEqual(client.say("NOOP").code, 250)
        client.send(MAIL.encode() + b"\r\n")
        await self.settle()
        self.assertEqual(codes(client.answers()), [250])


class Silence:
    """A resolver that never answers, and doesn't care whether anybody still waits."""

    def _ask(self, *arguments: object, **keywords: object) -> Deferred[Any]:
        return Deferred(lambda answer: None)

    lookupAddress = lookupIPV6Address = lookupPointer = _ask


class DeadDNSTests(SynchronousTestCase):
    """DNS doesn't answer."""

    def test_greeting(self) -> None:
        """The greeting is late by a bounded time, for those whose names are asked for only."""
        resolver: Any = Silence()
        handler = RecordingHandler()
        factory = makeFactory(handler, resolver=resolver)
        policy = DNSBlockList(["list.one", "list.two"], resolver, 2, reactor=factory.clock)
        factory.handler = Chain(policy, handler)
        clients = [connect(factory, IPv4Address("TCP", f"8.8.4.{n}", 25)) for n in range(100)]
        local = connect(factory, IPv4Address("TCP", "127.0.0.1", 25))
        self.assertEqual(brief(local.say(HELLO))[0], 250)
        clients[0].wait(TIME_LIMIT)
        self.assertEqual([client.answers() for client in clients], [[]] * 100)
        self.assertEqual(clients[7].session.clientHostname, "[8.8.4.7]")
        clients[0].wait(2)
        self.assertEqual([codes(client.answers()) for client in clients], [[220]] * 100)
        self.assertEqual(clients[7].deliver(MESSAGE).code, 250)


class ClockTests(SynchronousTestCase):
    """The wall clock is set back: by an hour, or to where it was when the machine was made."""

    def test_names(self) -> None:
        """A message never gets another one's name, not even if all else repeats itself."""
        path = pathlib.Path(self.mktemp()).absolute()
        client = connect(Maildir(path, runInThread=runInline))
        self.patch(os, "getpid", lambda: 1)
        now = time.time_ns()
        for step in (0, -3600, 0, -3600, -now // 10**9):
            self.patch(time, "time_ns", lambda step=step: now + step * 10**9)
            self.assertEqual(client.deliver(MESSAGE).code, 250)
        # A new process counts from one again.
        self.patch(maildir, "_deliveries", iter(range(1, 9)))
        for step in (0, -3600, 0, -3600, -now // 10**9):
            self.patch(time, "time_ns", lambda step=step: now + step * 10**9)
            self.assertEqual(client.deliver(MESSAGE).code, 250)
        self.assertEqual(len(os.listdir(path / "new")), 10)

    def test_cleanUp(self) -> None:
        """What is in ``tmp`` is only removed for its age; with the clock set back it is younger."""
        path = pathlib.Path(self.mktemp()).absolute()
        Maildir(path)
        (path / "tmp" / "fresh").write_bytes(b"")
        self.patch(time, "time", lambda: 0.0)
        Maildir(path)
        self.assertEqual(os.listdir(path / "tmp"), ["fresh"])

    def test_timers(self) -> None:
        """All waits are by the reactor's time; the clock is asked for what is written down."""
        told = re.compile(r"\btime\.(time|monotonic|time_ns)\b|\bdatetime\.now\(")
        asks = {
            str(path.relative_to(ROOT / "twisted_smtpserver"))
            for path in (ROOT / "twisted_smtpserver").rglob("*.py")
            if told.search(path.read_text(encoding="utf-8"))
        }
        written = {
            "log/transcript.py",  # when it was said, and until when it is written down
            "metrics/readiness.py",  # whether a certificate is good
            "tables/watched.py",  # the age of a file
            "tls/certificates.py",  # from when to when one of ours is good
            "tls/renewal.py",  # how long one is good
            "twistd/transcript.py",  # until when a file's rules hold
            "twistd/workerlog.py",  # the log's time
            "users/editing.py",  # a command's, which has no reactor
            "log/serverlog.py",  # the log's time
            "auth/passwordfile.py",  # the age of a file
            "extensions/futurerelease.py",  # what the client asks for is a date
            "handlers/maildir.py",  # names, and the age of files
            "handlers/policies/greylist.py",  # what must survive a restart
            "handlers/policies/rates.py",  # time.monotonic
            "headers.py",  # Received:
            "inbox/deadline.py",  # time.monotonic, in the database
            "inbox/store.py",  # when a message came
            "stores/webhook/handler.py",  # when a request was signed
            "sasl/mechanism.py",  # CRAM-MD5's challenge has the time in it
        }
        self.assertEqual(asks - written, set())

    def test_reactor(self) -> None:
        """
        Twisted's reactor counts by the wall clock. Set back, it makes the waits that have begun so
        much longer, once; set forward, it ends them. A message under way goes on, or gets a 421.
        """
        for step, reply in ((-7200, 250), (7200, 421)):
            client = talk(Phase.DATA, RecordingHandler())
            client.send(b"x" * 1000)
            client.wait(10)
            client.clock.rightNow += step
            client.wait(1)
            for _ in range(3):
                client.send(b"x" * 100_000)
                client.wait(1)
            client.send(b"\r\n.\r\n")
            self.assertEqual(codes(client.answers()), [reply])
            if reply == 250:
                client.wait(300)
                self.assertEqual(codes(client.answers()), [421])
            self.assertTrue(client.isClosed)
