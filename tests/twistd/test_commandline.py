"""``twistd smtpserver``: its flags, what it refuses, and the service that comes of them."""

from __future__ import annotations

import dataclasses
import errno
import gc
import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.error import CannotListenError
from twisted.logger import Logger, LogPublisher, capturedLogs
from twisted.names.client import Resolver
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import (
    Chain,
    ConfigurationError,
    Discard,
    SMTPHandler,
    options,
    tap,
)
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.message.groupcommit import GroupCommit
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.testing import connect, runInline
from twisted_smtpserver.tls.renewal import INTERVAL
from twisted_smtpserver.twistd import services
from twisted_smtpserver.twistd.flags import FLAGS, Flag

#: The options without a flag, and why.
FLAGLESS = {
    "tls": "an object; --cert and --key are for the command line",
    "logger": "twistd has flags for its log",
    "metrics": "an object; --metrics makes one",
    "state": "an object; --shared-state makes one",
    "scramSaltKey": "a secret, and everybody can see a command line",
}


class MadeByClass(SMTPHandler):
    """A handler for ``--handler``."""

    def onAuth(self, credentials: object, session: object) -> str:
        return "joe"


madeAlready = MadeByClass()


def makeHandler() -> SMTPHandler:
    """A factory for ``--handler``."""
    return MadeByClass()


def onData(stream: object, session: object) -> None:
    """A hook: this module is a handler, too."""


def parse(*arguments: str) -> tap.Options:
    parsed = tap.Options()
    parsed.parseOptions(arguments)
    return parsed


def allFlags() -> list[Flag]:
    return [flag for flags in FLAGS.values() for flag in flags]


class FlagTests(SynchronousTestCase):
    """The table of flags, and what their values may be."""

    def test_everyOption(self) -> None:
        """Each option has a flag, or a reason for having none."""
        named = {flag.option for flag in allFlags()} - {""}
        fields = {field.name for field in dataclasses.fields(options.Options) if field.init}
        self.assertEqual(named | set(FLAGLESS), fields)
        self.assertEqual(named & set(FLAGLESS), set())

    def test_everyFlag(self) -> None:
        """Each flag in the table is taken, and there is no other; no two have the same name."""
        names = [flag.name for flag in allFlags()]
        known = {name.rstrip("=") for name in tap.Options().longOpt}
        self.assertEqual(set(names), known)
        self.assertEqual(len(names), len(set(names)))

    def test_help(self) -> None:
        """The help has each flag with its value and default, and fits into the terminal."""
        self.patch(os, "environ", {"COLUMNS": "100"})
        text = str(tap.Options())
        for flag in allFlags():
            self.assertIn(f"\n  --{flag.name} {flag.value}".rstrip(), text)
        self.assertIn("messages in flight [default: 30]\n", text)
        self.assertIn("TCP_NODELAY [default: yes]\n", text)
        self.assertIn("offer [default: PLAIN,LOGIN]\n", text)
        self.assertIn("for localhost, to try things out\n", text)
        for width in (80, 100):
            lines = tap.Options().getUsage(width).splitlines()
            self.assertLessEqual(max(map(len, lines)), width)

    def assertValue(self, expected: object, option: str, *arguments: str) -> None:
        self.assertEqual(parse(*arguments).keywords[option], expected)

    def test_values(self) -> None:
        """Values become what the options want."""
        passphrase = Path(self.mktemp())
        passphrase.write_text("sesame\n")
        self.assertValue(52428800, "size")
        self.assertValue(0, "size", "--size=0")
        self.assertValue(1000, "size", "--size=1000")
        self.assertValue(20 * 1024, "size", "--size=20k")
        self.assertValue(3 * 2**30, "size", "--size=3GiB")
        self.assertValue(17, "maxRecipients", "--max-recipients=17")
        self.assertValue(2.5, "socketTimeout", "--socket-timeout=2.5")
        self.assertValue(False, "noDelay", "--no-delay=no")
        self.assertValue(True, "noDelay", "--no-delay=YES")
        self.assertValue(7, "maxAllowedUnauthenticatedCommands", "--max-allowed=7")
        self.assertValue(False, "maxAllowedUnauthenticatedCommands", "--max-allowed=0")
        self.assertValue(
            "sesame", "passphrase", "--passphrase-file", str(passphrase), "--self-signed"
        )
        self.assertValue(True, "disableReverseLookup", "--no-reverse-lookup")
        self.assertValue(True, "disableReverseLookup", "--disable-reverse-lookup")
        self.assertValue("mx.test", "name", "--name=mx.test")

    def test_lists(self) -> None:
        """Lists are separated by commas, and their flags may be repeated."""
        repeated = ("--hide=size,dsn", "--hide=CHUNKING")
        self.assertValue(["size", "dsn", "CHUNKING"], "hide", *repeated)
        networks = ("--proxy-from=192.0.2.1", "--proxy-from=2001:db8::/32")
        self.assertValue(["192.0.2.1", "2001:db8::/32"], "useProxy", *networks)
        self.assertValue(True, "useXClient", "--xclient-from=any")
        files = {"cert": os.path.abspath("c.pem"), "key": os.path.abspath("k.pem")}
        names = ("--self-signed", "--sni-options=a.test:c.pem:k.pem", "--sni-options=b:c.pem:k.pem")
        self.assertValue({"a.test": files, "b": files}, "sniOptions", *names)

    def test_resolver(self) -> None:
        """A name server is an address, with a port or without."""
        for text, server in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5353", ("192.0.2.1", 5353)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ):
            resolver = parse("--resolver", text).keywords["resolver"]
            self.assertIsInstance(resolver, Resolver)
            self.assertEqual(resolver.servers, [server])

    def test_submission(self) -> None:
        """Submission means that TLS is required."""
        self.assertValue(True, "tlsRequired", "--submission", "--self-signed")
        self.assertValue(True, "tlsRequired", "--submission", "--secured")


