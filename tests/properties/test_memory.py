"""A real server's memory: it doesn't depend on the size of what comes in, or isn't taken."""

from __future__ import annotations

import os
import re
import select
import socket
import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE, LiveServer

MiB = 2**20

#: How much a server may grow, in octets: the stream's mark, a segment or two and their copies.
GROWTH = 8 * MiB

#: A megabyte of lines, of which one begins with a dot.
LINES = b"x" * 1022 + b"\r\n"
PIECE = LINES * 1022 + b".." + b"y" * 2044 + b"\r\n"
assert len(PIECE) == MiB


def peak(server: LiveServer) -> int:
    """The most memory that a process ever had resident, in octets."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s*([0-9]+) kB", status)
    assert found is not None, status
    return int(found[1]) * 1024


def forgetPeak(server: LiveServer) -> None:
    """Let the peak be what there is now."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


@unittest.skipUnless(os.path.exists("/proc/self/clear_refs"), "there is no such file here")
class MemoryTests(SynchronousTestCase):
    """Measured from outside, in the process' own accounts."""

    def setUp(self) -> None:
        """A server with a slow handler, and a client that has named its recipient."""
        flags = ("--handler", "tests.support.slowreader.SlowReader", "--size", "2G")
        self.server = LiveServer(Path(self.mktemp()).absolute(), *flags)
        self.addCleanup(self.server.kill)
        self.client = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE)
        self.addCleanup(self.client.close)
        self.replies = self.client.makefile("rb")
        self.addCleanup(self.replies.close)
        self.expect(220)
        self.say("HELO client.example")

    def expect(self, code: int) -> str:
        """Read a reply of one line."""
        line = self.replies.readline().decode()
        self.assertEqual(line[:4], f"{code} ", line)
        return line

    def say(self, line: str, code: int = 250) -> str:
        """Say a line."""
        self.client.sendall(line.encode() + b"\r\n")
        return self.expect(code)

    def begin(self) -> None:
        """Begin a message."""
        self.say("MAIL FROM:<joe@example.org>")
        self.say("RCPT TO:<jane@example.com>")

    def byData(self, pieces: int) -> str:
        """Send a message of so many megabytes, but for the stuffing dots."""
        self.begin()
        self.say("DATA", 354)
        for _ in range(pieces):
            self.client.sendall(PIECE)
        return self.say(".")

    def byChunk(self, pieces: int) -> str:
        """The same as a single chunk."""
        self.begin()
        self.client.sendall(b"BDAT %d LAST\r\n" % (pieces * MiB))
        for _ in range(pieces):
            self.client.sendall(PIECE)
        return self.expect(250)

    def assertConstant(self, before: int) -> None:
        """Assert that the server hasn't grown to speak of."""
        self.assertLess(peak(self.server) - before, GROWTH)

    def test_data(self) -> None:
        """A message of 1 GiB passes through a slow handler, and the server doesn't grow."""
        self.byData(16)  # so that what is only made once is there
        forgetPeak(self.server)
        before = peak(self.server)
        self.assertIn(f" {1024 * (MiB - 1)} octets", self.byData(1024))
        self.assertConstant(before)

    def test_chunk(self) -> None:
        """So does one chunk, of 256 MiB."""
        self.byChunk(16)
        forgetPeak(self.server)
        before = peak(self.server)
        self.assertIn(f" {256 * MiB} octets", self.byChunk(256))
        self.assertConstant(before)

    def test_unreadReplies(self) -> None:
        """Who asks and asks, and reads no answer, isn't listened to any more; nothing is lost."""
        forgetPeak(self.server)
        before = peak(self.server)
        hello = b"EHLO client.example\r\n"
        hellos = hello * 1000
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        self.client.setblocking(False)
        sent = 0
        # What the two sockets hold is the systems' business; 32 MiB are too much for them.
        while sent < 32 * MiB and select.select([], [self.client], [], 0.5)[1]:
            sent += self.client.send(hellos[sent % len(hello) :])
        self.assertLess(sent, 32 * MiB)
        self.assertConstant(before)
        self.client.settimeout(PATIENCE)
        self.client.shutdown(socket.SHUT_WR)
        answers = self.replies.read()
        self.assertEqual(answers.count(b"\r\n250 "), sent // len(hello))
