"""Messages that are made to be hard to parse, over the wire."""

from __future__ import annotations

import email.message
import re
import signal
import smtplib
import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.brokenmail import CORPUS
from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver import SMTPHandler
from twisted_smtpserver.session import Session
from twisted_smtpserver.testing import connect

MiB = 2**20

#: How much a server may grow for a message of 31 MiB that it parses, in octets; the rest is for the
#: segments that are on their way.
GROWTH = (3 * 31 + 8) * MiB


class Reader(SMTPHandler):
    """Reads all of a message, as the README's example does, in both ways."""

    async def onData(self, stream: Any, session: Session) -> str:
        """Parse it."""
        if session.envelope.mailFrom is not None and session.envelope.mailFrom.local == "parsed":
            return f"{len((await stream.parsed()).attachments)} attachments"
        message: email.message.EmailMessage = await stream.message()
        headers = sum(len(part.items()) for part in message.walk())
        return f"{headers} headers"


class BombTests(SynchronousTestCase):
    """Whoever parses messages needn't fear them."""

    def test_message(self) -> None:
        """What is broken is accepted or refused, 554, and never an incident."""
        client = connect(Reader(), bareNewlines="accept")
        codes = set()
        hello: str | None = "EHLO client.example"
        for name, octets in CORPUS.items():
            answer = client.deliver(octets + b"\r\n", hello=hello)
            self.assertIn(answer.code, (250, 554), name)
            self.assertEqual(answer.code == 554, answer.enhanced == "5.6.0", name)
            codes.add(answer.code)
            hello = None
        self.assertEqual(codes, {250, 554})

    def test_parsed(self) -> None:
        """Decoded, every message is accepted."""
        client = connect(Reader(), bareNewlines="accept")
        hello: str | None = "EHLO client.example"
        for name, octets in CORPUS.items():
            answer = client.deliver(octets + b"\r\n", "parsed@example.org", hello=hello)
            self.assertEqual(answer.code, 250, name)
            hello = None


class LiveTests(SynchronousTestCase):
    """A real server that gets large ones."""

    def setUp(self) -> None:
        """Start it."""
        flags = ("--handler", "tests.properties.test_messagebombs.Reader")
        self.server = LiveServer(Path(self.mktemp()).absolute(), *flags)
        self.addCleanup(self.server.kill)

    def status(self, field: str) -> int:
        """One of the kernel's accounts of its memory, in octets."""
        text = Path(f"/proc/{self.server.process.pid}/status").read_text()
        found = re.search(rf"{field}:\s*([0-9]+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    def client(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.server.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def deliver(self, content: bytes, sender: str = "joe@example.org") -> tuple[int, bytes]:
        client = self.client()
        client.ehlo()
        client.mail(sender)
        client.rcpt("jane@example.com")
        return client.data(content)

    def test_memory(self) -> None:
        """Neither empty lines nor 8-bit text make it grow by more than three times the message."""
        self.deliver(b"Subject: x\r\n\r\nHello\r\n")
        before = self.status("VmRSS")
        self.assertEqual(self.deliver(b"\r\n" * (31 * MiB // 2))[0], 554)
        text = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + ("ä" * 39 + "\r\n").encode() * (
            31 * MiB // 80
        )
        self.assertEqual(self.deliver(text)[0], 250)
        self.assertEqual(self.deliver(text, "parsed@example.org")[0], 250)
        self.assertLess(self.status("VmHWM") - before, GROWTH)

    def test_stop(self) -> None:
        """A stop waits for no thread: there is none, and what is under way takes turns."""
        bomb = CORPUS["100,000 semicolons"]
        clients = [self.client() for _ in range(10)]
        for client in clients:
            client.ehlo()
            client.mail("joe@example.org")
            client.rcpt("jane@example.com")
            client.docmd("DATA")
            client.send(bomb + b"\r\n.\r\n")
        self.server.process.send_signal(signal.SIGTERM)
        for client in clients:
            self.assertEqual(client.getreply()[0], 554)
            assert client.sock is not None
            client.sock.shutdown(socket.SHUT_RDWR)
        self.server.process.wait(PATIENCE)
        log = self.server.stop()
        self.assertIn("Server Shut Down.", log)
        self.assertNotIn("Traceback", log)
