"""An extension of one's own: the example of the documentation, and worse ones."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.examples import load
from twisted_smtpserver import Accepted, ConfigurationError
from twisted_smtpserver.extensions import Extension
from twisted_smtpserver.extensions.basic import Size
from twisted_smtpserver.interfaces import IExtension
from twisted_smtpserver.replies import OK
from twisted_smtpserver.testing import Client, RecordingHandler, connect

Tenants: Any = load("tenants").Tenants


class TenantsTests(SynchronousTestCase):
    """The example does what it says."""

    def greeted(self, **options) -> Client:
        options.setdefault("secured", True)
        client = connect(extensions=[Tenants({"acme": 1000, "zoo": 50})], **options)
        self.hello = client.say("EHLO client.example")
        return client

    def test_interface(self):
        """It is an IExtension, as those are that come with the library."""
        self.assertTrue(verifyObject(IExtension, Tenants({})))

    def test_offer(self):
        """The keyword and its parameters are offered where advertise says so."""
        self.greeted()
        self.assertIn("XTENANT acme zoo", self.hello.lines)
        self.assertIn("PIPELINING", self.hello.lines)
        self.greeted(secured=False)
        self.assertFalse([line for line in self.hello.lines if "XTENANT" in line])

    def test_parameter(self):
        """The typed value is with the address."""
        client = self.greeted()
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> xtenant=acme").code, 250)
        self.assertEqual(client.session.envelope.mailFrom.values, {"XTENANT": "acme"})

    def test_badParameter(self):
        """A bad value is refused with 501 unless the parser says otherwise."""
        client = self.greeted()
        for parameter in ("XTENANT=unknown", "XTENANT"):
            answer = client.say(f"MAIL FROM:<joe@example.org> {parameter}")
            self.assertEqual(
                (answer.code, answer.enhanced, answer.text),
                (501, "5.5.4", "XTENANT must be the name of a tenant"),
            )

    def test_conflict(self):
        """It sees the other extensions' parameters, and has codes of its own."""
        client = self.greeted()
        answer = client.say("MAIL FROM:<joe@example.org> XTENANT=zoo SIZE=51")
        self.assertEqual((answer.code, answer.enhanced), (552, "5.3.4"))
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> XTENANT=zoo SIZE=50").code, 250)

    def test_notOffered(self):
        """What isn't offered isn't accepted: 555."""
        client = self.greeted(secured=False)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> XTENANT=acme").code, 555)

    def test_verb(self):
        """The command works after the hello, between transactions."""
        client = self.greeted()
        answer = client.say("XSTATUS acme")
        self.assertEqual(
            (answer.code, answer.enhanced, answer.text),
            (250, "2.0.0", "1000 octets for each message"),
        )
        self.assertEqual(client.say("xstatus nobody").code, 550)
        client.say("MAIL FROM:<joe@example.org>")
        self.assertEqual(client.say("XSTATUS acme").code, 250)

    def test_verbBeforeHello(self):
        """Before the hello it may not come."""
        client = connect(extensions=[Tenants({"acme": 1000})], secured=True)
        self.assertEqual(client.say("XSTATUS acme").code, 503)

    def test_disabled(self):
        """Who disables the command disables the extension."""
        client = self.greeted(disabledCommands=["XSTATUS"])
        self.assertFalse([line for line in self.hello.lines if "XTENANT" in line])
        self.assertEqual(client.say("XSTATUS acme").code, 502)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> XTENANT=acme").code, 555)

    def test_hidden(self):
        """Who hides the keyword doesn't."""
        client = self.greeted(hide=["XTENANT"])
        self.assertFalse([line for line in self.hello.lines if "XTENANT" in line])
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> XTENANT=acme").code, 250)


class Broken(Extension):
    """Has a bug wherever it can."""

    keyword = "XBROKEN"

    def __init__(self):
        self.mailParameters = {"XBROKEN": int}
        self.rcptParameters = {"XBROKEN": int}
        self.verbs = {
            "XBROKEN": self.verb,
            "XLATER": self.later,
            "XASYNC": self.asynchronous,
            "XOCTETS": self.octets,
        }
        self.pending = Deferred()

    def onRcpt(self, address, envelope, session):
        raise KeyError(address.values["XMISSING"])

    def verb(self, dialogue, argument):
        raise ZeroDivisionError("secret")

    def later(self, dialogue, argument):
        return self.pending

    async def asynchronous(self, dialogue, argument):
        raise LookupError("secret")

    def octets(self, dialogue, argument):
        return dialogue.receiveOctets(2, bool, lambda: self.verb(dialogue, argument))


