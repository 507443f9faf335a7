"""
A soak test: mixed clients and their faults against a real server, with nothing lost.

    python -m benchmarks.soak --seconds 1200 --connections 10000

A server (``twistd smtpserver`` with a Maildir in a temporary folder) runs on the loopback
interface. Clients deliver messages by DATA and BDAT, pipelined, in one piece or in crumbs; others
reset, half close, vanish before the reply, flood, talk nonsense, send too much, or hold a
connection open. At the end

* every message that was answered 250 is in the Maildir, once;
* nothing is there that was refused, or that is only a part;
* the server's memory is what it was after the first third;
* the connections held open still answer.

The exit status is 1 if one of these isn't so. ``--kills N`` kills the server (SIGKILL) so many
times on the way, and starts it again; there are no idle connections then, and memory isn't
compared.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import logging
import os
import random
import resource
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

SIZE = 300_000
ROUND = 2.0
#: What memory may grow by, in MiB: an allocator's fragments.
TOLERANCE = 24


class Server:
    """``twistd smtpserver`` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def maildir(self) -> Path:
        """Where it stores."""
        return self.folder / "Maildir" / "new"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        flags = ["--listen", f"tcp:{self.port}:interface=127.0.0.1:backlog=1024"]
        flags += ["--maildir", str(self.folder / "Maildir"), "--size", str(SIZE)]
        flags += ["--self-signed", "--name", "mx.test", "--max-errors", "30"]
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        command += ["-n", "--pidfile=", "smtpserver", *flags]
        # So that the plugin is found even where it isn't installed.
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"the server doesn't start: see {self.folder / 'log'}")

    def end(self, how: int = signal.SIGTERM) -> None:
        """End it."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)

    def memory(self) -> float:
        """What it has in memory, in MiB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def incidents(self) -> int:
        """How many bugs it logged."""
        return (self.folder / "log").read_bytes().count(b"incident ")


class Ledger:
    """
    Who was told what of which message.

    :ivar accepted: ids answered 250.
    :ivar open: ids whose client didn't live to hear the answer.
    :ivar stored: ids found in the Maildir, with how often.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.accepted: set[str] = set()
        self.open: set[str] = set()
        self.stored: collections.Counter[str] = collections.Counter()
        self.partial: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self._next = 0

    def message(self, size: int) -> tuple[str, bytes]:
        """A new message with an id at its beginning and at its end."""
        self._next += 1
        name = f"soak{self._next}"
        lines = max(1, size // 72)
        head = f"Message-ID: <{name}@client.example>\r\nSubject: soak\r\n\r\n"
        body = f".{'x' * 69}\r\n" * lines
        return name, f"{head}{body}end of {name}\r\n".encode()

    def sweep(self) -> None:
        """Count what is in the Maildir, and remove it: the disk is bounded, too."""
        for path in list(self.server.maildir.glob("*")):
            octets = path.read_bytes()
            name = octets.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
            self.stored[name] += 1
            if not octets.endswith(f"end of {name}\r\n".encode()):
                self.partial.append(name)
            path.unlink()

    def faults(self) -> list[str]:
        """What is wrong; nothing, one hopes."""
        missing = self.accepted - set(self.stored)
        twice = [name for name, count in self.stored.items() if count > 1]
        foreign = set(self.stored) - self.accepted - self.open
        found = {
            "answered 250, and missing": sorted(missing),
            "stored twice": twice,
            "stored, though refused": sorted(foreign),
            "stored in part": self.partial,
        }
        return [f"{what}: {names[:5]} …" for what, names in found.items() if names]


class Link:
    """A connection of a client that knows what it says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Link:
        """Connect from one of a few addresses, and take the greeting."""
        source = (f"127.0.0.{random.randint(1, 250)}", 0)
        link = cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=source))
        await link.reply()
        return link

    async def reply(self) -> int:
        """The next reply's code."""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), 60)
            if not line:
                raise ConnectionResetError("the server is gone")
            if line[3:4] == b" ":
                return int(line[:3])

    async def say(self, *lines: str) -> list[int]:
        """Send commands in one piece, and take their replies."""
        self.writer.write("".join(line + "\r\n" for line in lines).encode())
        return [await self.reply() for _ in lines]

    def reset(self) -> None:
        """Leave by RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


MAIL = "MAIL FROM:<joe@example.org>"
RCPT = "RCPT TO:<jane@example.com>"


async def dotted(link: Link, content: bytes, crumbs: bool = False) -> None:
    """Send content as DATA wants it, without the end."""
    octets = content.replace(b"\r\n.", b"\r\n..")
    step = random.choice((1, 7, 100)) if crumbs else len(octets)
    octets, rest = (octets[:2000], octets[2000:]) if crumbs else (octets, b"")
    for start in range(0, len(octets), step):
        link.writer.write(octets[start : start + step])
        await link.writer.drain()
        if crumbs and start % 50 == 0:
            await asyncio.sleep(0)
    link.writer.write(rest)
    await link.writer.drain()


async def deliver(port: int, ledger: Ledger) -> None:
    """Some messages on one connection, by the book."""
    link = await Link.open(port)
    await link.say("EHLO client.example")
    for _ in range(random.randint(1, 5)):
        name, content = ledger.message(random.choice((100, 5_000, 200_000)))
        if random.random() < 0.5:
            await link.say(MAIL, RCPT, "DATA")
            ledger.open.add(name)
            await dotted(link, content, random.random() < 0.2)
            link.writer.write(b".\r\n")
        else:
            await link.say(MAIL, RCPT)
            ledger.open.add(name)
            half = len(content) // 2
            link.writer.write(b"BDAT %d\r\n%b" % (half, content[:half]))
            assert await link.reply() == 250
            link.writer.write(b"BDAT %d LAST\r\n%b" % (len(content) - half, content[half:]))
        code = await link.reply()
        assert code == 250, code
        ledger.accepted.add(name)
        ledger.open.discard(name)
    await link.say("QUIT")
    link.writer.close()


async def library(port: int, ledger: Ledger) -> None:
    """A message by Python's own client, through STARTTLS now and then."""
    name, content = ledger.message(3_000)
    ledger.open.add(name)

    def run() -> None:
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=60) as client:
            if random.random() < 0.3:
                client.starttls()
            client.sendmail("joe@example.org", ["jane@example.com"], content)

    await asyncio.to_thread(run)
    ledger.accepted.add(name)
    ledger.open.discard(name)