class RefusalTests(SynchronousTestCase):
    """Command lines that make no sense."""

    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(usage.UsageError, parse, *arguments)
        self.assertEqual(str(error), reason)

    def test_values(self) -> None:
        """A value that is no value of the flag's is refused, and the flag is named."""
        self.assertRefused("--size: '5x' is not a size such as 50M", "--size=5x")
        self.assertRefused("--port: 65536 is not a port number", "--port=65536")
        self.assertRefused("--port: 'smtp' is not a whole number", "--port=smtp")
        self.assertRefused("--close-timeout: '-1' is not a number of seconds", "--close-timeout=-1")
        self.assertRefused("--no-delay: 'maybe' is neither yes nor no", "--no-delay=maybe")
        self.assertRefused("--sni-options: 'a:b' is not NAME:CERT:KEY", "--sni-options=a:b")
        reason = "--renewal-interval: 0.5 is neither 0 nor at least 1"
        self.assertRefused(reason, "--renewal-interval=0.5")
        self.assertRefused("--resolver: 99999 is not a port number", "--resolver=192.0.2.1:99999")
        for text in ("dns.example", "[192.0.2.1", "192.0.2.1:", "a:b:c"):
            advice = "is not an address such as 192.0.2.53 or [2001:db8::53]:53"
            self.assertRefused(f"--resolver: {text!r} {advice}", "--resolver", text)

    def test_empty(self) -> None:
        """An empty value would mean something else for each flag, and is never meant."""
        for flag in ("host", "maildir", "auth-methods", "name", "size", "xclient-from"):
            for value in ("", " "):
                self.assertRefused(f"--{flag}: its value is empty", f"--{flag}={value}")

    def test_passphraseFile(self) -> None:
        """A file that can't be read is refused, without a word of what may be the passphrase."""
        reason = "--passphrase-file: can't read the file: "
        self.assertRefused(reason + "No such file or directory", "--passphrase-file=sesame")
        path = Path(self.mktemp())
        path.write_bytes(b"\xff")
        self.assertRefused(reason + "it isn't UTF-8", "--passphrase-file", str(path))

    def test_options(self) -> None:
        """What the options refuse is said in flags."""
        reason = "--bare-newlines: 'foo' is not one of reject, normalize, accept"
        self.assertRefused(reason, "--bare-newlines=foo")
        reason = "--proxy-from: 'here' is neither an address nor a network"
        self.assertRefused(reason, "--proxy-from=here")
        self.assertRefused("key and cert go together: one of them is missing", "--key=k.pem")
        reason = "tls, key with cert, and --self-signed: choose one of them"
        self.assertRefused(reason, "--key=k", "--cert=c", "--self-signed")

    def test_listenersAreChecked(self) -> None:
        """What only a listener's own options have against it is said, too."""
        reason = "--secured: TLS ends upstream: leave out the certificate"
        self.assertRefused(reason, "--self-signed", "--secured")
        parse("--self-signed", "--listen-tls=465", "--listen-lmtp=24")

    def test_handlers(self) -> None:
        """Messages go to one place."""
        stores = "--maildir, --discard, --handler, --postgres, --forward, --webhook and --amqp"
        reason = f"{stores}: choose one of them"
        self.assertRefused(reason, "--maildir=mail", "--discard")

    def test_host(self) -> None:
        """A host without a port that it could belong to is a mistake."""
        reason = "--host: needs a port given by number"
        self.assertRefused(reason, "--host=::1", "--listen=tcp:25")
        parse("--host=::1", "--listen=tcp:25", "--port=26")
        parse("--host=::1")

    def test_certificate(self) -> None:
        """What needs a certificate isn't there without one."""
        for flag in ("listen-tls=465", "secure", "submission", "tls-required", "request-cert"):
            name = flag.partition("=")[0]
            reason = f"--{name}: needs --cert and --key, or --self-signed"
            self.assertRefused(reason, f"--{flag}")
        parse("--secured", "--tls-required")

    def test_submission(self) -> None:
        """Submission without a login is none, and LMTP isn't for submission."""
        for flag in ("auth-optional", "lmtp", "listen-lmtp=24"):
            name = flag.partition("=")[0]
            reason = f"--submission and --{name} contradict each other"
            self.assertRefused(reason, "--submission", "--self-signed", f"--{flag}")
        reason = "--submission: needs AUTH, which is disabled"
        self.assertRefused(reason, "--submission", "--secured", "--disabled-commands=auth")

    def test_passwordFile(self) -> None:
        """A file of passwords that doesn't exist would let nobody in."""
        path = os.path.join(os.getcwd(), "no", "such")
        self.assertRefused(f"--auth: there is no file {path!r}", "--auth=file:no/such")
        reason = "--auth: there is no file '/no/such'"
        self.assertRefused(reason, "--auth=memory:joe:sesame", "--auth=file:/no/such")
        self.assertRefused("--auth: Unexpected error: 'file' requires a filename", "--auth=file: ")
        reason = "there is no method 'fill'; did you mean 'file'? (--help-auth lists them)"
        self.assertRefused(f"--auth: {reason}", "--auth=fill:passwd")
        self.assertRefused("--auth: needs dovecot:SOCKET", "--auth=dovecot: ")

    def test_passwordFileInChroot(self) -> None:
        """Inside of --chroot it is another file, and so isn't looked for yet."""
        for chroot, problem in (("/jail", None), (None, SystemExit)):
            parsed = tap.Options()
            parsed.parent = usage.Options()
            parsed.parent["chroot"] = chroot
            arguments = ["--auth=file:no/such", "--secured"]
            if problem is None:
                parsed.parseOptions(arguments)
                self.assertEqual(parsed["credCheckers"][0].filename, "no/such")
            else:
                self.assertRaises(problem, parsed.parseOptions, arguments)

    def test_certificateInChroot(self) -> None:
        """So are the files of a certificate, when they are read again."""
        for chroot, expected in (("/jail", "c"), (None, os.path.abspath("c"))):
            parsed = tap.Options()
            parsed.parent = usage.Options()
            parsed.parent["chroot"] = chroot
            parsed.parseOptions(["--cert=c", "--key=/k"])
            self.assertEqual((parsed.keywords["cert"], parsed.keywords["key"]), (expected, "/k"))

    def test_loginNotOffered(self) -> None:
        """A login that is required and offered to nobody is refused, unless mail can come."""
        auth = "--auth=memory:joe:sesame"
        self.assertRefused(
            "--auth: needs --cert and --key, --self-signed, --secured or --allow-insecure-auth",
            *(auth, "--port=25", "--proxy-from=any"),
        )
        for flags in (
            ["--cert=c", "--key=k"],
            ["--self-signed"],
            ["--secured"],
            ["--allow-insecure-auth"],
            ["--auth-optional"],
            ["--xclient-from=192.0.2.1"],
            ["--disabled-commands=auth"],
        ):
            parse(auth, *flags)

    def test_uselessMethods(self) -> None:
        """So are mechanisms none of which --auth can check, unless a handler may."""
        reason = (
            "--auth-methods: nobody could log in; --auth can check PLAIN, LOGIN and CRAM-MD5, and "
            "EXTERNAL with --request-cert"
        )
        flags = ("--auth=memory:joe:sesame", "--self-signed", "--auth-methods")
        for methods in ("SCRAM-SHA-256", "xoauth2,scram-sha-256-plus", "EXTERNAL", ","):
            self.assertRefused(reason, *flags, methods)
            parse(*flags, methods, "--auth-optional")
            parse(*flags, methods, "--xclient-from=192.0.2.1")
            parse(*flags, methods, "--handler=a.handler")
        parse(*flags, "EXTERNAL", "--request-cert")
        parse(*flags, "SCRAM-SHA-256,PLAIN")
        parse(*flags, "FOO")  # that there is no such thing is said later

    def test_underTwistd(self) -> None:
        """Under twistd the reason is all that is printed."""
        parsed = tap.Options()
        parsed.parent = usage.Options()
        error = self.assertRaises(SystemExit, parsed.parseOptions, ["--sise=5"])
        reason = "option --sise not recognized; did you mean --size? (see --help)"
        self.assertEqual(str(error), f"twistd smtpserver: {reason}")

    def test_unknown(self) -> None:
        """A flag that doesn't exist is named, and the one that was meant if there is one."""
        meant = "did you mean --max-clients?"
        self.assertRefused(f"option --max-client-s not recognized; {meant}", "--max-client-s=5")
        self.assertRefused("option --xyz not recognized", "--xyz")
        self.assertRefused("Wrong number of arguments.", "xyz")


