"""Real filters before a real Maildir, with the configuration of the how-tos."""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import re
import signal
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.mailservices import (
    VIRUS,
    MailService,
    NameServer,
    makeFolder,
    remove,
    startClamAV,
    startNameServer,
    startOpenDKIM,
    startOpenDMARC,
    startRspamd,
)
from twisted_smtpserver import Chain, Maildir, SMTPServerFactory
from twisted_smtpserver.filters import Filtered, Milter, RequireAuthentication
from twisted_smtpserver.filters.milter.pool import Pool
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.wire.authresults import Authentication

NAME = "mx.example.com"
ANN, BOB = "ann@example.com", "bob@example.org"
HEADER = (
    f"From: Ann <{ANN}>\r\nTo: {BOB}\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
    "Message-ID: <one@example.com>\r\nSubject: hello\r\n\r\n"
).encode()
CLEAN = HEADER + b"Hello, Bob\r\n"
LARGE = CLEAN + b"".join(b"Line %d of a message that goes into a file\r\n" % n for n in range(2000))
FORGED = f"Authentication-Results: {NAME}; dmarc=pass\r\n".encode()
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"

#: Who may send for example.com, and somebody else.
FRIEND, STRANGER = "192.0.2.10", "203.0.113.7"
RECORDS = {
    "example.com": f"v=spf1 ip4:{FRIEND} -all",
    "_dmarc.example.com": "v=DMARC1; p=none",
}