async def vanish(port: int, ledger: Ledger) -> None:
    """A complete message, and a RST or a FIN before its reply: it may be stored, once."""
    link = await Link.open(port)
    await link.say("EHLO client.example", MAIL, RCPT, "DATA")
    name, content = ledger.message(2_000)
    ledger.open.add(name)
    await dotted(link, content)
    link.writer.write(b".\r\n")
    await link.writer.drain()
    if random.random() < 0.5:
        link.reset()
    else:
        link.writer.write_eof()
        if await link.reply() == 250:
            ledger.accepted.add(name)
        link.writer.close()


async def cut(port: int, ledger: Ledger) -> None:
    """Half a message, by DATA or BDAT, and a RST or a FIN: nothing of it may be stored."""
    link = await Link.open(port)
    await link.say("EHLO client.example", MAIL, RCPT)
    _, content = ledger.message(50_000)
    if random.random() < 0.5:
        await link.say("DATA")
    else:
        link.writer.write(b"BDAT %d LAST\r\n" % len(content))
    link.writer.write(content[: random.randint(0, len(content) - 100)])
    await link.writer.drain()
    if random.random() < 0.5:
        link.reset()
    else:
        link.writer.write_eof()
        await asyncio.wait_for(link.reader.read(), 60)
        link.writer.close()


async def tooLarge(port: int, ledger: Ledger) -> None:
    """A message over the limit, after which the connection goes on."""
    link = await Link.open(port)
    await link.say("EHLO client.example", MAIL, RCPT, "DATA")
    _, content = ledger.message(SIZE + 10_000)
    await dotted(link, content)
    link.writer.write(b".\r\n")
    assert await link.reply() == 552
    await link.say("NOOP", "QUIT")
    link.writer.close()


async def smuggle(port: int, ledger: Ledger) -> None:
    """A message with an end that is none."""
    link = await Link.open(port)
    await link.say("EHLO client.example", MAIL, RCPT, "DATA")
    _, content = ledger.message(500)
    link.writer.write(content + random.choice((b"\n.\n", b"\r.\r", b"\n.\r\n")) + b"x\r\n.\r\n")
    assert await link.reply() == 550
    link.writer.close()


async def garbage(port: int, ledger: Ledger) -> None:
    """Octets at random, or lines that are none."""
    link = await Link.open(port)
    for _ in range(random.randint(1, 20)):
        link.writer.write(random.randbytes(random.choice((1, 100, 20_000))))
        await link.writer.drain()
    link.reset()


async def flood(port: int, ledger: Ledger) -> None:
    """NOOPs whose replies aren't read, and errors until the server has enough."""
    link = await Link.open(port)
    link.writer.write(b"NOOP\r\n" * 50_000)
    await asyncio.sleep(1)
    link.reset()
    link = await Link.open(port)
    link.writer.write(b"RCPT TO:<>\r\n" * 14)
    await asyncio.sleep(0.5)
    link.reset()


async def stall(port: int, ledger: Ledger) -> None:
    """Octet by octet, for a while, then gone."""
    link = await Link.open(port)
    for octet in b"EHLO client.example":
        link.writer.write(bytes([octet]))
        await asyncio.sleep(0.1)
    link.reset()


Kind = Callable[[int, Ledger], Awaitable[None]]
KINDS: list[tuple[Kind, int]] = [
    *((deliver, 12), (library, 3), (vanish, 3), (cut, 4), (tooLarge, 1)),
    *((smuggle, 1), (garbage, 2), (flood, 1), (stall, 2)),
]


