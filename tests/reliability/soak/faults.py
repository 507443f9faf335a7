"""Clients that misbehave, and clients that wake the handler's bugs."""

from __future__ import annotations

import asyncio
import random
import socket

from tests.reliability.soak.ledger import Ledger
from tests.reliability.soak.link import HELLO, MAIL, RCPT, Kind, Link, Unexpected, crumble, stuffed
from tests.reliability.soak.server import SIZE

#: What brings a connection to each state; a BDAT that is not the last has no octets here.
WAYS: dict[str, tuple[str, ...]] = {
    "greeted": (),
    "hello": (HELLO,),
    "starttls": (HELLO, "STARTTLS"),
    "mail": (HELLO, MAIL),
    "rcpt": (HELLO, MAIL, RCPT),
    "data": (HELLO, MAIL, RCPT, "DATA"),
    "chunks": (HELLO, MAIL, RCPT, "BDAT 0"),
}


async def _leave(link: Link) -> None:
    """By RST, or by FIN, after which the server must close its side, too."""
    if random.random() < 0.5:
        link.reset()
        return
    link.writer.write_eof()
    await asyncio.wait_for(link.reader.read(), 60)
    link.close()


async def leave(port: int, ledger: Ledger) -> None:
    """RST or FIN in each state, before the greeting even, with half a command or without."""
    link = await Link.connect(port, ledger)
    if random.random() < 0.1:
        link.reset()
        return
    await link.expect("greeting", 220)
    state = random.choice(list(WAYS))
    for line in WAYS[state]:
        await link.say(line)
    if state != "starttls":
        await link.send(random.choice((b"", b"NO", b"NOOP\r", b"MAIL FROM:<", b"BDAT 10\r\nabc")))
    await _leave(link)


async def halfClose(port: int, ledger: Ledger) -> None:
    """All in one piece and a FIN: everything is answered, and the message is there."""
    link = await Link.open(port, ledger)
    name, content = ledger.message(500)
    lines = f"{HELLO}\r\n{MAIL}\r\n{RCPT}\r\nBDAT {len(content)} LAST\r\n".encode()
    ledger.messages[name].fate = "open"
    await link.send(lines + content + b"QUIT\r\n")
    link.writer.write_eof()
    for what in ("EHLO", "MAIL", "RCPT"):
        await link.expect(what, 250)
    await link.accepted(name)
    await link.expect("QUIT", 221)
    if await link.reader.read():
        raise Unexpected("octets behind the end")
    link.close()


async def vanish(port: int, ledger: Ledger) -> None:
    """A complete message, and a RST before its reply: it may be stored, once."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL, RCPT, "DATA")
    name, content = ledger.message(2_000)
    ledger.messages[name].fate = "open"
    await link.send(stuffed(content) + b".\r\n")
    if random.random() < 0.5:
        await asyncio.sleep(random.random() / 100)
    link.reset()


async def cut(port: int, ledger: Ledger) -> None:
    """Half a message, by DATA or BDAT, and gone: nothing of it may be stored."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL, RCPT)
    _, content = ledger.message(50_000)
    if random.random() < 0.5:
        await link.say("DATA")
        content = stuffed(content)
    else:
        await link.send(b"BDAT %d LAST\r\n" % len(content))
    await link.send(content[: random.randint(0, len(content) - 1)])
    await _leave(link)


