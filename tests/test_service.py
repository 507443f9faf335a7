"""The service: when it binds, what it says when it can't, how it stops, what SIGHUP does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import ConfigurationError, Discard
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import WARNING_INTERVAL, SMTPService
from twisted_smtpserver.testing import RecordingHandler, connect, makeFactory
from twisted_smtpserver.tls.renewal import INTERVAL, QUIET
from twisted_smtpserver.tls.replacing import certificatesOf


class Port:
    """A port that notes when it is closed."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] | None = None

    def getHost(self) -> str:
        return "a port"

    def stopListening(self) -> Deferred[None]:
        self.stopped = Deferred()
        return self.stopped


class Endpoint:
    """An endpoint whose answer is given beforehand."""

    def __init__(self, answer: Deferred[Any]) -> None:
        self.answer = answer
        self.factories: list[object] = []

    def listen(self, factory: object) -> Deferred[Any]:
        self.factories.append(factory)
        return self.answer


class Memory(MemoryReactorClock):
    """A reactor whose calls from threads are made when its time advances."""

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.callLater(0, function, *arguments)


class ListeningTests(SynchronousTestCase):
    """Beginning to listen, and ending it."""

    def serve(self, *endpoints: Any) -> SMTPService:
        factory = makeFactory(Discard())
        return SMTPService([(endpoint, factory) for endpoint in endpoints], Memory())

    def test_privileged(self) -> None:
        """All ports are bound before privileges are dropped, and not again after that."""
        memory = Memory()
        inbox, local = makeFactory(Discard()), makeFactory(Discard(), lmtp=True)
        service = SMTPService([("tcp:25", inbox), ("unix:/run/lmtp", local)], memory)
        service.privilegedStartService()
        self.assertEqual([(port, made) for port, made, *_ in memory.tcpServers], [(25, inbox)])
        self.assertEqual([path for path, *_ in memory.unixServers], ["/run/lmtp"])
        self.assertEqual(len(service.ports), 2)
        self.assertEqual(service.portsOf([local]), service.ports[1:])
        service.startService()
        self.assertEqual(len(memory.tcpServers), 1)

    def test_twoServices(self) -> None:
        """Two services for one factory: one's stop would be the other's end; in turn they may."""
        factory = makeFactory(Discard())
        first, second = (SMTPService([("tcp:25", factory)], Memory()) for _ in range(2))
        first.startService()
        error = self.assertRaises(ConfigurationError, second.startService)
        self.assertIn("put all listeners into one, or make a factory for each", str(error))
        first.stopService()
        second.startService()
        self.assertEqual(len(second.ports), 1)

    def test_unprivileged(self) -> None:
        """A service that is only started binds its ports then."""
        endpoint = Endpoint(succeed(Port()))
        service = self.serve(endpoint)
        service.startService()
        self.assertEqual(len(endpoint.factories), 1)
        self.assertTrue(service.running)

    def test_whatIsLogged(self) -> None:
        """The log says what is listened for, and where."""
        tls = makeFactory(Discard(), secure=True, selfSigned=True)
        local = makeFactory(Discard(), lmtp=True)
        where: Any = [(Endpoint(succeed(Port())), factory) for factory in (tls, local)]
        with capturedLogs() as events:
            SMTPService(where, Memory()).startService()
        self.assertEqual([event["what"] for event in events], ["SMTP over TLS", "LMTP"])

    def test_cannotListen(self) -> None:
        """If one port can't be bound the caller gets the error, and the other ports are closed."""
        port = Port()
        error = CannotListenError("", 25, OSError("in use"))
        service = self.serve(Endpoint(succeed(port)), Endpoint(fail(error)))
        self.assertIs(self.assertRaises(CannotListenError, service.startService), error)
        self.assertIsNotNone(port.stopped)
        self.assertEqual(service.ports, [])
        self.assertFalse(service.running)

    def test_brokenEndpoint(self) -> None:
        """An endpoint that raises is no different."""
        port = Port()
        broken: Any = Endpoint(succeed(None))
        broken.listen = lambda factory: 1 / 0
        service = self.serve(Endpoint(succeed(port)), broken)
        self.assertRaises(ZeroDivisionError, service.privilegedStartService)
        self.assertIsNotNone(port.stopped)

    def test_lateFailure(self) -> None:
        """An endpoint that fails only later is reported to the handler."""
        handler = RecordingHandler()
        failures: list[Any] = []
        handler.onError = lambda failure, session: failures.append(  # type: ignore[method-assign]
            (failure.value, session)
        )
        listening: Deferred[Any] = Deferred()
        service = SMTPService(
            [(Endpoint(listening), makeFactory(handler))],  # type: ignore[list-item]
            Memory(),
        )
        service.startService()
        error = OSError("too late")
        listening.errback(error)
        self.assertEqual(failures, [(error, None)])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_badDescription(self) -> None:
        """A description that is none is refused at once, in one line."""
        error = self.assertRaises(ConfigurationError, self.serve, "tpc:25")
        self.assertEqual(str(error), "endpoint 'tpc:25': Unknown endpoint type: 'tpc'")

    def test_stop(self) -> None:
        """The end has come when the ports are closed and the connections are gone."""
        port = Port()
        factory = makeFactory(Discard())
        factory.connections.add("somebody")  # type: ignore[arg-type]
        gone: Deferred[None] = Deferred()
        factory.shutdown = lambda closeTimeout=None: gone  # type: ignore[method-assign]
        service = SMTPService(
            [(Endpoint(succeed(port)), factory)],  # type: ignore[list-item]
            Memory(),
        )
        service.startService()
        stopped = service.stopService()
        self.assertFalse(service.running)
        assert port.stopped is not None
        port.stopped.callback(None)
        self.assertNoResult(stopped)
        gone.callback(None)
        self.assertIsNone(self.successResultOf(stopped))

    def test_stopWhileWaiting(self) -> None:
        """An endpoint that hasn't answered yet is told to give up."""
        cancelled: list[Any] = []
        listening: Deferred[Any] = Deferred(cancelled.append)
        service = self.serve(Endpoint(listening))
        service.startService()
        self.assertIsNone(self.successResultOf(service.stopService()))
        self.assertEqual(cancelled, [listening])
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])


