"""What is counted, and that nothing that a client says becomes a figure of its own."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.log.test_serverlog import WILD, plain
from tests.support.figures import sample, series
from tests.support.logins import PASSWORD, Logins
from tests.support.talk import HELLO, MAIL, RCPT, Later, codes, talk, walk
from twisted_smtpserver import ConfigurationError, Rejection, SMTPServerFactory
from twisted_smtpserver.handlers.policies import SenderMatchesLogin
from twisted_smtpserver.interfaces import IMetrics
from twisted_smtpserver.metrics import Metrics
from twisted_smtpserver.metrics.table import METRICS, OTHER, PLACES, SIZE
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, connect

CONTENT = b"Subject: test\r\n\r\nHello\r\n"


class CountingCase(SynchronousTestCase):
    """Each test has figures of its own."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def connect(self, handler: object = None, **options: Any) -> Client:
        return connect(handler, metrics=self.metrics, logger=False, **options)

    @property
    def page(self) -> str:
        registry = CollectorRegistry()
        registry.register(self.metrics)
        return generate_latest(registry).decode()

    def assertFigures(self, **expected: float) -> None:
        """Figures have these values; ``messages_total__accepted`` is one with a label's value."""
        page = self.page
        labels = {metric.name: metric.label for metric in METRICS}
        for key, value in expected.items():
            name, _, label = key.partition("__")
            name = f"smtp_{name}"
            if label:
                name += f'{{{labels[name]}="{label.replace("_", ".")}"}}'
            self.assertEqual(sample(page, name), value, name)


class ConnectionTests(CountingCase):
    def test_interface(self) -> None:
        """It has all that the server calls."""
        verifyObject(IMetrics, self.metrics)

    def test_connections(self) -> None:
        """Connections are counted when they come, and are fewer when they go."""
        first = self.connect()
        second = connect(first.factory)
        self.assertFigures(connections=2, connections_total=2, session_seconds_count=0)
        second.wait(7)
        second.lose()
        self.assertFigures(connections=1, connections_total=2, session_seconds_count=1)
        self.assertEqual(sample(self.page, "smtp_session_seconds_sum"), 7)
        self.assertEqual(sample(self.page, 'smtp_session_seconds_bucket{le="1.0"}'), 0)
        self.assertEqual(sample(self.page, 'smtp_session_seconds_bucket{le="10.0"}'), 1)

    def test_refused(self) -> None:
        """Those that are one too many, by the limit that they met."""
        client = self.connect(maxClients=1)
        connect(client.factory)
        client = self.connect(maxClientsPerAddress=1)
        connect(client.factory)
        connect(client.factory)
        self.assertFigures(
            connections_refused_total__maxClients=1,
            connections_refused_total__maxClientsPerAddress=2,
            connections_total=2,
        )

    def test_ignored(self) -> None:
        """Clients that aren't logged are counted."""
        self.connect(ignoredHosts=["192.0.2.1"]).deliver(CONTENT)
        self.assertFigures(connections_total=1, messages_total__accepted=1)

    def test_tls(self) -> None:
        """TLS sessions by their version; what never became one."""
        client = self.connect(selfSigned=True)
        client.say(HELLO)
        client.say("STARTTLS")
        client.startTLS()
        client.lose()
        self.metrics.secured("TLSv0.1")
        self.connect(secure=True, selfSigned=True).lose()
        page = self.page
        self.assertEqual(sample(page, 'smtp_tls_sessions_total{version="TLSv1.3"}'), 1)
        self.assertEqual(sample(page, 'smtp_tls_sessions_total{version="other"}'), 1)
        self.assertFigures(tls_failures_total=1, connections=0)


