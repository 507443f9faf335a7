"""A server in a thread, spoken to over real sockets by Python's own client."""

from __future__ import annotations

import asyncio
import gc
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import (
    ConfigurationError,
    Maildir,
    Rejection,
    SMTPHandler,
)
from twisted_smtpserver.threaded import ServerThread, privateReactor, sharedReactor
from twisted_smtpserver.threaded.reactors import ReactorThread

SECONDS = 10
MESSAGE = "Subject: hello\r\n\r\nThis is my first mail.\r\n"


class Keeper(SMTPHandler):
    """Keeps what comes, and in which thread its hooks ran."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.types: list[str] = []
        self.threads: set[threading.Thread] = set()

    def onRcptTo(self, address: Any, session: Any) -> None:
        self.threads.add(threading.current_thread())
        if address.local == "nobody":
            raise Rejection("Nobody lives here")

    async def onData(self, stream: Any, session: Any) -> None:
        message = await stream.message()
        self.threads.add(threading.current_thread())
        self.types.append(session.transmissionType)
        self.subjects.append(str(message["Subject"]))


class ThreadTestCase(SynchronousTestCase):
    """Has a server in the thread of the private reactor: the process's is trial's."""

    def start(self, handler: object = None, **options: Any) -> ServerThread:
        defaults: dict[str, Any] = {"name": "mx.test", "closeTimeout": 0.1}
        options = defaults | options
        server = ServerThread(handler, thread=privateReactor(), **options)
        server.start()
        self.addCleanup(server.stop)
        return server

    def connect(self, server: ServerThread) -> smtplib.SMTP:
        client = smtplib.SMTP(server.host, server.port, "client.example", timeout=SECONDS)
        self.addCleanup(client.close)
        return client


class Interrupted(ReactorThread):
    """The private reactor's thread; it is interrupted while it waits for a result."""

    def start(self) -> None:
        privateReactor().start()

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float = 60) -> Any:
        privateReactor().call(function, *arguments, timeout=timeout)
        raise KeyboardInterrupt


class InterruptedTests(ThreadTestCase):
    """Control-C comes while the server starts."""

    def test_stops(self) -> None:
        """It doesn't go on listening."""
        thread = privateReactor()
        server = ServerThread(thread=Interrupted(thread.reactor))
        self.assertRaises(KeyboardInterrupt, server.start)
        thread.call(lambda: None)  # what was called from this thread before has happened
        self.assertFalse(server.running)


class ReceiveTests(ThreadTestCase):
    """Mail arrives."""

    def test_message(self) -> None:
        """A message is parsed, and kept in the server's one thread."""
        keeper = Keeper()
        server = self.start(keeper)
        self.connect(server).sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        self.assertEqual(keeper.subjects, ["hello"])
        self.assertNotIn(threading.current_thread(), keeper.threads)
        self.assertEqual(len(keeper.threads), 1)

    def test_refusal(self) -> None:
        """A hook's refusal reaches the client."""
        client = self.connect(self.start(Keeper()))
        error = self.assertRaises(
            smtplib.SMTPRecipientsRefused,
            client.sendmail,
            "joe@example.org",
            ["nobody@example.com"],
            MESSAGE,
        )
        self.assertEqual(error.recipients["nobody@example.com"][0], 550)

    def test_startTLS(self) -> None:
        """STARTTLS works, and so does a message that is larger than what is read at once."""
        keeper = Keeper()
        client = self.connect(self.start(keeper, selfSigned=True))
        client.starttls(context=ssl._create_unverified_context())
        client.sendmail("joe@example.org", ["ann@example.com"], MESSAGE + "line\r\n" * 200_000)
        client.sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        client.quit()
        self.assertEqual(keeper.types, ["ESMTPS", "ESMTPS"])

    def test_implicitTLS(self) -> None:
        """So does TLS from the first octet on."""
        keeper = Keeper()
        server = self.start(keeper, selfSigned=True, secure=True)
        context = ssl._create_unverified_context()
        with smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=context) as client:
            client.sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        self.assertEqual(keeper.types, ["ESMTPS"])

    def test_clientLeavesTLS(self) -> None:
        """A client that goes away inside of TLS does no harm."""
        server = self.start(Keeper(), selfSigned=True)
        client = self.connect(server)
        client.starttls(context=ssl._create_unverified_context())
        assert client.sock is not None
        client.sock.close()
        client = self.connect(server)
        client.sendmail("joe@example.org", ["ann@example.com"], MESSAGE)

    def test_functions(self) -> None:
        """Hooks may be given as functions; what they read is saved in the pool."""
        folder = Path(self.mktemp())

        async def onData(stream: Any, session: Any) -> None:
            await stream.saveTo(folder.with_suffix(".eml"))

        server = self.start(onData=onData)
        self.connect(server).sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        self.assertEqual(folder.with_suffix(".eml").read_text(), MESSAGE.replace("\r\n", "\n"))

    def test_asyncioProgram(self) -> None:
        """It works beside a running event loop."""
        keeper = Keeper()

        async def program() -> None:
            server = self.start(keeper)
            client = self.connect(server)
            await asyncio.to_thread(client.sendmail, "joe@example.org", ["a@b.example"], MESSAGE)

        asyncio.run(program())
        self.assertEqual(keeper.subjects, ["hello"])