class Greeted(LineReceiver):
    """A client that waits for lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.waiting: Deferred[bytes] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        waiting, self.waiting = self.waiting, Deferred()
        waiting.callback(line)


class DescriptorTests(SynchronousTestCase):
    """How many connections there may be by default."""

    def test_shared(self) -> None:
        """All that have no number of their own share the process's descriptors."""
        few = makeFactory(Discard(), maxClients=1)
        factories = [makeFactory(Discard()), makeFactory(Discard(), lmtp=True)]
        SMTPService([("tcp:25", each) for each in (*factories, few)], Memory())
        for each in factories:
            each.maxClients = 2
        greetings = [connect(each).greeting for each in (*factories, *factories, few, few)]
        codes = [greeting.code for greeting in greetings if greeting]
        self.assertEqual(codes, [220, 220, 421, 421, 220, 421])


class SocketTests(TestCase):
    """Over real sockets."""

    async def test_stopTellsClients(self) -> None:
        """A client that is connected is greeted, and told when the service stops."""
        factory = SMTPServerFactory(Discard(), name="mx.test", disableReverseLookup=True)
        service = SMTPService([("tcp:0:interface=127.0.0.1", factory)])
        service.startService()
        address: Any = service.ports[0].getHost()
        client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", address.port).connect(
            Factory.forProtocol(Greeted)
        )
        self.assertEqual((await client.waiting)[:11], b"220 mx.test")
        last = client.waiting
        stopped = service.stopService()
        self.assertEqual((await last)[:4], b"421 ")
        client.transport.loseConnection()
        await stopped