class BrokenTests(SynchronousTestCase):
    """A bug in an extension costs the client a 451, and nothing else."""

    def setUp(self) -> None:
        self.handler = RecordingHandler()
        self.broken = Broken()
        self.client = connect(self.handler, extensions=[self.broken])
        self.client.say("EHLO client.example")

    def assertIncident(self, answer, error) -> None:
        """The client learns of the incident, not of its reason; the log and onError of both."""
        self.assertEqual((answer.code, answer.enhanced), (451, "4.3.0"))
        self.assertRegex(answer.text, r"\AInternal error, incident [0-9a-f]+\Z")
        self.assertEqual([failure.type for failure in self.handler.errors], [error])
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)
        self.assertEqual(self.client.say("RSET").code, 250)

    def test_mailParser(self):
        """A parser of MAIL's that raises what isn't a Rejection."""
        self.assertIncident(self.client.say("MAIL FROM:<joe@example.org> XBROKEN=x"), ValueError)
        self.assertEqual(self.client.say("MAIL FROM:<joe@example.org> XBROKEN=3").code, 250)

    def test_rcptParser(self):
        """A parser of RCPT's."""
        self.client.say("MAIL FROM:<joe@example.org>")
        self.assertIncident(self.client.say("RCPT TO:<jane@example.com> XBROKEN=x"), ValueError)

    def test_onRcpt(self):
        """A method that is called with each RCPT."""
        self.client.say("MAIL FROM:<joe@example.org>")
        self.assertIncident(self.client.say("RCPT TO:<jane@example.com>"), KeyError)

    def test_verb(self):
        """A command."""
        self.assertIncident(self.client.say("XBROKEN"), ZeroDivisionError)

    def test_asyncVerb(self):
        """A command that is an async def."""
        self.assertIncident(self.client.say("XASYNC"), LookupError)

    def test_octets(self):
        """What comes behind the octets of a command."""
        self.client.send(b"XOCTETS\r\nxx")
        self.assertIncident(self.client.answers()[0], ZeroDivisionError)

    def test_verbLater(self):
        """A command that fails after a while."""
        self.client.send(b"XLATER\r\n")
        self.broken.pending.errback(OSError("secret"))
        self.client.settle()
        self.assertIncident(self.client.answers()[0], OSError)

    def test_advertise(self):
        """The offer itself."""

        class Worse(Extension):
            keyword = "XWORSE"

            def advertise(self, session):
                raise LookupError("secret")

        client = connect(self.handler, extensions=[Worse()])
        self.assertEqual(client.say("EHLO client.example").code, 451)
        self.assertEqual(client.say("NOOP").code, 250)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)


class Louder(Extension):
    """Takes SIZE's place where it is offered, and has words for MAIL's 250."""

    keyword = "XLOUD"

    def __init__(self, offered=True):
        self.offered = offered
        self.mailParameters = {"SIZE": lambda value: f"size {value}"}
        self.rcptParameters = {"NOTIFY": lambda value: f"notify {value}"}

    def advertise(self, session):
        return "" if self.offered else None

    def onMail(self, address, envelope, session):
        return Accepted("It is loud here", enhanced="2.1.9") if self.offered else None


class ForeignTests(SynchronousTestCase):
    def test_instanceAttribute(self) -> None:
        """An extension of another class may have its methods wherever it likes."""

        @implementer(IExtension)
        class Foreign:
            keyword = "XFOREIGN"
            mailParameters: ClassVar[dict[str, object]] = {}
            rcptParameters: ClassVar[dict[str, object]] = {}
            verbs: ClassVar[dict[str, object]] = {}

            def __init__(self) -> None:
                self.seen: list[str] = []
                self.onMail = lambda address, envelope, session: self.seen.append(address.address)
                self.onRcpt = self.onMail
                self.advertise = lambda session: ""

        foreign = Foreign()
        client = connect(extensions=[foreign])
        client.say("EHLO a.example")
        self.assertEqual(client.say("MAIL FROM:<joe@example.org>").code, 250)