class ServiceTests(SynchronousTestCase):
    """The service that comes of it."""

    def make(self, *arguments: str) -> MultiService:
        service = tap.makeService(parse(*arguments))
        self.assertTrue(IService.providedBy(service))
        assert isinstance(service, MultiService)
        return service

    def listeners(self, *arguments: str) -> list[tuple[str, int, Any]]:
        """Interface, port and factory of each listener."""
        server = self.make(*arguments).services[-1]
        assert isinstance(server, SMTPService)
        return [(e._interface, e._port, factory) for e, factory in server._listeners]  # type: ignore[attr-defined]

    def where(self, *arguments: str) -> list[tuple[str, int]]:
        return [found[:2] for found in self.listeners("--discard", *arguments)]

    def handler(self, *arguments: str) -> Any:
        return self.listeners(*arguments)[0][2].handler

    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(SystemExit, tap.makeService, parse(*arguments))
        self.assertEqual(str(error), f"twistd smtpserver: {reason}")

    def test_renewal(self) -> None:
        """The service looks at the files of certificates as often as it is told."""
        for flags, expected in (
            (["--renewal-interval=0"], 0),
            (["--renewal-interval=2.5"], 2.5),
            (["--workers=2", "--renewal-interval=7"], 7),
            ([], INTERVAL),
            (["--workers=2"], INTERVAL),
        ):
            server: Any = self.make("--discard", *flags).services[-1]
            self.assertEqual(server._watch._interval, expected)
            if flags[:1] == ["--workers=2"]:
                server._countsFile.close()

    def test_ports(self) -> None:
        """Port 2525 on loopback is listened on only if nothing else is asked for."""
        self.assertEqual(self.where(), [("127.0.0.1", 2525)])
        self.assertEqual(self.where("--host=0.0.0.0"), [("0.0.0.0", 2525)])
        self.assertEqual(self.where("--port=25"), [("127.0.0.1", 25)])
        self.assertEqual(self.where("--port=25", "--host=::1"), [("::1", 25)])
        self.assertEqual(
            self.where("--port=25", "--port=587"), [("127.0.0.1", 25), ("127.0.0.1", 587)]
        )
        self.assertEqual(self.where("--listen=tcp:25"), [("", 25)])
        self.assertEqual(self.where("--listen-lmtp=24"), [("127.0.0.1", 24)])

    def test_factories(self) -> None:
        """Each kind of listener has a factory of its own; all other options are the same."""
        found = self.listeners(
            "--discard",
            "--self-signed",
            "--name=mx.test",
            "--listen=25",
            "--listen=587",
            "--listen-tls=465",
            "--listen-lmtp=24",
        )
        plain, other, tls, lmtp = (factory for _, _, factory in found)
        self.assertIs(plain, other)
        self.assertEqual([f.options.secure for f in (plain, tls, lmtp)], [False, True, False])
        self.assertEqual([f.options.lmtp for f in (plain, tls, lmtp)], [False, False, True])
        self.assertEqual({f.options.name for f in (plain, tls, lmtp)}, {"mx.test"})
        self.assertEqual(len({f.handler for f in (plain, tls, lmtp)}), 1)

    def test_maildir(self) -> None:
        """The Maildir is made when the service starts, not before: that may be as another user."""
        path = Path(self.mktemp())
        service = self.make("--maildir", str(path), "--name=mx.test", "--port=0")
        self.assertFalse(path.exists())
        service.services[0].startService()
        self.assertEqual(sorted(os.listdir(path)), ["cur", "new", "tmp"])
        client = connect(service.services[-1]._listeners[0][1].handler)
        maildir = client.protocol.factory.handler.onData.__self__._maildir
        maildir._runInThread = runInline
        maildir._commit = GroupCommit(runInline)
        self.assertEqual(client.deliver(b"\r\n").code, 250)
        made: Any = client.factory.handler
        self.assertIsNone(self.successResultOf(made.ready()))
        (stored,) = (path / "new").iterdir()
        self.assertIn("mx.test", stored.name)

    def test_maildirIsFile(self) -> None:
        """A Maildir that is a file is said to be one."""
        path = Path(self.mktemp()).absolute()
        path.touch()
        preparation = self.make(f"--maildir={path}").services[0]
        error = self.assertRaises(ConfigurationError, preparation.startService)
        self.assertEqual(str(error), f"--maildir: '{path}' is not a folder")

    def test_passwordFile(self) -> None:
        """At the start the file must be readable, where it was when the flags were read."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        path = folder / "passwd"
        path.touch()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        service = self.make("--discard", "--auth=file:passwd", "--secured").services[0]
        os.chdir("/")
        service.startService()
        path.unlink()
        error = self.assertRaises(ConfigurationError, service.startService)
        reason = f"--auth: '{path}' can't be read: No such file or directory"
        self.assertEqual(str(error), reason)

    def test_discard(self) -> None:
        """Messages may be thrown away."""
        self.assertIsInstance(self.handler("--discard"), Discard)

    def test_handler(self) -> None:
        """A handler is an object, a class, a function that makes one, or a module with hooks."""
        for name in ("MadeByClass", "madeAlready", "makeHandler"):
            self.assertIsInstance(self.handler(f"--handler={__name__}.{name}"), MadeByClass)
        self.assertIs(self.handler(f"--handler={__name__}"), sys.modules[__name__])

    def test_handlerInCurrentFolder(self) -> None:
        """A handler may stand in a file in the current folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "handlerintestoftap.py").write_text("def onData(stream, session): pass")
        self.patch(sys, "path", list(sys.path))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        self.assertEqual(
            self.handler("--handler=handlerintestoftap").__name__, "handlerintestoftap"
        )

    def test_noHandler(self) -> None:
        """What isn't a handler, or can't be made, is refused."""
        reason = "--handler: no.such: ObjectNotFound: 'no.such' does not name an object"
        self.assertRefused(reason, "--handler=no.such")
        reason = "--handler: os.path has none of the hooks, such as onData"
        self.assertRefused(reason, "--handler=os.path")
        error = self.assertRaises(SystemExit, tap.makeService, parse("--handler=os.fspath"))
        self.assertIn("--handler: os.fspath: TypeError: ", str(error))

    def test_auth(self) -> None:
        """Logins are checked before the handler is asked anything."""
        passwords = Path(self.mktemp())
        passwords.write_text("joe:sesame\n")
        handler = self.handler("--discard", f"--auth=file:{passwords}", "--allow-insecure-auth")
        self.assertIsInstance(handler, Chain)
        self.assertIsNotNone(findHook(handler, "onAuth"))
        self.assertIsNotNone(findHook(handler, "onData"))

    def test_nobodyCanLogIn(self) -> None:
        """What is about logins makes no sense where there are none; a handler may have them."""
        for flags in (["--submission", "--self-signed"], ["--auth-optional"]):
            reason = f"{flags[0]}: needs --auth, or a --handler with onAuth"
            self.assertRefused(reason, "--discard", *flags)
        self.make(f"--handler={__name__}.MadeByClass", "--submission", "--self-signed")

    def test_files(self) -> None:
        """Keys are read when the service is made, as root if need be; trouble is said in flags."""
        made = makeCertificate(None, ["mx.test"])
        cert, key = Path(self.mktemp()), Path(self.mktemp())
        cert.write_bytes(made.certPEM)
        key.write_bytes(made.keyPEM)
        factory = self.listeners("--discard", f"--cert={cert}", f"--key={key}")[0][2]
        self.assertIsNotNone(factory.contextFactory)
        reason = f"--key ({os.path.abspath('nowhere')!r}): can't be read: No such file or directory"
        self.assertRefused(reason, "--discard", f"--cert={cert}", "--key=nowhere")

    def test_otherTrouble(self) -> None:
        """Endpoints and extensions that don't exist are refused in one line, too."""
        reason = "endpoint 'tpc:25': Unknown endpoint type: 'tpc'"
        self.assertRefused(reason, "--discard", "--listen=tpc:25")
        error = self.assertRaises(SystemExit, tap.makeService, parse("--extension=FOO"))
        self.assertIn("there is no extension 'FOO'", str(error))

    def test_selfSigned(self) -> None:
        """A certificate that nobody can trust is spoken of."""
        with capturedLogs() as events:
            self.make("--discard", "--self-signed")
        self.assertIn("self-signed", events[0]["log_format"])