def told(events: Sequence[LogEvent]) -> list[str]:
    """What the log said of certificates."""
    return [text for text in map(formatEvent, events) if text.startswith("The certificate of")]


class CertificateCase(SynchronousTestCase):
    """A factory with certificates that are in files, and a reactor without sockets."""

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        self.signals: list[int] = []
        self.takeSignals()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.writeFiles()
        self.memory = Memory()
        self.factory = self.make()

    def takeSignals(self) -> None:
        """Take SIGHUP in the place of an application that has a use for it."""
        signal.signal(signal.SIGHUP, lambda number, frame: self.signals.append(number))

    def writeFiles(self, days: float = 90) -> None:
        made = makeCertificate(None, ["mx.test"], days=days)
        (self.folder / "cert").write_bytes(made.certPEM)
        (self.folder / "key").write_bytes(made.keyPEM)

    def make(self) -> SMTPServerFactory:
        """A factory with the files."""
        paths: Any = {name: str(self.folder / name) for name in ("cert", "key")}
        return makeFactory(Discard(), **paths)

    def start(self, *factories: SMTPServerFactory, **options: Any) -> SMTPService:
        self.ports = [Port() for _ in factories]
        where: Any = [
            (Endpoint(succeed(port)), factory)
            for port, factory in zip(self.ports, factories, strict=True)
        ]
        service = SMTPService(where, self.memory, **options)
        service.startService()
        return service

    def closed(self) -> None:
        """The ports are closed, as the service has asked for."""
        for port in self.ports:
            assert port.stopped is not None
            port.stopped.callback(None)

    def hangUp(self) -> None:
        """Send SIGHUP, and let the reactor do what was asked of it from the signal handler."""
        os.kill(os.getpid(), signal.SIGHUP)
        self.memory.advance(0)


