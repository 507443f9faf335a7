"""The policies of ``twistd smtpserver``: each flag, and what it does to a client."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.names.client import Resolver
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from tests.support.talk import HELLO, MAIL, RCPT, brief, codes
from tests.support.twistdservice import makeTwistd
from twisted_smtpserver import ConfigurationError, SMTPHandler, tap
from twisted_smtpserver.handlers import CredHandler
from twisted_smtpserver.handlers.policies import (
    DNSBlockList,
    RateLimit,
    SenderMatchesLogin,
    Tarpit,
)
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.testing import Client, connect, runInline
from twisted_smtpserver.twistd import services as startup
from twisted_smtpserver.twistd.policies import GreylistService

PUBLIC = IPv4Address("TCP", "8.8.4.4", 40000)


class Picky(SMTPHandler):
    """A handler for ``--handler``: knows nobody, and lets everybody log in."""

    def onAuth(self, credentials: Any, session: object) -> str:
        return str(credentials.username)

    def onRcptTo(self, address: object, session: object) -> None:
        raise NotImplementedError

    def onData(self, stream: object, session: object) -> None:
        pass


class PolicyTests(SynchronousTestCase):
    """Each flag."""

    def make(self, *arguments: str) -> None:
        self.service, self.server = makeTwistd(*arguments)
        self.handler = self.server.factories()[0].handler

    def stages(self) -> list[Any]:
        return list(self.handler.stages)  # type: ignore[attr-defined]

    def stage(self, kind: type) -> Any:
        (found,) = [stage for stage in self.stages() if isinstance(stage, kind)]
        return found

    def arrive(self, peer: Any = None, **options: Any) -> Client:
        return connect(self.handler, peer, disableReverseLookup=True, **options)

    def greeting(self, peer: Any = None) -> tuple[int, str | None]:
        client = self.arrive(peer)
        assert client.greeting is not None
        return brief(client.greeting)

    def mail(self, *recipients: str) -> list[int]:
        """The answers to MAIL, and to RCPTs."""
        client = self.arrive()
        client.say(HELLO)
        return [client.say(line).code for line in (MAIL, *(recipients or [RCPT]))]

    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, arguments)
        self.assertEqual(str(error), reason)

    def test_none(self) -> None:
        """Without flags there are no policies, and no chain."""
        self.make("--discard")
        self.assertFalse(hasattr(self.handler, "stages"))

    def test_rateConnections(self) -> None:
        """Who comes too often gets 421, on whichever listener."""
        self.make("--discard", "--rate-connections=2/h", "--listen=25", "--listen-lmtp=24")
        self.assertEqual([self.greeting()[0] for _ in range(3)], [220, 220, 421])
        self.assertEqual(len({id(f.handler) for f in self.server.factories()}), 1)

    def test_rateMessages(self) -> None:
        """Who sends too many messages gets 450."""
        self.make("--discard", "--rate-messages=2/10m")
        self.assertEqual([self.mail()[0] for _ in range(3)], [250, 250, 450])

    def test_rateRecipients(self) -> None:
        """Likewise who sends to too many."""
        self.make("--discard", "--rate-recipients=2/30s")
        self.assertEqual(self.mail(*[RCPT] * 3), [250, 250, 250, 450])

    def test_rates(self) -> None:
        """Each has its own period."""
        self.make("--discard", "--rate-connections=9/d", "--rate-messages=2/10m")
        first, second = self.stages()[:2]
        self.assertEqual((first._limits["connections"], first._seconds), (9, 86400))
        self.assertEqual((second._limits["messages"], second._seconds), (2, 600))

    def test_badRates(self) -> None:
        """A rate is a number above 0, and a time above 0 with its unit."""
        for text in ("600", "600/3600", "0/h", "5/0s", "/h", "5/w", "-1/h", "1.5/h", "٣/h", "5 /h"):
            for what in ("connections", "messages", "recipients"):
                reason = f"--rate-{what}: {text!r} is not a rate such as 600/h or 20/10m"
                self.assertRefused(reason, f"--rate-{what}={text}")

    def test_dnsbl(self) -> None:
        """Who is listed isn't welcome; the flag may be repeated, and asks --resolver."""
        self.make("--discard", "--dnsbl=One.example,two.example", "--dnsbl=bücher.example")
        stage = self.stage(DNSBlockList)
        self.assertEqual(stage._zones, ("one.example", "two.example", "xn--bcher-kva.example"))
        self.assertIsNone(stage._resolver)
        self.make("--discard", "--dnsbl=one.example", "--resolver=192.0.2.53")
        stage = self.stage(DNSBlockList)
        self.assertIsInstance(stage._resolver, Resolver)
        asked: list[str] = []

        def lookupAddress(name: str) -> Deferred[Any]:
            asked.append(name)
            return Deferred()

        stage._resolver.lookupAddress = lookupAddress
        stage._reactor = Clock()
        client = self.arrive(PUBLIC)
        self.assertIsNone(client.greeting)
        self.assertEqual(asked, ["4.4.8.8.one.example"])
        stage._reactor.advance(5)
        self.assertEqual(codes(client.answers()), [220])

    def test_badZone(self) -> None:
        """A zone is a domain."""
        for text in ("a..b", "[192.0.2.1]", "192.0.2.1", "under_score", "x" * 300, "\udcff"):
            reason = f"--dnsbl: {text!r} is not a domain name"
            self.assertRefused(reason, "--dnsbl", f"one.example,{text}")

    def test_senderMatchesLogin(self) -> None:
        """Who has logged in sends as himself."""
        self.make(f"--handler={__name__}.Picky", "--sender-matches-login")
        client = self.arrive(allowInsecureAuth=True)
        client.say(HELLO)
        client.say("AUTH PLAIN AGpvZUBleGFtcGxlLm9yZwB4")  # joe@example.org
        self.assertEqual(brief(client.say("MAIL FROM:<ann@example.org>")), (553, "5.7.1"))
        self.assertEqual(client.say("MAIL FROM:<joe@example.org>").code, 250)

    def test_nobodyCanLogIn(self) -> None:
        """Where nobody can, that is a mistake."""
        error = self.assertRaises(SystemExit, self.make, "--discard", "--sender-matches-login")
        reason = "--sender-matches-login: needs --auth, or a --handler with onAuth"
        self.assertEqual(str(error), f"twistd smtpserver: {reason}")

    def test_tarpit(self) -> None:
        """Recipients are answered later and later: those whom the handler refuses, too."""
        self.make(f"--handler={__name__}.Picky", "--tarpit=2", "--tarpit-after=1")
        clock = self.stage(Tarpit)._reactor = Clock()
        client = self.arrive(authOptional=True, logger=False)
        client.say(HELLO)
        client.say(MAIL)
        self.assertEqual(client.say(RCPT).code, 451)
        for delay in (2, 4):
            client.send(RCPT.encode() + b"\r\n")
            clock.advance(delay - 0.5)
            self.assertEqual(client.answers(), [])
            clock.advance(0.5)
            self.assertEqual(codes(client.answers()), [451])
        self.flushLoggedErrors(NotImplementedError)

    def test_longestTarpit(self) -> None:
        """It never lasts like a handler that hangs."""
        for arguments, longest in (([], 20), (["--handler-timeout=10"], 5)):
            self.make("--discard", "--tarpit=0.5", *arguments)
            stage = self.stage(Tarpit)
            self.assertEqual((stage._after, stage._seconds, stage._longest), (20, 0.5, longest))

    def start(self) -> None:
        for service in self.service.services[:-1]:
            service.startService()
            if isinstance(service, GreylistService):
                service._greylist._runInThread = runInline

    def test_greylist(self) -> None:
        """The first try is refused. The file is made when the service starts, and closed late."""
        path = Path(self.mktemp())
        self.make("--discard", f"--greylist={path}", "--greylist-delay=0")
        self.assertFalse(path.exists())
        self.start()
        self.assertEqual([self.mail()[1] for _ in range(2)], [450, 250])
        self.assertTrue(path.exists())
        goes: Deferred[None] = Deferred()
        self.patch(self.server, "stopService", lambda: goes)
        stopped = self.service.stopService()
        self.assertEqual(self.mail(), [250, 250])  # a message in flight
        goes.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(Path(f"{path}-wal").exists())
        with capturedLogs() as events:
            self.assertEqual(self.mail(), [250, 250])
        texts = [formatEvent(event) for event in events]
        self.assertIn(
            f"Greylist {path.absolute()} can't be used, so nobody is greylisted: "
            "Cannot operate on a closed database.",
            texts,
        )

    def test_greylistDelay(self) -> None:
        """The delay has a default."""
        for arguments, delay in (([], 300), (["--greylist-delay=60"], 60)):
            self.make("--discard", f"--greylist={self.mktemp()}", *arguments)
            self.start()
            self.addCleanup(self.service.stopService)
            self.assertEqual(self.service.services[0]._greylist._delay, delay)

    def test_badGreylist(self) -> None:
        """A file that can't be opened is named."""
        path = os.path.join(self.mktemp(), "greylist.db")
        self.make("--discard", f"--greylist={path}")
        error = self.assertRaises(ConfigurationError, self.start)
        self.assertEqual(str(error), f"--greylist: {path!r}: unable to open database file")

    def test_sharedState(self) -> None:
        """Rates, the greylist and the options count in it; it is left when all clients are gone."""
        secret = Path(self.mktemp())
        secret.write_text("swordfish\n")
        self.make(
            *("--discard", "--rate-messages=9/h", "--greylist=shared", "--greylist-delay=7"),
            *("--shared-state=redis://h.example/3", f"--shared-state-password-file={secret}"),
        )
        rate, greylist = self.stages()[:2]
        state = rate._state
        self.assertIs(greylist._state, state)
        self.assertEqual(greylist._delay, 7)
        self.assertIs(self.server.factories()[0].options.state, state)
        self.assertEqual(state._address.password, "swordfish")
        self.assertNotIn("swordfish", repr(state))
        gone: list[None] = []

        async def close() -> None:
            gone.append(None)

        state.close = close
        self.successResultOf(self.service.stopService())
        self.assertEqual(gone, [None])

    def test_workersPassword(self) -> None:
        """Workers get what is in the file, as they mightn't be allowed to read it."""
        secret = Path(self.mktemp())
        secret.write_text("swordfish\n")
        flags = ["--discard", "--shared-state=redis://h", f"--shared-state-password-file={secret}"]
        parsed = tap.Options()
        parsed.parseOptions([*flags, "--workers=2"])
        service: Any = tap.makeService(parsed)
        supervisor = service.services[-1]
        self.addCleanup(supervisor._countsFile.close)
        handed = supervisor.configuration["handed"]
        self.assertEqual(
            handed, {"shared-state-password-file": {str(secret.absolute()): "swordfish"}}
        )
        secret.unlink()
        worker = tap.Options()
        worker.handover = mock.Mock(handed=handed, saltKey=b"x" * 32, path=None)
        worker.handover.groups = supervisor.configuration["groups"]
        worker.parseOptions(flags)
        self.assertEqual(worker["shared-state-password-file"], "swordfish")

    def test_badSharedState(self) -> None:
        """What makes no sense is said in a line, without what may be a password."""
        error = self.assertRaises(SystemExit, self.make, "--discard", "--shared-state=secret")
        self.assertTrue(
            str(error).startswith("twistd smtpserver: --shared-state: the URL of Redis isn't valid")
        )
        self.assertNotIn("secret", str(error))
        reason = "--shared-state-password-file: needs --shared-state"
        self.assertRefused(reason, f"--shared-state-password-file={__file__}")
        self.assertRefused("--greylist shared: needs --shared-state", "--greylist=shared")

    def test_needed(self) -> None:
        """What says more of another flag needs that."""
        self.assertRefused("--greylist-delay: needs --greylist", "--greylist-delay=5")
        self.assertRefused("--tarpit-after: needs --tarpit", "--tarpit-after=5")
        self.assertRefused("--tarpit: '-1' is not a number of seconds", "--tarpit=-1")

    def test_order(self) -> None:
        """Cheap ones first; the Maildir is started, too; logins and the handler are the last."""
        passwords = Path(self.mktemp())
        passwords.write_text("joe:sesame\n")
        self.make(
            f"--maildir={self.mktemp()}",
            f"--greylist={self.mktemp()}",
            *(f"--auth=file:{passwords}", "--secured"),
            *("--tarpit=1", "--dnsbl=one.example", "--sender-matches-login"),
            *("--rate-recipients=9/h", "--rate-messages=9/h", "--rate-connections=9/h"),
        )
        kinds = [*[RateLimit] * 3, SenderMatchesLogin, DNSBlockList, Tarpit, GreylistService]
        self.assertEqual([type(stage) for stage in self.stages()[:-1]], [*kinds, CredHandler])
        self.assertTrue(callable(self.stages()[-1].onData))
        self.assertEqual(
            [type(service) for service in self.service.services],
            [GreylistService, startup.PasswordFile, startup.MaildirService, SMTPService],
        )

    def test_reload(self) -> None:
        """New certificates forget nobody."""
        made = makeCertificate(None, ["mx.test"])
        cert, key = Path(self.mktemp()), Path(self.mktemp())
        cert.write_bytes(made.certPEM)
        key.write_bytes(made.keyPEM)
        self.make("--discard", "--rate-messages=1/h", f"--cert={cert}", f"--key={key}")
        self.assertEqual(self.mail()[0], 250)
        self.server.reloadCertificates()
        self.handler = self.server.factories()[0].handler
        self.assertEqual(self.mail()[0], 450)
