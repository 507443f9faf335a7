"""The factory: what it is made of, how many it lets in, how it stops, new certificates."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import MAIL, RCPT, Later, Log, brief, talk
from twisted_smtpserver import (
    Chain,
    ConfigurationError,
    Discard,
    Options,
    Rejection,
    SMTPHandler,
    SMTPServerFactory,
)
from twisted_smtpserver.factory import SPARE_DESCRIPTORS
from twisted_smtpserver.filters import Filtered, Milter
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.states import Phase
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.testing import (
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)

CONTENT = b"Subject: test\r\n\r\nHello\r\n"


class HandlerKindsTests(SynchronousTestCase):
    """Anything with a hook is a handler."""

    def test_object(self):
        """Any object, whatever its class."""

        class Plain:
            def onRcptTo(self, address, session):
                raise Rejection("no")

        self.assertEqual(connect(Plain()).deliver(CONTENT).code, 550)

    def test_subclass(self):
        """A subclass of SMTPHandler."""
        handler = RecordingHandler()
        self.assertEqual(connect(handler).deliver(CONTENT).code, 250)
        self.assertEqual(handler.messages[0].content, CONTENT)

    def test_bareSMTPHandler(self):
        """SMTPHandler itself accepts everything, and keeps nothing."""
        self.assertEqual(connect(SMTPHandler()).deliver(CONTENT).code, 250)

    def test_functions(self):
        """Functions by the hooks' names."""
        senders = []
        client = connect(onMailFrom=lambda address, session: senders.append(address.address))
        self.assertEqual(client.deliver(CONTENT).code, 250)
        self.assertEqual(senders, ["joe@example.org"])

    def test_nothing(self):
        """None at all: everything is accepted and thrown away."""
        self.assertEqual(connect().deliver(CONTENT).code, 250)

    def test_chain(self):
        """A chain of several."""
        recording = RecordingHandler()
        client = connect(Chain(SMTPHandler(), recording))
        self.assertEqual(client.deliver(CONTENT).code, 250)
        self.assertEqual(len(recording.messages), 1)

    def test_assignedLater(self):
        """A hook assigned to the handler counts from then on, in sessions that are open, too."""
        handler = SMTPHandler()
        client = talk(Phase.MAIL, handler)

        def refuse(address, session):
            raise Rejection("no")

        self.assertEqual(client.say(RCPT).code, 250)
        handler.onRcptTo = refuse
        self.assertEqual(client.say(RCPT).code, 550)
        del handler.onRcptTo
        self.assertEqual(client.say(RCPT).code, 250)

    def test_none(self):
        """What has no hook isn't one."""
        for wrong in (object(), 5, "onData", {"onData": print}):
            with self.assertRaisesRegex(ConfigurationError, "has none of the hooks: onAuth, "):
                makeFactory(wrong)

    def test_both(self):
        """An object and functions can't be had together."""
        with self.assertRaisesRegex(ConfigurationError, "either a handler object or hooks"):
            makeFactory(Discard(), onData=print)

    def test_noFunction(self):
        """A hook can be called."""
        with self.assertRaisesRegex(ConfigurationError, "onData is not a function"):
            makeFactory(onData=5)