class CertificateTests(CertificateCase):
    """Reading certificates again."""

    def test_signal(self) -> None:
        """SIGHUP replaces the certificate for new connections, and whoever had it gets it, too."""
        self.start(self.factory)
        before = self.factory.contextFactory
        self.writeFiles()
        with capturedLogs() as events:
            self.hangUp()
        self.assertIsNot(self.factory.contextFactory, before)
        self.assertEqual(self.signals, [signal.SIGHUP])
        self.assertIn("The certificates were read again", [e["log_format"] for e in events])

    def test_broken(self) -> None:
        """If the new files are no good the old certificate stays, and the log says why."""
        self.start(self.factory)
        before = self.factory.contextFactory
        (self.folder / "key").write_text("nothing")
        with capturedLogs() as events:
            self.hangUp()
        self.assertIs(self.factory.contextFactory, before)
        self.assertIn("no PEM key", str(events[-1]["error"]))

    def test_stopped(self) -> None:
        """After the service has stopped SIGHUP is what it was before."""
        earlier = signal.getsignal(signal.SIGHUP)
        service = self.start(self.factory)
        self.assertIsNot(signal.getsignal(signal.SIGHUP), earlier)
        service.stopService()
        self.closed()
        self.assertIs(signal.getsignal(signal.SIGHUP), earlier)

    def test_nothingToRead(self) -> None:
        """Without certificates, or with one of our own making, SIGHUP ends nothing."""
        made = makeFactory(Discard(), selfSigned=True)
        before = made.contextFactory
        started = self.start(makeFactory(Discard()), made)
        with capturedLogs() as events:
            self.hangUp()
        self.assertEqual(
            [formatEvent(e) for e in events], ["There are no certificates to read again"]
        )
        self.assertIs(made.contextFactory, before)
        self.assertFalse(self.successResultOf(started.reloadCertificates()))
        self.assertEqual(self.signals, [signal.SIGHUP])

    def test_bug(self) -> None:
        """Whatever else goes wrong is logged, and the old certificate stays."""
        started = self.start(self.factory)
        broken: Any = self.factory
        broken.prepareSecureContext = lambda **changes: 1 / 0
        self.assertFalse(self.successResultOf(started.reloadCertificates()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_draining(self) -> None:
        """While messages in flight may finish, SIGHUP doesn't end the server."""
        earlier = signal.getsignal(signal.SIGHUP)
        service = self.start(self.factory)
        gone: Deferred[None] = Deferred()
        self.factory.shutdown = lambda closeTimeout=None: gone  # type: ignore[method-assign]
        stopped = service.stopService()
        self.closed()
        self.hangUp()
        self.assertIsNot(signal.getsignal(signal.SIGHUP), earlier)
        gone.callback(None)
        self.successResultOf(stopped)
        self.assertIs(signal.getsignal(signal.SIGHUP), earlier)

    def test_told(self) -> None:
        """Each certificate is named in the log, at the start and when it was read again."""
        for start in (lambda: self.start(self.factory, self.factory), self.hangUp):
            with capturedLogs() as events:
                start()
            (text,) = told(events)
            self.assertRegex(text, "^The certificate of mx.test expires on 20..-..-..$")

    def test_warned(self) -> None:
        """One that ends soon is a warning, at the start and once a day; one that doesn't isn't."""
        self.writeFiles(days=3.5)
        factory = self.make()
        with capturedLogs() as events:
            self.start(factory, self.factory)
        warnings = [each for each in events if each["log_level"] is LogLevel.warn]
        (text,) = told(warnings)
        self.assertRegex(text, "^The certificate of mx.test expires on 20.*, in 3 days: it should")
        for _ in range(3):
            with capturedLogs() as events:
                self.memory.advance(WARNING_INTERVAL)
            self.assertEqual(told(events), [text])

    def test_expiry(self) -> None:
        """The service knows when the first of its certificates ends, if it has any."""
        self.assertIsNone(self.start(makeFactory(Discard())).certificateExpiry)
        self.writeFiles(days=3.5)
        made = self.start(self.make(), self.factory)
        assert made.certificateExpiry is not None
        self.assertEqual((made.certificateExpiry - datetime.now(timezone.utc)).days, 3)

    def test_reasons(self) -> None:
        """What is wrong with files that several factories have is said once."""
        self.start(self.factory, self.make())
        (self.folder / "key").write_text("nothing")
        with capturedLogs() as events:
            self.hangUp()
        self.assertEqual(len(events), 1)

    def test_defaultAction(self) -> None:
        """An earlier handler that can't be called, the default, isn't; it is put back, though."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        service = self.start(self.factory)
        self.hangUp()
        service.stopService()
        self.closed()
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)

    def test_takenOver(self) -> None:
        """Whoever took SIGHUP over since the start keeps it, and may go on calling us."""
        service = self.start(self.factory)
        ours: Any = signal.getsignal(signal.SIGHUP)
        self.takeSignals()
        theirs = signal.getsignal(signal.SIGHUP)
        service.stopService()
        self.closed()
        self.assertIs(signal.getsignal(signal.SIGHUP), theirs)
        before = self.factory.contextFactory
        ours(signal.SIGHUP, None)
        self.memory.advance(0)
        self.assertIs(self.factory.contextFactory, before)

    def test_otherThread(self) -> None:
        """In another thread than the main one, Python allows no signal handlers: there is none."""
        earlier = signal.getsignal(signal.SIGHUP)
        services: list[SMTPService] = []
        thread = threading.Thread(target=lambda: services.append(self.start(self.factory)))
        thread.start()
        thread.join()
        self.assertTrue(services[0].running)
        self.assertIs(signal.getsignal(signal.SIGHUP), earlier)


class RenewalTests(CertificateCase):
    """New files are found without a signal."""

    def look(self, times: int = 1) -> list[str]:
        """Let the files be looked at, and again when they may be quiet; what the log says."""
        with capturedLogs() as events:
            for _ in range(times):
                self.memory.advance(INTERVAL)
                self.memory.advance(QUIET)
        return [formatEvent(each) for each in events if each["log_level"] is not LogLevel.info]

    def write(self, name: str, content: bytes) -> None:
        """Replace a file: a new one is renamed."""
        (self.folder / "new").write_bytes(content)
        os.replace(self.folder / "new", self.folder / name)

    def test_renewed(self) -> None:
        """New files are used once they are quiet, by all factories; until then they aren't."""
        other = self.make()
        self.start(self.factory, other)
        before = self.factory.contextFactory
        self.look()
        self.assertIs(self.factory.contextFactory, before)
        self.writeFiles()
        self.memory.advance(INTERVAL - QUIET)
        self.assertIs(self.factory.contextFactory, before)
        self.memory.advance(QUIET)
        self.assertIsNot(self.factory.contextFactory, before)
        found = certificatesOf([self.factory, other])
        self.assertEqual(len(found), 1)
        self.assertEqual(found[0].public_bytes(Encoding.PEM), (self.folder / "cert").read_bytes())

    def test_pair(self) -> None:
        """A new certificate with the old key waits for its key, and that is said once."""
        self.start(self.factory)
        before = self.factory.contextFactory
        made = makeCertificate(None, ["mx.test"], days=90)
        self.write("cert", made.certPEM)
        reason = "key and cert: the key doesn't belong to the certificate"
        expected = [f"Keeping the old certificates until both are new: {reason}"]
        self.assertEqual(self.look(3), expected)
        self.assertIs(self.factory.contextFactory, before)
        self.write("key", made.keyPEM)
        self.assertEqual(self.look(), [])
        self.assertEqual(certificatesOf([self.factory]), [made.certificate])

    def test_sameKey(self) -> None:
        """A new certificate for the old key is used."""
        made = makeCertificate(None, ["mx.test"], days=30)
        self.write("key", made.keyPEM)
        self.write("cert", made.certPEM)
        factory = self.make()
        self.start(factory)
        new = makeCertificate(None, ["mx.test"], key=made.key, days=90)
        self.write("cert", new.certPEM)
        self.assertEqual(self.look(), [])
        self.assertEqual(certificatesOf([factory]), [new.certificate])

    def test_damaged(self) -> None:
        """Files that are no good leave the old ones in use, with one line of the log."""
        self.start(self.factory, self.make())
        before = self.factory.contextFactory
        self.write("cert", b"-----BEGIN CERTIFICATE-----\nMIIB")
        (text,) = self.look(3)
        self.assertRegex(
            text, r"^Keeping the old certificates: cert \('.*'\): it has no PEM certificate"
        )
        (self.folder / "cert").unlink()
        (text,) = self.look(3)
        self.assertIn("can't be read: No such file or directory", text)
        self.assertIs(self.factory.contextFactory, before)

    def test_neverStarted(self) -> None:
        """A service that wasn't started can be stopped; nothing is looked at, nobody is served."""
        self.assertTrue(self.start(self.factory, renewalInterval=0).isServing)
        self.memory = Memory()
        made = SMTPService([("tcp:25", self.factory)], self.memory)
        self.assertFalse(made.isServing)
        self.successResultOf(made.stopService())
        self.assertEqual(self.memory.getDelayedCalls(), [])

    def test_off(self) -> None:
        """With 0 only SIGHUP has them read, and nobody waits for the other one of a pair."""
        self.start(self.factory, renewalInterval=0)
        before = self.factory.contextFactory
        self.write("cert", makeCertificate(None, ["mx.test"]).certPEM)
        self.assertEqual(self.look(3), [])
        with capturedLogs() as events:
            self.hangUp()
        self.assertEqual(events[-1]["log_level"], LogLevel.error)
        self.assertIs(self.factory.contextFactory, before)
        self.writeFiles()
        self.hangUp()
        self.assertIsNot(self.factory.contextFactory, before)

    def test_signalFirst(self) -> None:
        """What SIGHUP had read isn't read once more."""
        self.start(self.factory)
        self.writeFiles()
        self.hangUp()
        before = self.factory.contextFactory
        self.look()
        self.assertIs(self.factory.contextFactory, before)
