"""The files of users, senders and recipients, and Dovecot, as flags of ``twistd smtpserver``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.folders import enterFolder
from tests.support.talk import sayScram
from tests.support.twistdservice import makeTwistd
from tests.users.test_table import BCRYPT
from twisted_smtpserver import ConfigurationError, tap
from twisted_smtpserver.handlers import cred
from twisted_smtpserver.sasl import scramSecret
from twisted_smtpserver.tables import Recipients
from twisted_smtpserver.testing import Client, connect, runInline
from twisted_smtpserver.twistd.logins import DovecotService
from twisted_smtpserver.twistd.openness import OpenServer, isReachable
from twisted_smtpserver.users import DovecotAuth, Htpasswd

_OPEN = (
    "Accepts mail to any address from anybody who can reach 0.0.0.0 port 25: give --recipients "
    "FILE, or --auth METHOD for users, unless that is intended"
)
JOE = b"AUTH PLAIN AGpvZQBzZXNhbWU=\r\n"  # joe, sesame


class TableTestCase(SynchronousTestCase):
    """A folder with such files."""

    def setUp(self) -> None:
        self.folder = folder = enterFolder(self)
        scram = scramSecret("sesame").toString()
        (folder / "users").write_text(f"joe:{BCRYPT}\n")
        (folder / "scram").write_text(f"joe:{scram}\n")
        (folder / "passwd").write_text("ann:secret\n")
        (folder / "plain").write_text("joe:sesame\n")
        (folder / "senders").write_text("joe sales@example.com\n")
        (folder / "recipients").write_text("sales@example.com joe@example.com\n")

    def make(self, *arguments: str) -> MultiService:
        self.service, server = makeTwistd(*arguments)
        self.factory = server.factories()[0]
        return self.service

    def start(self, *arguments: str) -> list[str]:
        """Start all but the ports; what was logged."""
        with capturedLogs() as events:
            for service in self.make(*arguments).services[:-1]:
                service.startService()
        return [formatEvent(event) for event in events]

    def stages(self, kind: type) -> list[Any]:
        handler: Any = self.factory.handler
        return [stage for stage in getattr(handler, "stages", [handler]) if isinstance(stage, kind)]

    def client(self) -> Client:
        options = self.factory.options
        client = connect(
            self.factory.handler,
            allowInsecureAuth=True,
            authMethods=options.authMethods,
            authFailureDelay=0,
        )
        self.offered = client.say("EHLO client.example").lines
        return client

    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, arguments)
        self.assertEqual(str(error), reason)


class HtpasswdTests(TableTestCase):
    flags = ("--discard", "--allow-insecure-auth")

    def startWith(self, *arguments: str) -> list[str]:
        said = self.start(*self.flags, *arguments)
        for stage in self.stages(Htpasswd):
            self.patch(stage._checks, "_runInThread", runInline)
        return said

    def test_users(self) -> None:
        """Users of the file log in by PLAIN; the path is where twistd was started."""
        self.startWith("--auth=htpasswd:users")
        client = self.client()
        self.assertIn("AUTH PLAIN LOGIN", self.offered)
        client.send(JOE)
        self.assertEqual(client.answers()[0].code, 235)
        [stage] = self.stages(Htpasswd)
        self.assertEqual(stage._file.path, str(self.folder / "users"))

    def test_scram(self) -> None:
        """SCRAM is offered where the file has what it takes."""
        self.startWith("--auth=htpasswd:scram")
        client = self.client()
        self.assertIn("AUTH SCRAM-SHA-256 PLAIN LOGIN", self.offered)
        self.assertEqual(sayScram(client).code, 334)
        self.assertEqual(client.say("").code, 235)

    def test_plainText(self) -> None:
        """Plain text is taken only if the operator says so, and the error says how."""
        self.make(*self.flags, "--auth=htpasswd:plain")
        error = self.assertRaises(ConfigurationError, self.service.services[0].startService)
        self.assertRegex(
            str(error), r"\A--auth: '.*plain': line 1: this is not a hash: .*--auth-plain-text"
        )
        self.startWith("--auth=htpasswd:plain", "--auth-plain-text")
        client = self.client()
        client.send(JOE)
        self.assertEqual(client.answers()[0].code, 235)

    def test_methods(self) -> None:
        """Mechanisms that the file can't serve are refused at the start, or said."""
        for methods, reason in {
            "CRAM-MD5,PLAIN": "--auth: CRAM-MD5 needs every password in plain text: leave it out",
            "SCRAM-SHA-256": "--auth: nobody could log in by SCRAM-SHA-256: each user in the file",
        }.items():
            self.make(*self.flags, "--auth=htpasswd:users", f"--auth-methods={methods}")
            error = self.assertRaises(ConfigurationError, self.service.services[0].startService)
            self.assertTrue(str(error).startswith(reason), error)
        said = self.startWith("--auth=htpasswd:users", "--auth-methods=scram-sha-256,plain")
        self.assertEqual(said[0][:28], "SCRAM is offered as soon as ")
        said = self.startWith("--auth=htpasswd:users", "--auth-methods=PLAIN,XOAUTH2")
        self.assertEqual(said, [])
        self.assertEqual(self.startWith("--auth=htpasswd:scram", "--auth-methods=PLAIN"), [])
        self.startWith("--auth=htpasswd:plain", "--auth-plain-text", "--auth-methods=CRAM-MD5")

    def test_together(self) -> None:
        """With other methods beside it, what all of them can check is offered."""
        self.patch(cred, "deferToThread", runInline)
        self.startWith("--auth=htpasswd:scram", "--auth=file:passwd")
        client = self.client()
        self.assertIn("AUTH PLAIN LOGIN", self.offered)
        self.assertEqual(client.say("AUTH PLAIN AGFubgBzZWNyZXQ=").code, 235)

    def test_refused(self) -> None:
        """What makes no sense is refused on the command line."""
        missing = str(self.folder / "none")
        self.assertRefused(
            f"--auth: there is no file {missing!r}", *self.flags, "--auth=htpasswd:none"
        )
        self.assertRefused(
            "--auth htpasswd: there can be only one file of users",
            *(*self.flags, "--auth=htpasswd:users", "--auth=htpasswd:scram"),
        )
        self.assertRefused(
            "--auth-plain-text: needs --auth htpasswd:FILE", "--discard", "--auth-plain-text"
        )
        self.assertRefused(
            "--auth: needs --cert and --key, --self-signed, --secured or --allow-insecure-auth",
            *("--discard", "--auth=htpasswd:users"),
        )
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, ["--auth=htpasswd"])
        self.assertIn("needs ", str(error))

    def test_workers(self) -> None:
        """The workers' salts for users who aren't there are the same."""
        parsed = tap.Options()
        parsed.parseOptions([*self.flags, "--auth=htpasswd:scram"])
        parsed.keywords["scramSaltKey"] = b"k" * 32
        service = tap.makeService(parsed)
        assert isinstance(service, MultiService)
        server: Any = service.services[-1]
        [stage] = [s for s in server.factories()[0].handler.stages if isinstance(s, Htpasswd)]
        self.assertEqual(stage._saltKey, b"k" * 32)

    def test_help(self) -> None:
        """--help-auth lists our methods, and then twisted.cred's."""
        parsed = tap.Options()
        parsed.authOutput = io.StringIO()
        self.assertRaises(SystemExit, parsed.parseOptions, ["--help-auth"])
        text = parsed.authOutput.getvalue()
        self.assertIn("  --auth htpasswd:FILE   users with hashed passwords", text)
        self.assertIn("  --auth dovecot:SOCKET", text)
        self.assertIn("memory", text)


