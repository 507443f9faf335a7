"""Clients that deliver: our own, and the ones that people have."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import shutil
import smtplib
import ssl
import sys

from benchmarks.peers import ROOT
from tests.reliability.soak.ledger import Ledger
from tests.reliability.soak.link import HELLO, MAIL, RCPT, Kind, Link, Unexpected, crumble, stuffed

SENDER, RECIPIENT = "joe@example.org", "jane@example.com"
SIZES = (100, 5_000, 200_000)

#: Programs run one or two at a time: starting one costs more than the message.
_slots = asyncio.Semaphore(2)
_SCRIPT = ROOT / "tests" / "clients" / "nodemailer.mjs"


async def data(port: int, ledger: Ledger) -> None:
    """Some messages by DATA on one connection, one reply at a time, maybe in crumbs."""
    link = await Link.open(port, ledger)
    await link.say(HELLO)
    for _ in range(random.randint(1, 5)):
        name, content = ledger.message(random.choice(SIZES))
        await link.say(MAIL)
        await link.say(RCPT)
        await link.say("DATA")
        octets = stuffed(content)
        await (crumble(link, octets) if random.random() < 0.2 else link.send(octets))
        ledger.messages[name].fate = "open"
        await link.send(b".\r\n")
        await link.accepted(name)
    await link.say("QUIT")
    link.close()


async def pipelined(port: int, ledger: Ledger) -> None:
    """Messages with the next one's commands behind each end (RFC 2920)."""
    link = await Link.open(port, ledger)
    await link.say(HELLO)
    await link.say(MAIL, RCPT, "DATA")
    count = random.randint(1, 20)
    for number in range(1, count + 1):
        name, content = ledger.message(random.choice((100, 5_000)))
        ledger.messages[name].fate = "open"
        following = f"{MAIL}\r\n{RCPT}\r\nDATA\r\n" if number < count else "QUIT\r\n"
        await link.send(stuffed(content) + b".\r\n" + following.encode())
        await link.accepted(name)
        if number < count:
            for what, code in (("MAIL", 250), ("RCPT", 250), ("DATA", 354)):
                await link.expect(what, code)
    await link.expect("QUIT", 221)
    link.close()


async def chunked(port: int, ledger: Ledger) -> None:
    """Messages by BDAT, all of it in one piece or chunk by chunk (RFC 3030)."""
    link = await Link.open(port, ledger)
    await link.say(HELLO)
    for _ in range(random.randint(1, 5)):
        name, content = ledger.message(random.choice(SIZES))
        cuts = sorted(random.sample(range(len(content)), random.randint(0, 4)))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        chunks = [b"BDAT %d\r\n%b" % (len(part), part) for part in parts[:-1]]
        chunks.append(b"BDAT %d LAST\r\n%b" % (len(parts[-1]), parts[-1]))
        ledger.messages[name].fate = "open"
        if random.random() < 0.5:
            await link.send(f"{MAIL}\r\n{RCPT}\r\n".encode() + b"".join(chunks))
            for what in ("MAIL", "RCPT", *["BDAT"] * len(cuts)):
                await link.expect(what, 250)
        else:
            await link.say(MAIL, RCPT)
            for chunk in chunks[:-1]:
                await link.send(chunk)
                await link.expect("BDAT", 250)
            await link.send(chunks[-1])
        await link.accepted(name)
    await link.say("QUIT")
    link.close()


async def viaSmtplib(port: int, ledger: Ledger) -> None:
    """Python's own client, through STARTTLS now and then."""
    name, content = ledger.message(3_000)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    isSecure = random.random() < 0.5

    def run() -> None:
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=60) as client:
            if isSecure:
                client.starttls(context=context)
            ledger.messages[name].fate = "open"
            client.sendmail(SENDER, [RECIPIENT], content)
            ledger.answered(name, 250)

    await asyncio.to_thread(run)