class Soak:
    """The whole run."""

    def __init__(self, options: argparse.Namespace, server: Server) -> None:
        self.options = options
        self.server = server
        self.ledger = Ledger(server)
        self.idle: list[Link] = []
        self.memory: list[float] = []
        self.down = False

    async def client(self, until: float) -> None:
        """One client after the other."""
        kinds, weights = zip(*KINDS, strict=True)
        while time.monotonic() < until:
            kind = random.choices(kinds, weights)[0]
            began = self.server.process
            try:
                await kind(self.server.port, self.ledger)
                self.ledger.counts[kind.__name__] += 1
            except (
                OSError,
                EOFError,
                asyncio.TimeoutError,
                smtplib.SMTPException,
                ValueError,
            ) as error:
                isKilled = self.down or began is not self.server.process
                # Whoever sends too much is cut off; the others have no reason to be.
                isMeant = kind in {garbage, flood} and isinstance(error, OSError)
                if not isKilled and not isMeant:
                    self.ledger.counts[f"{kind.__name__}: {error!r}"] += 1
            await asyncio.sleep(random.random() * self.options.pause)

    async def hold(self) -> None:
        """Open the connections that stay."""
        for start in range(0, self.options.connections, 100):
            count = min(100, self.options.connections - start)
            self.idle += await asyncio.gather(*[Link.open(self.server.port) for _ in range(count)])

    async def watch(self, until: float) -> None:
        """Sweep, take the memory's measure, keep the idle ones alive, kill."""
        now = time.monotonic()
        kills = sorted(random.uniform(now, until) for _ in range(self.options.kills))
        nextNoop = now + 120
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(ROUND, until - now))
            await asyncio.to_thread(self.ledger.sweep)
            self.memory.append(self.server.memory())
            if now > nextNoop:
                nextNoop = now + 120
                await self.noop()
            if kills and now > kills[0]:
                kills.pop(0)
                self.down = True
                await asyncio.to_thread(self.server.end, signal.SIGKILL)
                await asyncio.to_thread(self.server.start)
                self.down = False

    async def noop(self) -> int:
        """Let the idle ones speak; returns how many got no answer."""
        lost = 0
        for link in self.idle:
            try:
                lost += await link.say("NOOP") != [250]
            except OSError:
                lost += 1
        return lost

    async def run(self) -> list[str]:
        """Do it all; returns what is wrong."""
        await self.hold()
        until = time.monotonic() + self.options.seconds
        clients = [self.client(until) for _ in range(self.options.clients)]
        await asyncio.gather(self.watch(until), *clients)
        faults = []
        if not self.options.kills:
            if lost := await self.noop():
                faults.append(f"{lost} idle connections were lost")
            self.memory.append(self.server.memory())
            before, after = self.memory[len(self.memory) // 3], self.memory[-1]
            if after > before + TOLERANCE:
                faults.append(f"memory grew from {before:.1f} to {after:.1f} MiB")
        for link in self.idle:
            link.writer.close()
        await asyncio.sleep(1)
        await asyncio.to_thread(self.server.end)
        self.ledger.sweep()
        faults += self.ledger.faults()
        faults += [f"{what} ({count})" for what, count in self.ledger.counts.items() if ":" in what]
        if incidents := self.server.incidents():
            faults.append(f"the server logged {incidents} incidents")
        return faults


def report(soak: Soak, faults: list[str]) -> None:
    """Print what happened."""
    ledger = soak.ledger
    done = {what: count for what, count in ledger.counts.items() if ":" not in what}
    print("clients:", ", ".join(f"{what} {count}" for what, count in sorted(done.items())))
    print(
        f"messages answered 250: {len(ledger.accepted)}, found in the Maildir: {len(ledger.stored)}"
    )
    memory = soak.memory
    if memory:
        third = memory[len(memory) // 3]
        print(
            f"memory: {memory[0]:.1f} MiB, after a third {third:.1f}, at most {max(memory):.1f},"
            f" at the end {memory[-1]:.1f}"
        )
    print("\n".join(faults) if faults else "nothing was lost")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Soak the server in mixed clients.")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--connections", type=int, default=500, help="idle ones, all the time")
    parser.add_argument("--clients", type=int, default=30, help="busy ones at a time")
    parser.add_argument("--pause", type=float, default=0.1, help="between a client and the next, s")
    parser.add_argument("--kills", type=int, default=0, help="how often to kill the server")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.kills:
        options.connections = 0
    random.seed(options.seed)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # writes to a server that was killed
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = options.connections + options.clients + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        parser.error(f"--connections: the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, 1024), hard))
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    server = Server(folder)
    server.start()
    try:
        soak = Soak(options, server)
        faults = asyncio.run(soak.run())
        report(soak, faults)
    finally:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    if faults:
        print(f"the server's log: {folder / 'log'}")
    else:
        shutil.rmtree(folder)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
