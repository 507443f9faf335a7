"""
Real clients against a real server: what lies in the Maildir is octet for octet what was sent.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import smtplib
import ssl
import subprocess
from email.message import EmailMessage
from email.policy import SMTP
from io import BytesIO
from pathlib import Path
from unittest import SkipTest

import aiosmtplib
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.ssl import ClientContextFactory
from twisted.mail.smtp import ESMTPSenderFactory
from twisted.trial.unittest import TestCase

from tests.support.liveserver import PATIENCE, LiveServer

SENDER = "sender@client.example"
RECIPIENT = "recipient@server.example"
FOLDER = Path(__file__).parent.parent / "clients"

_OURS = re.compile(rb"Return-Path: <[^\r\n]*>\r\nReceived: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


def makeMessage() -> bytes:
    """Leading dots, 8-bit text and an attachment of 10 MiB."""
    message = EmailMessage(policy=SMTP.clone(cte_type="8bit"))
    message["From"] = SENDER
    message["To"] = RECIPIENT
    message["Subject"] = "Leading dots, 8-bit text, 10 MiB"
    message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0000"
    message["Message-ID"] = "<one@client.example>"
    message.set_content(".\n..\n.leading dot\nZwölf Boxkämpfer jagen Viktor\n.\n", cte="8bit")
    content = base64.b64encode(os.urandom(10 * 2**20 // 4 * 3)).decode("ascii")
    message.add_attachment(content, filename="ten.txt", cte="7bit")
    return wrapped(message.as_bytes())


def wrapped(message: bytes) -> bytes:
    """Lines of at most 76 octets (RFC 5321 §4.5.3.1.6 allows 998), all of them ended by CRLF."""
    lines = message.split(b"\r\n")
    return b"\r\n".join(
        piece for line in lines for piece in (re.findall(rb"(?s).{1,76}", line) or [b""])
    )


MESSAGE = makeMessage()


def need(program: str) -> str:
    """
    The path of a client.

    :raises SkipTest: where it isn't installed; in CI that is a failure.
    """
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if path is None:
        if os.environ.get("CI"):
            raise AssertionError(f"{program} isn't installed, and CI needs it")
        raise SkipTest(f"{program} isn't installed")
    return path


def run(*command: str, stdin: bytes = b"", cwd: Path | None = None) -> str:
    """Run a client; it must succeed."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=2 * PATIENCE, cwd=cwd, check=False
    )
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, f"{command[0]} exited with {done.returncode}:\n{output[-3000:]}"
    return output