async def viaAiosmtplib(port: int, ledger: Ledger) -> None:
    """aiosmtplib, which upgrades by itself."""
    import aiosmtplib

    name, content = ledger.message(3_000)
    ledger.messages[name].fate = "open"
    try:
        await aiosmtplib.send(
            content,
            sender=SENDER,
            recipients=[RECIPIENT],
            hostname="127.0.0.1",
            port=port,
            start_tls=random.choice((None, False)),
            validate_certs=False,
            timeout=60,
        )
    except aiosmtplib.SMTPException as error:
        raise Unexpected(repr(error)) from error
    ledger.answered(name, 250)


async def _program(ledger: Ledger, name: str, content: bytes, *command: str) -> None:
    """Let a program send what it reads; success means that it was told 250."""
    async with _slots:
        ledger.messages[name].fate = "open"
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(content), 120)
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode != 0:
        raise Unexpected(f"{process.returncode} {output[-200:]!r}")
    ledger.answered(name, 250)


async def viaCurl(port: int, ledger: Ledger) -> None:
    """curl."""
    name, content = ledger.message(5_000)
    flags = ["--silent", "--show-error", "--insecure", "--upload-file", "-"]
    flags += ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--max-time", "60"]
    flags += random.choice(([], ["--ssl-reqd"]))
    await _program(ledger, name, content, "curl", *flags, f"smtp://127.0.0.1:{port}")


async def viaSwaks(port: int, ledger: Ledger) -> None:
    """swaks, which adds a line's end of its own behind the data."""
    name, content = ledger.message(5_000)
    flags = ["--from", SENDER, "--to", RECIPIENT, "--ehlo", "client.example", "--hide-all"]
    flags += ["--server", "127.0.0.1", "--port", str(port), "--data", "-"]
    flags += random.choice(([], ["--tls"]))
    await _program(ledger, name, content.removesuffix(b"\r\n"), "swaks", *flags)


async def viaMsmtp(port: int, ledger: Ledger) -> None:
    """msmtp."""
    name, content = ledger.message(5_000)
    flags = ["--host=127.0.0.1", f"--port={port}", "--from", SENDER, "--domain=client.example"]
    flags += ["--tls-certcheck=off", "--set-date-header=off", "--set-from-header=off"]
    flags += random.choice((["--tls=off"], ["--tls=on", "--tls-starttls=on"]))
    unix = content.replace(b"\r\n", b"\n")
    await _program(ledger, name, unix, "msmtp", *flags, "--", RECIPIENT)


async def viaNodemailer(port: int, ledger: Ledger) -> None:
    """nodemailer."""
    name, content = ledger.message(5_000)
    security = random.choice(("plain", "starttls"))
    arguments = [str(_SCRIPT), str(port), security, SENDER, RECIPIENT]
    await _program(ledger, name, content, "node", *arguments)


async def viaTwisted(port: int, ledger: Ledger) -> None:
    """Twisted's own client."""
    name, content = ledger.message(5_000)
    unix = content.replace(b"\r\n", b"\n")
    arguments = ["-m", "tests.reliability.soak.twistedclient", str(port), SENDER, RECIPIENT]
    await _program(ledger, name, unix, sys.executable, *arguments)


#: Programs that may be installed, and who uses them.
_PROGRAMS = (("curl", viaCurl), ("swaks", viaSwaks), ("msmtp", viaMsmtp))


def deliverers() -> list[tuple[Kind, float]]:
    """The clients that can be used here, and how often each is to be."""
    found: list[tuple[Kind, float]] = [(data, 5), (pipelined, 5), (chunked, 5), (viaSmtplib, 3)]
    if importlib.util.find_spec("aiosmtplib"):
        found.append((viaAiosmtplib, 2))
    found += [(kind, 0.5) for program, kind in _PROGRAMS if shutil.which(program)]
    if shutil.which("node") and (_SCRIPT.parent / "node_modules" / "nodemailer").is_dir():
        found.append((viaNodemailer, 0.3))
    found.append((viaTwisted, 0.3))
    return found