class ExtensionSetTests(SynchronousTestCase):
    """How extensions go together."""

    def size(self, *extensions) -> object:
        client = connect(extensions=extensions)
        client.say("EHLO client.example")
        client.say("MAIL FROM:<joe@example.org> SIZE=5")
        mailFrom = client.session.envelope.mailFrom
        return None if mailFrom is None else mailFrom.values["SIZE"]

    def test_wrapped(self):
        """What is known of the original's answer isn't taken for that of one that wraps it."""

        class Shrinking(Size):
            left = 3

            @functools.wraps(Size.advertise)
            def advertise(self, session):
                self.left -= 1
                return str(self.left)

        client = connect(RecordingHandler(), extensions=[Shrinking(100, False)])
        for left in (2, 1):
            self.assertIn(f"SIZE {left}", client.say("EHLO client.example").lines)

    def test_sameParameter(self):
        """Of two that have the same parameter the later one counts, where it is offered."""
        self.assertEqual(self.size(Louder()), "size 5")
        self.assertEqual(self.size(Louder(offered=False)), 5)

    def test_sameRcptParameter(self):
        """That goes for RCPT as well."""
        for extensions, expected in (
            (["DSN", Louder()], "notify NEVER"),
            (["DSN", Louder(offered=False)], ("NEVER",)),
            ([Louder(), "DSN"], ("NEVER",)),
        ):
            client = connect(extensions=extensions)
            client.say("EHLO client.example")
            client.say("MAIL FROM:<joe@example.org>")
            client.say("RCPT TO:<jane@example.com> NOTIFY=NEVER")
            self.assertEqual(client.session.envelope.rcptTo[0].values["NOTIFY"], expected)

    def test_sameKeyword(self):
        """An object with the keyword of one that comes with the library takes its place."""

        class NoSize(Extension):
            keyword = "SIZE"

        client = connect(extensions=[NoSize()])
        client.say("EHLO client.example")
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> SIZE=5").code, 555)

    def test_twice(self):
        """Two objects with the same keyword are a mistake."""
        self.assertRaises(ConfigurationError, connect, extensions=[Louder(), Louder()])

    def test_mistakes(self):
        """What could never work is refused when the server is built."""

        class Nameless(Extension):
            pass

        class LowVerb(Extension):
            keyword = "XLOW"
            verbs: Mapping[str, Any] = MappingProxyType({"xlow": lambda dialogue, argument: OK})

        class LowParameter(Extension):
            keyword = "XLOW"
            mailParameters: Mapping[str, Any] = MappingProxyType({"xlow": str})

        for wrong in (Louder, 5, Nameless(), LowVerb(), LowParameter()):
            self.assertRaises(ConfigurationError, connect, extensions=[wrong])

    def test_silentVerb(self):
        """A verb that returns no reply is a bug, and the dialogue stays in step."""

        class Silent(Extension):
            keyword = "XSILENT"
            verbs: Mapping[str, Any] = MappingProxyType(
                {"XSILENT": lambda dialogue, argument: None}
            )

        client = connect(extensions=[Silent()], logger=False)
        for lines in ([], ["EHLO client.example"], ["MAIL FROM:<joe@example.org>"]):
            client.pipeline(*lines)
            answers = client.pipeline("XSILENT", "NOOP")
            self.assertEqual([answer.code for answer in answers][-1], 250)
            self.assertEqual(len(answers), 2)

    def test_coroutineVerb(self):
        """A verb may be an async def."""
        later = Deferred()

        async def wait(dialogue, argument):
            return await later

        class Patient(Extension):
            keyword = "XWAIT"
            verbs: Mapping[str, Any] = MappingProxyType({"XWAIT": wait})

        client = connect(extensions=[Patient()])
        client.say("EHLO client.example")
        client.send(b"XWAIT\r\nQUIT\r\n")
        self.assertEqual(client.answers(), [])
        later.callback(OK)
        client.settle()
        self.assertEqual([answer.code for answer in client.answers()], [250, 221])

    def test_acceptance(self):
        """What onMail returns are the words of the 250, unless the handler has its own."""
        client = connect(extensions=[Louder(), "DSN"])
        client.say("EHLO client.example")
        answer = client.say("MAIL FROM:<joe@example.org>")
        self.assertEqual((answer.enhanced, answer.text), ("2.1.9", "It is loud here"))
        own = Accepted("Hello Joe", enhanced="2.1.0")
        client = connect(onMailFrom=lambda address, session: own, extensions=[Louder()])
        client.say("EHLO client.example")
        answer = client.say("MAIL FROM:<joe@example.org>")
        self.assertEqual((answer.enhanced, answer.text), ("2.1.0", "Hello Joe"))

    def test_unknownName(self):
        """A name that none has is a mistake, and the text says which one was meant."""
        error = self.assertRaises(ConfigurationError, connect, extensions=["DSM"])
        self.assertIn("'DSN'", str(error))