class DovecotTests(TableTestCase):
    flags = ("--discard", "--allow-insecure-auth")

    def test_stage(self) -> None:
        """Dovecot is asked; it is tried at the start, and closed after the last connection."""
        self.make(*self.flags, "--auth=dovecot:/run/dovecot/auth-client")
        [stage] = self.stages(DovecotAuth)
        calls: list[str] = []
        self.patch(stage, "check", lambda: calls.append("check"))
        self.patch(stage, "close", lambda: calls.append("close"))
        service: Any = self.service.services[0]
        self.assertIsInstance(service, DovecotService)
        service.startService()
        service.close()
        self.assertEqual(calls, ["check", "close"])
        self.assertIn("AUTH PLAIN LOGIN", (self.client(), self.offered)[1])

    def test_endpoint(self) -> None:
        """What is neither a path nor an endpoint is said in a line."""
        error = self.assertRaises(SystemExit, self.make, *self.flags, "--auth=dovecot:socket")
        self.assertRegex(
            str(error),
            r"\Atwistd smtpserver: --auth dovecot: 'socket' is neither a socket's path nor",
        )
        self.assertRefused(
            "--auth-methods: nobody could log in; --auth can check PLAIN, LOGIN and CRAM-MD5, and "
            "EXTERNAL with --request-cert",
            *(*self.flags, "--auth=dovecot:/x", "--auth-methods=SCRAM-SHA-256"),
        )