async def tooLarge(port: int, ledger: Ledger) -> None:
    """A message over the limit, after which the connection goes on."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL, RCPT, "DATA")
    name, content = ledger.message(SIZE + 10_000)
    await link.send(stuffed(content) + b".\r\n")
    ledger.answered(name, await link.expect("too large", 552))
    await link.say("NOOP", "QUIT")
    link.close()


async def smuggle(port: int, ledger: Ledger) -> None:
    """A message with an end that is none."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL, RCPT, "DATA")
    name, content = ledger.message(500)
    end = random.choice((b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n"))
    await link.send(stuffed(content) + end + MAIL.encode() + b"\r\n.\r\n")
    ledger.answered(name, await link.expect("smuggled", 550))
    await link.say("NOOP", "QUIT")
    link.close()


async def garbage(port: int, ledger: Ledger) -> None:
    """Octets at random, as commands or as a TLS hello."""
    link = await Link.open(port, ledger)
    if random.random() < 0.3:
        await link.say(HELLO, "STARTTLS")
    try:
        for _ in range(random.randint(1, 20)):
            await link.send(random.randbytes(random.choice((1, 100, 20_000))))
    except OSError:
        pass  # the server had enough
    link.reset()


async def flood(port: int, ledger: Ledger) -> None:
    """NOOPs whose replies nobody reads."""
    link = await Link.open(port, ledger)
    link.writer.write(b"NOOP\r\n" * 50_000)
    await asyncio.sleep(1)
    link.reset()


async def deaf(port: int, ledger: Ledger) -> None:
    """Whole messages, one after the other, from a client that reads none of the replies."""
    link = await Link.connect(port, ledger)
    link.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one that reads
    link.writer.write(b"EHLO deaf.example\r\n")
    for _ in range(30):
        name, content = ledger.message(1_000)
        ledger.messages[name].fate = "open"
        link.writer.write(f"{MAIL}\r\n{RCPT}\r\nBDAT {len(content)} LAST\r\n".encode() + content)
    await asyncio.sleep(2)
    link.reset()


async def errors(port: int, ledger: Ledger) -> None:
    """Refused commands, as many as the server bears, and some more."""
    link = await Link.open(port, ledger)
    await link.send(b"RCPT TO:<>\r\n" * 40)
    await asyncio.sleep(0.5)
    link.reset()


async def slow(port: int, ledger: Ledger) -> None:
    """A message whose commands come octet by octet, and whose content does so for a while."""
    link = await Link.open(port, ledger)
    name, content = ledger.message(5_000)
    for octet in HELLO.encode():
        await link.send(bytes([octet]))
        await asyncio.sleep(0.05)
    await link.send(b"\r\n")
    await link.expect("EHLO", 250)
    await link.say(MAIL, RCPT, "DATA")
    octets = stuffed(content)
    for start in range(0, 50, 5):
        await link.send(octets[start : start + 5])
        await asyncio.sleep(0.1)
    await crumble(link, octets[50:])
    ledger.messages[name].fate = "open"
    await link.send(b".\r\n")
    await link.accepted(name)
    link.close()


async def atRcpt(port: int, ledger: Ledger) -> None:
    """The handler raises at RCPT, or never answers; the next recipient is fine."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL)
    await link.send(b"RCPT TO:<%b@example.com>\r\n" % random.choice((b"rcpt-raise", b"rcpt-hang")))
    await link.expect("RCPT at fault", 451)
    await link.say(RCPT, "RSET", "QUIT")
    link.close()


async def atData(port: int, ledger: Ledger) -> None:
    """The handler raises at the message, or never answers; the connection goes on."""
    link = await Link.open(port, ledger)
    fault = random.choice(
        ("raise-at-once", "raise-midway", "raise-behind", "hang-midway", "hang-behind")
    )
    await link.say(HELLO, MAIL, f"RCPT TO:<{fault}@example.com>")
    name, content = ledger.message(random.choice((500, 100_000)))
    if random.random() < 0.5:
        await link.send(b"DATA\r\n")
        if await link.expect("DATA at fault", 354, 451) == 354:
            await link.send(stuffed(content) + b".\r\n")
            await link.expect("message at fault", 451)
    else:
        await link.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
        await link.expect("message at fault", 451)
    ledger.answered(name, 451)
    await link.say("NOOP", "QUIT")
    link.close()


async def late(port: int, ledger: Ledger) -> None:
    """The handler takes its time; one client waits, another leaves meanwhile."""
    link = await Link.open(port, ledger)
    await link.say(HELLO, MAIL, "RCPT TO:<late@example.com>", "DATA")
    name, content = ledger.message(500)
    ledger.messages[name].fate = "open"
    await link.send(stuffed(content) + b".\r\n")
    if random.random() < 0.5:
        await asyncio.sleep(random.random() * 2)
        link.reset()
        return
    await link.accepted(name)
    await link.say("QUIT")
    link.close()


#: Each kind, and its weight beside the deliverers.
FAULTS: list[tuple[Kind, float]] = [
    *((leave, 5), (halfClose, 2), (vanish, 2), (cut, 4), (tooLarge, 1), (smuggle, 1)),
    *((garbage, 2), (flood, 0.5), (deaf, 0.5), (errors, 0.5), (slow, 1)),
    *((atRcpt, 0.5), (atData, 1), (late, 1)),
]