class MessageTests(CountingCase):
    def test_outcomes(self) -> None:
        """Messages by what they were answered, with their sizes and recipients."""

        async def onData(stream: Any, session: Any) -> None:
            content = await stream.read()
            if b"later" in content:
                raise Rejection("Later")
            if b"never" in content:
                raise Rejection("Never", 554)

        client = self.connect(onData=onData)
        client.deliver(CONTENT, "joe@example.org", "a@example.com", "b@example.com")
        client.deliver(b"later\r\n", hello=None)
        client.deliver(b"never\r\n", hello=None)
        client.deliver(bytes(2000) + b"\r\n", hello=None)
        self.assertFigures(
            messages_total__accepted=2,
            messages_total__deferred=1,
            messages_total__refused=1,
            recipients_total=3,
            refusals_total__450=1,
            refusals_total__554=1,
            message_bytes_count=4,
            message_bytes_sum=len(CONTENT) + 7 + 7 + 2002,
        )
        self.assertEqual(sample(self.page, 'smtp_message_bytes_bucket{le="1024.0"}'), 3)

    def test_perRecipient(self) -> None:
        """By LMTP a message is accepted if one recipient is, and for as many as were."""

        def onData(stream: Any, session: Any) -> Any:
            return [None, Rejection("full", 452), None]

        client = self.connect(onData=onData, lmtp=True)
        client.pipeline("LHLO client.example", MAIL, RCPT, RCPT, RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        self.assertFigures(messages_total__accepted=1, recipients_total=2, refusals_total__452=1)

    def test_storing(self) -> None:
        """While a store takes its time that is seen, and afterwards how long it took."""
        result: Deferred[Any] = Deferred()
        client = walk(self.connect(onData=lambda *_: result), Phase.RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        self.assertFigures(messages_storing=1, store_seconds_count=0)
        client.lose()
        result.callback(None)
        self.assertFigures(
            messages_storing=0,
            store_seconds_count=1,
            replies_lost_total=1,
            messages_total__accepted=1,
        )

    def test_storeStopped(self) -> None:
        """So it is if the store never answers."""
        client = walk(self.connect(onData=lambda *_: Deferred(), handlerTimeout=5), Phase.RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        client.wait(5)
        self.assertFigures(
            messages_storing=0, hook_timeouts_total__onData=1, messages_total__deferred=1
        )


class HookTests(CountingCase):
    def hooks(self) -> dict[str, float]:
        """How often each hook was counted."""
        found = {}
        for name in PLACES["smtp_hook_seconds"]:
            key = f'smtp_hook_seconds_count{{hook="{name}"}}'
            if key in series(self.page):
                found[name] = sample(self.page, key)
        return found

    def test_times(self) -> None:
        """Each hook that there is is counted once for each call, however it answers."""
        later = Later()

        async def onData(stream: Any, session: Any) -> None:
            await stream.read()

        def onMailFrom(address: Any, session: Any) -> None:
            if address.local == "nobody":
                raise Rejection

        client = self.connect(onData=onData, onMailFrom=onMailFrom, onRcptTo=later)
        client.say(HELLO)
        self.assertEqual(client.say("MAIL FROM:<nobody@example.org>").code, 550)
        client.say(MAIL)
        client.send(RCPT.encode() + b"\r\n")
        self.assertEqual(self.hooks(), {"onMailFrom": 2})
        later.answer()
        client.send(RCPT.encode() + b"\r\n")
        later.fail(Rejection())
        self.assertEqual(codes(client.answers()), [250, 550])
        client.say("DATA")
        self.assertEqual(client.say("hello\r\n.").code, 250)
        self.assertEqual(self.hooks(), {"onMailFrom": 2, "onRcptTo": 2, "onData": 1})

    def test_helloRefused(self) -> None:
        """A hook whose refusal has nothing more to do is counted, and refuses."""

        def onHello(hostname: str, session: Any) -> None:
            raise Rejection

        self.assertEqual(self.connect(onHello=onHello).say(HELLO).code, 550)
        self.assertEqual(self.hooks(), {"onHello": 1})

    def test_abandoned(self) -> None:
        """A hook whose client leaves has ended, too."""
        client = walk(self.connect(onData=lambda *_: Deferred()), Phase.RCPT)
        client.send(b"BDAT 1\r\nx")
        client.lose()
        self.assertEqual(self.hooks(), {"onData": 1})
        client = walk(self.connect(onRcptTo=Later()), Phase.MAIL)
        client.send(RCPT.encode() + b"\r\n")
        client.lose()
        self.assertEqual(self.hooks(), {"onData": 1, "onRcptTo": 1})

    def test_incidents(self) -> None:
        """Bugs, by hook; those of no hook, too."""

        def onMailFrom(address: Any, session: Any) -> None:
            raise LookupError

        client = self.connect(onMailFrom=onMailFrom)
        client.pipeline(HELLO, MAIL)
        client.factory.reportError(Failure(LookupError()))
        page = self.page
        self.assertEqual(sample(page, 'smtp_incidents_total{hook="onMailFrom"}'), 1)
        self.assertEqual(sample(page, 'smtp_incidents_total{hook="other"}'), 1)
        self.assertEqual(sample(page, 'smtp_refusals_total{code="451"}'), 1)

    def test_policies(self) -> None:
        """What a policy of ours refuses is counted by its name; one of the user's as another."""
        handler = Logins()
        client = walk(self.connect(handler, allowInsecureAuth=True), Phase.READY)
        client.say(plain("joe", PASSWORD))
        handler.onMailFrom = SenderMatchesLogin().onMailFrom  # type: ignore[method-assign]
        self.assertEqual(client.say("MAIL FROM:<ann@example.org>").code, 553)

        def mine(*_: Any) -> None:
            raise Rejection(policy="mine")

        handler.onMailFrom = mine  # type: ignore[assignment,method-assign]
        client.say(MAIL)
        self.assertFigures(policy_refusals_total__sender=1, policy_refusals_total__other=1)

    def test_odd(self) -> None:
        """A code that no refusal has isn't counted, nor is a hook that there isn't."""
        self.metrics.refused(599)
        self.metrics.hookEnded("onNothing", 1)
        self.assertNotIn("599", self.page)
        self.assertNotIn("onNothing", self.page)


class LoginTests(CountingCase):
    def test_results(self) -> None:
        """Logins that succeed, that fail, and that couldn't be checked."""

        class Broken(Logins):
            def onAuth(self, credentials: Any, session: Any) -> Any:
                if credentials.username == "ann":
                    raise Rejection("The users are away", 454)
                return super().onAuth(credentials, session)

        client = walk(self.connect(Broken(), allowInsecureAuth=True), Phase.READY)
        for user, password in (("joe", "wrong"), ("ann", PASSWORD), ("joe", PASSWORD)):
            client.send(plain(user, password).encode() + b"\r\n")
            client.wait(1)
        self.assertEqual(codes(client.answers()), [535, 454, 235])
        self.assertFigures(auth_total__success=1, auth_total__failure=1, auth_total__error=1)


class HostileTests(CountingCase):
    def test_labels(self) -> None:
        """Whatever clients say, there are no other figures, and none has their words."""
        before = series(self.page)

        def onRcptTo(address: Any, session: Any) -> None:
            raise Rejection(f"{address.local} isn't here")

        wild = WILD.encode()
        for number in range(200):
            client = self.connect(
                Logins() if number % 2 else None, allowInsecureAuth=True, errorDelay=0
            )
            client.send(b"EHLO " + wild + b"%d\r\n" % number)
            client.send(b"XYZ%d %s\r\n" % (number, wild))
            client.send(HELLO.encode() + b"\r\n")
            client.send(plain(f"{WILD}{number}", WILD).encode() + b"\r\n")
            client.wait(1)
            client.send(b"AUTH X-%d\r\n" % number)
            client.send(b'MAIL FROM:<"%d"@evil%d.example> X%d=1\r\n' % (number, number, number))
            client.send(b"MAIL FROM:<evil%d@example.org>\r\n" % number)
            client.send(b"RCPT TO:<evil%d@example.org>\r\nDATA\r\n" % number)
            client.send(b"From: evil%d\r\n.\r\n" % number)
            client.lose()
        page = self.page
        added = series(page) - before
        self.assertLess(len(added), 100)
        allowed = {f'smtp_refusals_total{{code="{code}"}}' for code in range(400, 560)}
        self.assertEqual(
            {name for name in added - allowed if "smtp_hook_seconds" not in name}, set()
        )
        for word in ("evil", "XYZ", "session}{", "\u202e", "X-1"):
            self.assertNotIn(word, page)
        self.assertEqual(len(self.metrics.read()), SIZE)

    def test_table(self) -> None:
        """The places of the figures don't overlap, and fill the row."""
        taken = [
            place + number
            for metric in METRICS
            for place in PLACES[metric.name].values()
            for number in range(metric.places)
        ]
        self.assertEqual(sorted(taken), list(range(SIZE)))
        self.assertIn(OTHER, PLACES["smtp_incidents_total"])


class OptionTests(SynchronousTestCase):
    def test_wrong(self) -> None:
        """What can't count is refused at once."""
        with self.assertRaisesRegex(
            ConfigurationError, r"^metrics: doesn't provide IMetrics, as Metr"
        ):
            SMTPServerFactory(metrics=True)

    def test_own(self) -> None:
        """Any object will do that has the methods."""
        calls: list[str] = []

        class Own:
            def __getattr__(self, name: str) -> Any:
                return lambda *arguments: calls.append(name)

        client = talk(Phase.READY, metrics=Own())
        client.deliver(CONTENT, hello=None)
        self.assertEqual(calls, ["connected", "messageEnded"])