class SendersTests(TableTestCase):
    flags = ("--discard", "--allow-insecure-auth", "--auth=htpasswd:users", "--senders=senders")

    def test_senders(self) -> None:
        """Users send as the file says, and as themselves."""
        self.start(*self.flags)
        for stage in self.stages(Htpasswd):
            self.patch(stage._checks, "_runInThread", runInline)
        client = self.client()
        client.send(JOE)
        self.assertEqual(client.answers()[0].code, 235)
        codes = [
            client.say(f"MAIL FROM:<{sender}>").code
            for sender in ("ann@example.com", "sales@example.com")
        ]
        self.assertEqual(codes, [553, 250])

    def test_refused(self) -> None:
        """Without a login or a file it makes no sense."""
        error = self.assertRaises(SystemExit, self.make, "--discard", "--senders=senders")
        self.assertIn("--senders: needs --auth", str(error))
        missing = str(self.folder / "none")
        self.assertRefused(
            f"--senders: there is no file {missing!r}", *self.flags[:3], "--senders=none"
        )


class RecipientsTests(TableTestCase):
    def rcpt(self, *recipients: str) -> list[int]:
        client = connect(self.factory.handler, authOptional=True)
        client.say("EHLO client.example")
        client.say("MAIL FROM:<sue@x.example>")
        return [client.say(f"RCPT TO:<{each}>").code for each in recipients]

    def test_recipients(self) -> None:
        """Who isn't in the file is refused; the file's path is where twistd was started."""
        said = self.start("--discard", "--recipients=recipients")
        self.assertIn("doesn't say who reads mail to postmaster", said[0])
        self.assertEqual(self.rcpt("sales+x@example.com", "eve@example.com"), [250, 550])
        handler: Any = self.factory.handler
        self.assertIsInstance(handler.stages[-1], Recipients)
        self.assertEqual(handler.stages[-1]._file.path, str(self.folder / "recipients"))

    def test_order(self) -> None:
        """Who isn't in the file has no place in the greylist; filters come before the store."""
        self.start(
            *("--discard", "--recipients=recipients", "--greylist=grey", "--require-fields"),
            *("--rate-recipients=9/h",),
        )
        handler: Any = self.factory.handler
        self.assertEqual(
            [type(stage).__name__ for stage in handler.stages],
            ["RateLimit", "RecipientGate", "GreylistService", "Filtered"],
        )
        self.assertEqual(self.rcpt("eve@example.com"), [550])
        self.service.services[1].close()

    def test_delimiter(self) -> None:
        """Another delimiter, or none."""
        for value, codes in (("-", [550, 250]), ("none", [550, 550])):
            self.start("--discard", "--recipients=recipients", f"--recipient-delimiter={value}")
            self.assertEqual(self.rcpt("sales+x@example.com", "sales-x@example.com"), codes)

    def test_relay(self) -> None:
        """Users who have logged in may send on, if the operator says so."""
        self.start(
            *("--discard", "--recipients=recipients", "--relay-for-users", "--auth-optional"),
            *("--auth=htpasswd:users", "--allow-insecure-auth"),
        )
        for stage in self.stages(Htpasswd):
            self.patch(stage._checks, "_runInThread", runInline)
        client = self.client()
        client.send(JOE)
        client.answers()
        client.say("MAIL FROM:<joe@example.com>")
        self.assertEqual(client.say("RCPT TO:<eve@else.example>").code, 250)
        self.assertEqual(self.rcpt("eve@else.example"), [550])

    def test_refused(self) -> None:
        """What makes no sense is refused on the command line; a broken file at the start."""
        for name in ("recipient-delimiter=-", "relay-for-users"):
            flag = name.partition("=")[0]
            self.assertRefused(f"--{flag}: needs --recipients", "--discard", f"--{name}")
        missing = str(self.folder / "none")
        self.assertRefused(
            f"--recipients: there is no file {missing!r}", "--discard", "--recipients=none"
        )
        Path("recipients").write_text("joe\n")
        self.make("--discard", "--recipients=recipients")
        error = self.assertRaises(ConfigurationError, self.service.services[0].startService)
        self.assertRegex(str(error), r"\A--recipients: '.*': line 1: an address must be written as")