class MilterCase(TestCase):
    """
    What the tests here share: a server whose milters are one kind of program.

    :cvar services: the programs, which all tests of a class share.
    """

    timeout = 60
    services: list[MailService] = []
    folder: Path
    socket = "milter.sock"

    def setUp(self) -> None:
        """Start them before the first test: not every runner calls setUpClass."""
        own = type(self)
        if not own.services:
            own.folder = makeFolder()
            atexit.register(own.tearDownClass)
            own.services = own.start()

    @classmethod
    def start(cls) -> list[MailService]:
        """Start the programs."""
        raise NotImplementedError

    @classmethod
    def tearDownClass(cls) -> None:
        """End them."""
        services, cls.services = cls.services, []
        for service in services:
            service.kill()
            remove(service.folder)

    def serve(self, *behind: object, sockets: tuple[str, ...] = (), **keywords: Any) -> None:
        """A server with such milters, and what comes behind them."""
        self.known: list[Authentication] = []
        milters = [
            Milter(f"unix:{self.folder}/{name}", hostName=NAME, **keywords)
            for name in sockets or (self.socket,)
        ]
        self.maildir = Path(self.mktemp())
        handler = Chain(
            fromFunctions(
                onTransactionEnd=lambda envelope, *_: self.known.append(envelope.authentication)
            ),
            Filtered(Maildir(self.maildir), *milters, *behind, authservId=NAME, memory=1000),
        )
        factory = SMTPServerFactory(handler, logger=False, useXClient=["127.0.0.1"])
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        for milter in milters:
            self.addCleanup(milter.close)
        self.addCleanup(factory.shutdown, 1)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def send(self, *messages: bytes, address: str | None = None) -> Any:
        """The answers to messages of one client, who is said to have an address."""

        def run() -> Iterator[tuple[Any, ...]]:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client:
                client.ehlo("client.example.com")
                if address is not None:
                    client.docmd(f"XCLIENT ADDR={address} NAME=client.example.com")
                    client.ehlo("client.example.com")
                for message in messages:
                    try:
                        client.sendmail(ANN, [BOB], message)
                        yield 250, b""
                    except smtplib.SMTPDataError as error:
                        yield error.args
                    except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused) as error:
                        yield 450, str(error).encode()

        return deferToThread(lambda: list(run()))

    def stored(self) -> list[bytes]:
        """The messages in the Maildir, in the order in which they came."""
        paths = sorted((self.maildir / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in paths]


def descriptors() -> int:
    """How many sockets and files without a name this process has open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of this list is closed already
            target = os.readlink(f"/proc/self/fd/{number}")
            count += target.startswith("socket:") or target.endswith("(deleted)")
    return count


class Failing:
    """What every program has to stand: being stopped, and being killed."""

    serve: Callable[..., None]
    send: Callable[..., Any]
    stored: Callable[[], list[bytes]]
    assertEqual: Callable[..., None]
    assertLessEqual: Callable[..., None]
    services: list[MailService]
    port: int

    @inlineCallbacks
    def check(self, signalNumber: int, onFailure: str, code: int) -> Any:
        """
        Stop the program when the message has begun, and look at the answer. Another client of the
        program goes on meanwhile, and nothing is left open behind them.
        """
        service = self.services[-1]
        self.serve(onFailure=onFailure, commandTimeout=1, messageTimeout=1)
        before = descriptors()

        def run() -> tuple[int, set[int]]:
            with (
                smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as client,
                smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE) as other,
            ):
                for each in (client, other):
                    each.ehlo("client.example.com")
                    each.docmd(f"XCLIENT ADDR={FRIEND} NAME=client.example.com")
                    each.ehlo("client.example.com")  # OpenDMARC doesn't judge its own host
                client.mail(ANN)
                client.rcpt(BOB)
                client.docmd("DATA")
                client.send(LARGE[:-5000])
                service.signal(signalNumber)
                client.send(LARGE[-5000:] + b".\r\n")
                noops = {other.noop()[0] for _ in range(20)}
                return client.getreply()[0], noops

        answer, noops = yield deferToThread(run)
        self.assertEqual((answer, len(self.stored())), (code, 1 if code == 250 else 0))
        self.assertEqual(noops, {250})
        for _ in range(PATIENCE * 50):
            if descriptors() <= before:
                break
            yield deferLater(reactor, 0.02)
        self.assertLessEqual(descriptors(), before)

    @inlineCallbacks
    def test_hangs(self) -> Any:
        """One that hangs in the middle of a message: 451, or the message as it came."""
        try:
            yield self.check(signal.SIGSTOP, "tempfail", 451)
            self.services[-1].signal(signal.SIGCONT)
            yield self.check(signal.SIGSTOP, "accept", 250)
        finally:
            self.services[-1].signal(signal.SIGCONT)
        self.serve()
        (answer,) = yield self.send(CLEAN)
        self.assertEqual(answer[0], 250)

    @inlineCallbacks
    def test_killed(self) -> Any:
        """One that is killed in the middle of a message: 451; the next one is asked again."""
        yield self.check(signal.SIGKILL, "tempfail", 451)
        self.restart()
        self.serve()
        (answer,) = yield self.send(CLEAN)
        self.assertEqual(answer[0], 250)

    def restart(self) -> None:
        """Start the program again."""
        self.services[-1] = self.services[-1].again()


class RspamdTests(Failing, MilterCase):
    """rspamd, which has a name server that knows example.com."""

    names: NameServer

    @classmethod
    def start(cls) -> list[MailService]:
        """A name server, and rspamd."""
        program = need("rspamd")
        cls.names = NameServer(RECORDS)
        return [startRspamd(program, cls.folder, cls.names.port)]

    @inlineCallbacks
    def test_spam(self):
        """Spam is refused, in its words; the rest has its fields in front."""
        self.serve()
        answers = yield self.send(HEADER + GTUBE, CLEAN)
        self.assertEqual(answers[0][0], 554)
        self.assertIn(b"Gtube", answers[0][1])
        self.assertEqual(answers[1][0], 250)
        (stored,) = self.stored()
        self.assertIn(b"X-Spamd-Bar: ", stored)
        self.assertTrue(stored.endswith(b"\r\n\r\nHello, Bob\r\n"))

    @inlineCallbacks
    def test_authentication(self):
        """What it finds out reaches the handler; what somebody claims doesn't."""
        self.serve()
        answers = yield self.send(FORGED + CLEAN, address=FRIEND)
        self.assertEqual(answers[0][0], 250)
        (known,) = self.known
        self.assertEqual((known.spf.result, known.dmarc.result), ("pass", "pass"))
        self.assertEqual(known.spf.properties["smtp.mailfrom"], ANN)
        (stored,) = self.stored()
        self.assertEqual(len(re.findall(rb"(?m)^Authentication-Results:", stored)), 1)

    @inlineCallbacks
    def test_required(self):
        """Whoever isn't who they say stays out."""
        self.serve(RequireAuthentication("dmarc"))
        (friend,) = yield self.send(CLEAN, address=FRIEND)
        (stranger,) = yield self.send(FORGED + CLEAN, address=STRANGER)
        self.assertEqual(friend[0], 250)
        self.assertEqual((stranger[0], stranger[1][:6]), (550, b"5.7.26"))
        self.assertEqual(len(self.stored()), 1)

    @inlineCallbacks
    def test_reuse(self):
        """One connection serves one client after the other, and each has its own verdict."""
        self.serve(reuse=True)
        made: list[Any] = []
        connect = Pool.connect
        self.patch(Pool, "connect", lambda pool: (made.append(pool), connect(pool))[1])
        for address, result in [(FRIEND, "pass"), (STRANGER, "fail")] * 2:
            (answer,) = yield self.send(CLEAN, address=address)
            self.assertEqual(answer[0], 250)
            self.assertEqual(self.known[-1].spf.result, result)
        self.assertEqual(len(made), 1)

    @inlineCallbacks
    def test_large(self):
        """A message of 10 MiB goes through it, and through a file."""
        self.serve()
        # No text: this rspamd crashes when a rule takes long.
        header = HEADER.replace(b"\r\n\r\n", b"\r\nContent-Type: application/octet-stream\r\n\r\n")
        content = header + b"".join([b"0123456789abcdef" * 60 + b"\r\n"] * 10_000)
        answers = yield self.send(content)
        self.assertEqual(answers[0][0], 250)
        (stored,) = self.stored()
        self.assertEqual(stored.partition(b"\r\n\r\n")[2], content.partition(b"\r\n\r\n")[2])


class ClamAVTests(Failing, MilterCase):
    """clamav-milter and clamd, with one signature."""

    @classmethod
    def start(cls) -> list[MailService]:
        """Both."""
        return list(startClamAV(need("clamd"), need("clamav-milter"), cls.folder))

    @inlineCallbacks
    def test_virus(self):
        """A virus is refused, also in an attachment; the rest goes through, with a field."""
        attached = (
            HEADER.replace(b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\n")
            + b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        )
        self.serve()
        answers = yield self.send(
            HEADER + VIRUS + b"\r\n", attached + base64.encodebytes(VIRUS), CLEAN
        )
        self.assertEqual([code for code, _ in answers], [550, 550, 250])
        self.assertIn(b"Infected: Ours.Test", answers[0][1])
        (stored,) = self.stored()
        self.assertIn(b"X-Virus-Status: Clean\r\n", stored)


def openssl(*command: str) -> str:
    """What OpenSSL says."""
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout


class OpenDKIMTests(Failing, MilterCase):
    """OpenDKIM, which signs what comes from one address, and verifies the rest."""

    socket = "opendkim.sock"

    @classmethod
    def start(cls) -> list[MailService]:
        """OpenDKIM, with a key."""
        program = need("opendkim")
        key = cls.folder / "mail.private"
        openssl(need("openssl"), "genrsa", "-out", str(key), "2048")
        key.chmod(0o644)
        public = openssl("openssl", "rsa", "-in", str(key), "-pubout")
        text = "".join(line for line in public.splitlines() if "-" not in line)
        record = f"mail._domainkey.example.com v=DKIM1; k=rsa; p={text}\n"
        return [startOpenDKIM(program, cls.folder, key, FRIEND, record)]

    @inlineCallbacks
    def test_signed(self):
        """What it signed it verifies; where the body was changed it says so."""
        self.serve()
        yield self.send(CLEAN, address=FRIEND)
        (stored,) = self.stored()
        signed = stored[stored.index(b"DKIM-Signature:") :]
        changed = signed.replace(b"Hello, Bob", b"Hello, Rob")
        answers = yield self.send(signed, changed, CLEAN, address=STRANGER)
        self.assertEqual([code for code, _ in answers], [250] * 3)
        results = [known.dkim and known.dkim.result for known in self.known[1:]]
        self.assertEqual(results, ["pass", "fail", "none"])
        self.assertEqual(self.known[1].dkim.properties["header.d"], "example.com")

    @inlineCallbacks
    def test_required(self):
        """A signature may be asked for."""
        self.serve(RequireAuthentication("dkim"))
        (answer,) = yield self.send(CLEAN, address=STRANGER)
        self.assertEqual((answer[0], answer[1][:6]), (550, b"5.7.20"))

    def test_twistd(self) -> None:
        """The flag of twistd does the same, in each of several workers."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        socket = f"unix:{self.folder}/{self.socket}"
        flags = ("--name", NAME, "--milter", socket, "--require-authentication", "dkim,dmarc")
        for more in ((), ("--workers", "2")):
            with LiveServer(folder, *flags, *more) as server:
                with smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE) as client:
                    error = self.assertRaises(
                        smtplib.SMTPDataError, client.sendmail, ANN, [BOB], FORGED + CLEAN
                    )
                    self.assertEqual((error.smtp_code, error.smtp_error[:6]), (550, b"5.7.26"))
                log = server.stop()
            self.assertIn("is refused by <RequireAuthentication dkim, dmarc>", log)

    @inlineCallbacks
    def test_dmarc(self):
        """OpenDMARC behind it takes what it says, and reports on its own."""
        folder = makeFolder()
        self.addCleanup(remove, folder)
        dmarc = startOpenDMARC(need("opendmarc"), folder)
        self.addCleanup(dmarc.kill)
        self.serve(Milter(f"unix:{folder}/opendmarc.sock", hostName=NAME))
        (answer,) = yield self.send(CLEAN, address=STRANGER)
        self.assertEqual(answer[0], 250)
        methods = {each.method for each in self.known[0]}
        self.assertLessEqual({"dkim", "dmarc"}, methods)


class OpenDMARCTests(Failing, MilterCase):
    """OpenDMARC, which judges by SPF alone, as a name server of ours has it."""

    socket = "opendmarc.sock"
    names: NameServer | None

    @classmethod
    def start(cls) -> list[MailService]:
        """A name server, where there may be one, and OpenDMARC."""
        program = need("opendmarc")
        cls.names = startNameServer(RECORDS)
        return [startOpenDMARC(program, cls.folder, cls.names)]

    @inlineCallbacks
    def test_verdict(self):
        """What it finds out reaches the handler; who isn't who they say stays out."""
        self.serve(RequireAuthentication("dmarc"))
        (friend,) = yield self.send(CLEAN, address=FRIEND)
        (stranger,) = yield self.send(FORGED + CLEAN, address=STRANGER)
        self.assertEqual([each.method for each in self.known[0]], ["dmarc", "spf"])
        if self.names is None:  # then it has asked the machine's own, which knows nothing
            self.assertEqual(self.stored(), [])
            return
        self.assertEqual((friend[0], stranger[0], stranger[1][:6]), (250, 550, b"5.7.26"))
        self.assertEqual([known.dmarc.result for known in self.known], ["pass", "fail"])
        self.assertEqual(self.known[0].dmarc.properties["header.from"], "example.com")
        self.assertEqual(len(self.stored()), 1)