class LifeTests(ThreadTestCase):
    """How it starts and stops."""

    def test_context(self) -> None:
        """Inside of the block it listens, outside it doesn't."""
        with ServerThread(Keeper(), thread=privateReactor(), name="mx.test") as server:
            self.assertTrue(server.running)
            socket.create_connection((server.host, server.port), SECONDS).close()
        self.assertFalse(server.running)
        self.assertRaises(OSError, socket.create_connection, (server.host, server.port), SECONDS)

    def test_again(self) -> None:
        """It can be started again, not twice; and stopped twice."""
        keeper = Keeper()
        server = self.start(keeper)
        error = self.assertRaises(ConfigurationError, server.start)
        self.assertIn("is already listening", str(error))
        server.stop()
        server.stop()
        server.start()
        self.connect(server).sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        self.assertEqual(keeper.subjects, ["hello"])

    def test_portTaken(self) -> None:
        """A port that is taken is an error in the caller's thread."""
        server = self.start()
        second = ServerThread(port=server.port, thread=privateReactor())
        self.assertRaises(CannotListenError, second.start)
        self.assertFalse(second.running)
        gc.collect()
        self.flushWarnings()  # older versions of Twisted leave the socket to the collector

    def test_goodbye(self) -> None:
        """An idle client is told 421 when the server stops."""
        server = self.start(closeTimeout=5)
        client = self.connect(server)
        server.stop()
        self.assertEqual(client.getreply()[0], 421)

    def test_ipv6(self) -> None:
        """It listens on an IPv6 address, too."""
        server = self.start(Keeper(), host="::1")
        self.assertEqual(server.host, "::1")
        self.assertEqual(self.connect(server).noop()[0], 250)

    def test_endpoint(self) -> None:
        """Or wherever an endpoint's description says, on the process's reactor."""
        server = ServerThread(endpoint="unix:/nowhere/lmtp.sock", lmtp=True)
        self.assertIs(server.thread, sharedReactor())
        self.assertFalse(server.running)

    def test_wrongOptions(self) -> None:
        """What makes no sense is said before anything is started."""
        error = self.assertRaises(ConfigurationError, ServerThread, siz=3)
        self.assertIn("did you mean 'size'?", str(error))

    def test_call(self) -> None:
        """A function can be called where the hooks run."""
        server = self.start(Keeper())
        thread = server.call(threading.current_thread)
        self.assertEqual(thread.name, "twisted_smtpserver")
        self.assertRaises(ZeroDivisionError, server.call, divmod, 1, 0)

    def test_maildir(self) -> None:
        """The handlers that come with the library work, if they are told which threads to use."""
        thread = privateReactor()
        thread.start()
        folder = Path(self.mktemp())
        server = self.start()
        maildir = Maildir(str(folder), runInThread=server.factory.runInThread)
        server.stop()
        server = self.start(maildir)
        self.connect(server).sendmail("joe@example.org", ["ann@example.com"], MESSAGE)
        self.assertEqual(len(list((folder / "new").iterdir())), 1)