class OptionsTests(SynchronousTestCase):
    """Options by name, or all in one object."""

    def test_byName(self):
        """By name."""
        self.assertEqual(makeFactory(size=1000).options.size, 1000)

    def test_object(self):
        """As an object."""
        options = Options(size=1000)
        self.assertIs(makeFactory(options=options).options, options)

    def test_both(self):
        """Not both."""
        with self.assertRaisesRegex(ConfigurationError, "either an Options object or options by"):
            makeFactory(options=Options(), size=1000)

    def test_misspelled(self):
        """A misspelled option or hook says which one was meant."""
        for wrong, meant in (
            ("maxClient", "maxClients"),
            ("sockettimeout", "socketTimeout"),
            ("SIZE", "size"),
            ("onRcpt", "onRcptTo"),
            ("onMail", "onMailFrom"),
            ("ondata", "onData"),
        ):
            with self.assertRaisesRegex(
                ConfigurationError, f"no option or hook '{wrong}'; did you mean '{meant}'"
            ):
                makeFactory(**{wrong: 1})

    def test_unknown(self):
        """One that nobody can have meant is just refused."""
        with self.assertRaisesRegex(ConfigurationError, "no option or hook 'qqq'$"):
            makeFactory(qqq=1)

    def test_badValue(self):
        """So is a value that makes no sense; nothing is built then."""
        with self.assertRaisesRegex(ConfigurationError, "^size: "):
            makeFactory(size=-1)

    def test_unknownExtension(self):
        """So is an extension that doesn't exist."""
        with self.assertRaisesRegex(ConfigurationError, "no extension 'DNS'; did you mean 'DSN'"):
            makeFactory(extensions=["DNS"])

    def test_reactor(self):
        """The reactor is the usual one unless another is given."""
        self.assertIs(SMTPServerFactory().clock, reactor)
        clock = Clock()
        self.assertIs(SMTPServerFactory(reactor=clock).clock, clock)

    def test_authRequiredMessage(self):
        """The text of the 530 can be one's own."""
        client = talk(
            Phase.READY, onAuth=lambda credentials, session: None, authRequiredMessage="Who?"
        )
        answer = client.say(MAIL)
        self.assertEqual((*brief(answer), answer.text), (530, "5.7.0", "Who?"))

    def test_misspelledCommandsAndKeywords(self):
        """A misspelled command would stay enabled, a misspelled keyword in sight."""
        error = self.assertRaises(ConfigurationError, makeFactory, disabledCommands=["STARTLS"])
        self.assertIn("did you mean 'STARTTLS'", str(error))
        error = self.assertRaises(ConfigurationError, makeFactory, hide=["PIPELINES"])
        self.assertIn("did you mean 'PIPELINING'", str(error))

    def test_chainWithoutData(self):
        """Somebody has to take the messages."""
        policy = fromFunctions(onRcptTo=lambda address, session: None)
        self.assertRaises(ConfigurationError, makeFactory, Chain(policy, isPart=True))
        makeFactory(Chain(policy, Discard()))

    def test_classAsHandler(self):
        """A class isn't a handler."""
        error = self.assertRaises(ConfigurationError, makeFactory, RecordingHandler)
        self.assertIn("RecordingHandler()", str(error))

    def test_disableReverseLookup(self):
        """Without the lookup a client is called by its address, as SMTP writes it."""
        resolver = mock.Mock()
        factory = makeFactory(disableReverseLookup=True, resolver=resolver)
        for address, name in (
            ("192.0.2.1", "[192.0.2.1]"),
            ("8.8.8.8", "[8.8.8.8]"),
            ("2001:DB8::1", "[IPv6:2001:db8::1]"),
            ("::ffff:192.0.2.1", "[192.0.2.1]"),
            ("fe80::1%eth0", "[IPv6:fe80::1]"),
            (None, "localhost"),
        ):
            self.assertEqual(factory.lookUp(address), name)


class ErrorsTests(SynchronousTestCase):
    """Bugs are logged, and the handler's onError is told."""

    def report(self, onError: Callable[..., Any]) -> Log:
        """Report an error to a factory with such a hook."""
        log = Log()
        factory = makeFactory(onError=onError, logger=log.logger)
        incident = factory.reportError(Failure(KeyError("kaput")))
        self.assertEqual(log.of("incident")[0]["incident"], incident)
        return log

    def test_told(self):
        """It gets the failure, and the session or None."""
        told = []
        self.report(lambda failure, session: told.append((failure.type, session)))
        self.assertEqual(told, [(KeyError, None)])

    def test_nobody(self):
        """Without an onError the log has it all the same."""
        log = Log()
        makeFactory(Discard(), logger=log.logger).reportError(Failure(KeyError("kaput")))
        self.assertEqual(len(log.of("incident")), 1)

    def test_later(self):
        """It may take its time; nobody waits for it."""
        later = Later()
        log = self.report(later)
        later.answer()
        self.assertEqual(len(log.of("incident")), 1)

    def test_fails(self):
        """If it fails itself, at once or later, that is one more incident, and no endless loop."""

        def broken(failure, session):
            raise ValueError

        self.assertEqual(len(self.report(broken).of("incident")), 2)
        later = Later()
        log = self.report(later)
        later.fail(ValueError())
        self.assertEqual(len(log.of("incident")), 2)