class ClientTests(TestCase):
    """Each client sends the same message, in clear and over TLS."""

    def setUp(self) -> None:
        """Start a server that listens in clear (with STARTTLS) and with implicit TLS."""
        self.folder = Path(self.mktemp()).absolute()
        self.server = LiveServer(
            self.folder,
            "--self-signed",
            "--listen=tcp:0:interface=127.0.0.1",
            "--listen-tls=tcp:0:interface=127.0.0.1",
            listeners=2,
        )
        self.addCleanup(self.server.__exit__)
        self.clear, self.tls = self.server.ports
        self.file = self.folder / "message.eml"
        self.file.write_bytes(MESSAGE)

    def assertStored(self, count: int, message: bytes = MESSAGE) -> None:
        """So many messages lie in the Maildir, and each is what was sent, under our two fields."""
        stored = self.server.messages()
        self.assertEqual(len(stored), count)
        for content in stored:
            ours = _OURS.match(content)
            self.assertTrue(ours and ours.end() == len(content) - len(message), content[:1000])
            self.assertTrue(content.endswith(message))

    def test_smtplibBytes(self) -> None:
        """sendmail() sends LF as it stands: the reply and the log say what helps, and that does."""
        message = EmailMessage()
        message["Subject"] = "LF"
        message.set_content("Text\n")
        with smtplib.SMTP("127.0.0.1", self.clear, timeout=PATIENCE) as client:
            with self.assertRaises(smtplib.SMTPDataError) as caught:
                client.sendmail(SENDER, RECIPIENT, message.as_bytes())
            self.assertEqual(caught.exception.smtp_code, 550)
            self.assertIn(b"send_message()", caught.exception.smtp_error)
            client.send_message(message, SENDER, RECIPIENT)
            client.sendmail(SENDER, RECIPIENT, message.as_bytes(policy=SMTP))
        self.assertEqual(len(self.server.messages()), 2)
        self.server.awaitLog("bare-newlines=normalize, would take it")

    def test_smtplib(self) -> None:
        """The standard library's client: in clear, with STARTTLS, with implicit TLS."""
        context = ssl._create_unverified_context()
        with smtplib.SMTP("127.0.0.1", self.clear, timeout=PATIENCE) as client:
            client.sendmail(SENDER, RECIPIENT, MESSAGE)
        with smtplib.SMTP("127.0.0.1", self.clear, timeout=PATIENCE) as client:
            client.starttls(context=context)
            client.sendmail(SENDER, RECIPIENT, MESSAGE)
        with smtplib.SMTP_SSL("127.0.0.1", self.tls, timeout=PATIENCE, context=context) as client:
            client.sendmail(SENDER, RECIPIENT, MESSAGE)
        self.assertStored(3)

    def test_aiosmtplib(self) -> None:
        """aiosmtplib, which pipelines nothing but upgrades by itself."""

        async def send() -> None:
            for port, start, implicit in [
                (self.clear, False, False),
                (self.clear, True, False),
                (self.tls, False, True),
            ]:
                await aiosmtplib.send(
                    MESSAGE,
                    sender=SENDER,
                    recipients=[RECIPIENT],
                    hostname="127.0.0.1",
                    port=port,
                    start_tls=start,
                    use_tls=implicit,
                    validate_certs=False,
                    timeout=PATIENCE,
                )

        asyncio.run(send())
        self.assertStored(3)

    def test_curl(self) -> None:
        """curl."""
        curl = need("curl")
        common = ["--silent", "--show-error", "--insecure", "--upload-file", str(self.file)]
        common += ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT]
        run(curl, f"smtp://127.0.0.1:{self.clear}", *common)
        run(curl, f"smtp://127.0.0.1:{self.clear}", "--ssl-reqd", *common)
        run(curl, f"smtps://127.0.0.1:{self.tls}", *common)
        self.assertStored(3)

    def test_swaks(self) -> None:
        """swaks, which adds a line's end of its own behind the data."""
        swaks = need("swaks")
        self.file.write_bytes(MESSAGE.removesuffix(b"\r\n"))
        common = ["--from", SENDER, "--to", RECIPIENT, "--ehlo", "client.example"]
        common += ["--data", f"@{self.file}", "--server", "127.0.0.1", "--hide-all"]
        run(swaks, "--port", str(self.clear), *common)
        run(swaks, "--port", str(self.clear), "--tls", *common)
        run(swaks, "--port", str(self.tls), "--tls-on-connect", *common)
        self.assertStored(3)

    def test_msmtp(self) -> None:
        """msmtp."""
        msmtp = need("msmtp")
        common = ["--host=127.0.0.1", "--from", SENDER, "--domain=client.example"]
        common += ["--tls-certcheck=off", "--set-date-header=off", "--set-from-header=off"]
        unix = MESSAGE.replace(b"\r\n", b"\n")
        for flags in [
            (f"--port={self.clear}", "--tls=off"),
            (f"--port={self.clear}", "--tls=on", "--tls-starttls=on"),
            (f"--port={self.tls}", "--tls=on", "--tls-starttls=off"),
        ]:
            run(msmtp, *flags, *common, "--", RECIPIENT, stdin=unix)
        self.assertStored(3)

    def test_nodemailer(self) -> None:
        """nodemailer, from npm."""
        node = need("node")
        if not (FOLDER / "node_modules" / "nodemailer").is_dir():
            if os.environ.get("CI"):
                self.fail("nodemailer isn't installed, and CI needs it")
            raise SkipTest("nodemailer isn't installed: run npm install in tests/clients")
        script = str(FOLDER / "nodemailer.mjs")
        for port, security in [
            (self.clear, "plain"),
            (self.clear, "starttls"),
            (self.tls, "tls"),
        ]:
            run(node, script, str(port), security, SENDER, RECIPIENT, stdin=MESSAGE)
        self.assertStored(3)

    def test_smtpSource(self) -> None:
        """Postfix's load generator: many messages, several at a time."""
        source = need("smtp-source")
        common = ["-c", "-d", "-s", "5", "-m", "100", "-l", "20000", "-f", SENDER, "-t", RECIPIENT]
        run(source, *common, f"inet:127.0.0.1:{self.clear}")
        self.assertEqual(len(self.server.messages()), 100)

    @inlineCallbacks
    def test_twisted(self):
        """Twisted's own client, in clear, with STARTTLS and with implicit TLS."""
        context = ClientContextFactory()
        context.method = SSL.TLS_METHOD
        for port, start, implicit in [
            (self.clear, False, False),
            (self.clear, True, False),
            (self.tls, False, True),
        ]:
            done: Deferred[object] = Deferred()
            factory = ESMTPSenderFactory(
                None,
                None,
                SENDER,
                RECIPIENT,
                BytesIO(MESSAGE.replace(b"\r\n", b"\n")),
                done,
                contextFactory=context,
                requireAuthentication=False,
                requireTransportSecurity=start,
                heloFallback=False,
                retries=0,
            )
            if implicit:
                reactor.connectSSL("127.0.0.1", port, factory, context)
            else:
                reactor.connectTCP("127.0.0.1", port, factory)
            yield done
        self.assertStored(3)


class LogTests(TestCase):
    """What an operator sees."""

    def test_lines(self) -> None:
        """One line for each message, one for each session; the server ends when told to."""
        with LiveServer(Path(self.mktemp()).absolute()) as server:
            with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                client.sendmail(SENDER, [RECIPIENT], b"Subject: one\r\n\r\none\r\n")
                client.sendmail(SENDER, [RECIPIENT], b"Subject: two\r\n\r\ntwo\r\n")
            log = server.stop()
        self.assertEqual(len(re.findall(rf": message \S+ from <{SENDER}>", log)), 2, log)
        self.assertEqual(len(re.findall(r"messages=2 .*: quit", log)), 1, log)
        self.assertNotIn("Traceback", log)