class OpennessTests(TableTestCase):
    """What a server says that takes mail for everybody."""

    class Port:
        """A port that is bound there."""

        def __init__(self, address: Any) -> None:
            self.getHost = lambda: address

    def said(self, *arguments: str, addresses: tuple[Any, ...] = ()) -> list[str]:
        services = self.make(*arguments).services
        found = [service for service in services if isinstance(service, OpenServer)]
        if not found:
            return ["known"]
        ports: Any = [self.Port(each) for each in addresses]
        self.patch(found[0]._server, "portsOf", lambda factories: ports)
        with capturedLogs() as events:
            found[0].startService()
        return [formatEvent(event) for event in events]

    def test_open(self) -> None:
        """Beyond loopback it says so in a line that names the cure; on loopback it says nothing."""
        everywhere = IPv4Address("TCP", "0.0.0.0", 25)
        here = IPv4Address("TCP", "127.0.0.1", 25), IPv6Address("TCP", "::1", 25)
        self.assertEqual(
            self.said("--discard", addresses=(everywhere, *here)),
            [_OPEN],
        )
        self.assertEqual(self.said("--discard", addresses=here), [])
        self.assertEqual(self.said("--discard", addresses=(UNIXAddress("/run/x"),)), [])
        self.assertTrue(isReachable(IPv6Address("TCP", "fe80::1%eth0", 25)))

    def test_known(self) -> None:
        """Where something is known of who may send, or to whom, it has nothing to say."""
        login = ("--auth=htpasswd:users", "--allow-insecure-auth")
        for flags in (
            ("--discard", "--recipients=recipients"),
            ("--discard", *login),
            ("--handler=twisted_smtpserver.handlers.Discard",),
        ):
            self.assertEqual(self.said(*flags), ["known"])
        self.assertEqual(self.said("--discard", "--auth-optional", *login), [])

    def test_workers(self) -> None:
        """The supervisor says it, not each worker."""
        parsed = tap.Options()
        parsed.parseOptions(["--discard", "--workers=2"])
        service = tap.makeService(parsed)
        assert isinstance(service, MultiService)
        self.assertIsInstance(service.services[0], OpenServer)
        supervisor: Any = service.services[-1]
        self.addCleanup(supervisor._countsFile.close)
        self.patch(parsed, "handover", object())
        self.assertEqual(tap._openFactories(parsed, []), [])