class MaxClientsTests(SynchronousTestCase):
    """421 at accept where there are too many."""

    def test_tooMany(self):
        """Who is one too many is told so instead of a greeting, and comes to no handler."""
        handler = RecordingHandler()
        factory = makeFactory(handler, maxClients=2)
        clients = [connect(factory), connect(factory)]
        third = connect(factory)
        self.assertEqual((third.greeting.code, third.greeting.enhanced), (421, None))
        self.assertEqual(third.greeting.text, "Too many connections, try again later")
        self.assertTrue(third.isClosed)
        self.assertEqual(handler.calls, ["onConnect"] * 2)
        self.assertEqual(factory.connections, {client.protocol for client in clients})

    def test_roomAgain(self):
        """A client that leaves makes room, however it leaves."""
        factory = makeFactory(maxClients=1)
        for leave in (
            lambda client: client.say("QUIT"),
            lambda client: client.lose(),
            lambda client: client.wait(300),
            lambda client: client.send(b"EHLO\n"),
        ):
            client = connect(factory)
            self.assertEqual(client.greeting.code, 220)
            self.assertEqual(connect(factory).greeting.code, 421)
            leave(client)
            self.assertEqual(factory.connections, set())

    def test_silent(self):
        """Where TLS comes first nothing is said in clear, and no handshake is waited for."""
        factory = makeFactory(maxClients=1, secure=True, selfSigned=True)
        connect(factory)
        refused = connect(factory)
        self.assertIsNone(refused.greeting)
        self.assertTrue(refused.transport.isAborted)

    def test_tlsEndpoint(self):
        """So where the endpoint does TLS."""
        factory = makeFactory(maxClients=1, selfSigned=True)
        transport = MemoryTransport()
        connect(factory)
        protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol, transport.clock = protocol, factory.clock
        transport.startTLS(factory.contextFactory)
        protocol.makeConnection(transport)
        self.assertTrue(transport.isAborted)
        self.assertEqual(bytes(transport.output), b"")

    def test_default(self):
        """By default as many as there may be open files, but for a few."""

        def most(limit: int, handler: object = None) -> Any:
            with mock.patch.object(resource, "getrlimit", lambda kind: (limit, limit)):
                return makeFactory(handler or Discard()).maxClients

        self.assertEqual(most(1024), 1024 - SPARE_DESCRIPTORS)
        self.assertEqual(most(10), 1)
        self.assertEqual(most(resource.RLIM_INFINITY), sys.maxsize)
        milters = [Milter("unix:/run/one"), Milter("unix:/run/two")]
        filtered = Filtered(Discard(), *milters)
        self.assertEqual(most(1024, filtered), (1024 - SPARE_DESCRIPTORS) // 4)
        routes = Chain(SMTPHandler(), ByRecipient({"a.test": filtered, "*": Discard()}))
        self.assertEqual(most(1024, routes), (1024 - SPARE_DESCRIPTORS) // 5)
        self.assertEqual(most(1024, mock.MagicMock()), 1024 - SPARE_DESCRIPTORS)

    def test_unix(self):
        """The log names a peer that has no address, too."""
        log = Log()
        factory = makeFactory(maxClients=1, logger=log.logger)
        for _ in range(2):
            connect(factory, peer=UNIXAddress(None))
        (event,) = log.of("refused")
        self.assertEqual(event["client"], "unix")


class ProtocolTests(SynchronousTestCase):
    def test_notMade(self) -> None:
        """A connection whose making fails isn't one that a stop waits for."""
        factory = SMTPServerFactory(reactor=Clock())
        factory.listener = set[object]().remove
        self.assertRaises(KeyError, factory.buildProtocol, None)
        self.assertEqual(factory.connections, set())
        self.successResultOf(factory.shutdown())

    def test_hooksAreFound(self):
        """The factory's handler is what hooks are looked up in."""
        factory = makeFactory(onData=print)
        self.assertIs(findHook(factory.handler, "onData"), print)

    def test_connections(self):
        """``connections`` has the open ones, each with its session."""
        factory = makeFactory()
        clients = [connect(factory, IPv4Address("TCP", "192.0.2.7", port)) for port in (1, 2)]
        ports = sorted(connection.session.remotePort for connection in factory.connections)
        self.assertEqual(ports, [1, 2])
        clients[0].lose()
        (left,) = factory.connections
        self.assertIs(left.session, clients[1].session)

    def test_ownProtocol(self):
        """A subclass of the protocol may be put in its place."""

        class Mine(SMTPServerFactory.protocol):
            pass

        factory = makeFactory()
        factory.protocol = Mine
        self.assertIsInstance(connect(factory).protocol, Mine)