class Broken(Service):
    """A service that doesn't start."""

    def privilegedStartService(self) -> None:
        raise CannotListenError("", 25, OSError("in use"))

    def startService(self) -> None:
        raise ConfigurationError("something is\nwrong")


class StartTests(SynchronousTestCase):
    """What is said if the service can't start."""

    def setUp(self) -> None:
        self.patch(sys, "excepthook", sys.excepthook)
        self.server = services.Server()

    def assertOneLine(self, error: BaseException, line: str) -> None:
        """What Python would print of the error, which twistd lets pass."""
        output = io.StringIO()
        self.patch(sys, "stderr", output)
        sys.excepthook(type(error), error, None)
        self.assertEqual(output.getvalue(), line)

    def test_ports(self) -> None:
        """A port that can't be bound is named."""
        Broken().setServiceParent(self.server)
        error = self.assertRaises(CannotListenError, self.server.privilegedStartService)
        self.assertOneLine(error, "twistd smtpserver: Couldn't listen on any:25: in use.\n")

    def test_socket(self) -> None:
        """A unix socket that can't be made is named, and its folder."""
        folder = os.path.abspath(self.mktemp())
        path = f"{folder}/lmtp"
        service = tap.makeService(parse("--discard", f"--listen-lmtp=unix:{path}"))
        error = self.assertRaises(FileNotFoundError, service.privilegedStartService)
        line = f"twistd smtpserver: Couldn't listen on unix:{path}: "
        self.assertOneLine(error, f"{line}the folder '{folder}' doesn't exist\n")
        lock = f"{path}.lock".encode()
        denied = PermissionError(errno.EACCES, "Permission denied", "17", None, lock)
        self.assertOneLine(denied, f"{line}'{folder}': Permission denied\n")
        other = PermissionError(errno.EACCES, "Permission denied", "a", None, b"b")
        self.assertOneLine(other, f"twistd smtpserver: {other}\n")

    def test_garbage(self) -> None:
        """Once it serves, the garbage collector passes over what the start has made."""
        done: list[str] = []
        for name in ("collect", "freeze"):
            self.patch(gc, name, lambda name=name: done.append(name))
        self.server.startService()
        self.assertEqual(done, [])
        application = MultiService()
        self.server.setServiceParent(application)
        application.startService()
        self.assertEqual(done, ["collect", "freeze"])

    def test_later(self) -> None:
        """What fails after that is said likewise."""
        Broken().setServiceParent(self.server)
        error = self.assertRaises(ConfigurationError, self.server.startService)
        self.assertOneLine(error, "twistd smtpserver: something is wrong\n")

    def test_failedWorkers(self) -> None:
        """If no worker could be started, the last that twistd logs is the end, with status 1."""
        started = tap.makeService(parse("--discard", "--workers=2"))
        assert isinstance(started, services.Server)
        supervisor: Any = started.services[-1]
        self.addCleanup(supervisor._countsFile.close)
        for hasFailed in (False, True):
            supervisor.hasFailed = hasFailed
            publisher = LogPublisher()
            self.patch(services, "globalLogPublisher", publisher)
            started._close([])
            log = Logger(observer=publisher)
            log.info("Main loop terminated.")
            if hasFailed:
                error = self.assertRaises(SystemExit, log.info, "Server Shut Down.")
                self.assertEqual(error.code, 1)
            else:
                log.info("Server Shut Down.")

    def test_nothing(self) -> None:
        """If nothing fails, exceptions are none of our business."""
        hook = sys.excepthook
        self.server.privilegedStartService()
        self.server.startService()
        self.assertIs(sys.excepthook, hook)
