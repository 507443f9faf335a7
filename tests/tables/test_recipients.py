"""Recipients by a file, before a store."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.stores.test_byrecipient import CONTENT, Plain, Store
from tests.support.tablefiles import TableTestCase
from twisted_smtpserver import Accepted, Chain, ConfigurationError, Rejection, SMTPHandler
from twisted_smtpserver.filters import Filtered
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.tables import Recipients, recipients
from twisted_smtpserver.tables.recipients import MAX_AT_ONCE
from twisted_smtpserver.testing import Client, connect, runInline

LINES = (
    "joe@example.com",
    "team@example.com joe@example.com, ann@store.example",
    "boss@example.com joe@example.com",
    "ann@store.example",
    "postmaster joe@example.com",
)
FULL = Rejection("mailbox full", 552, "5.2.2")
BUSY = Rejection("later", 450, "4.2.0")


class RecipientsTests(TableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write(*LINES)
        self.store = Store()

    def make(self, store: Any = None, **options: Any) -> Recipients:
        return Recipients(store or self.store, self.path, runInThread=runInline, **options)

    def client(self, handler: object = None, lmtp: bool = False, **options: Any) -> Client:
        client = connect(handler or self.make(), lmtp=lmtp, **options)
        client.say(("LHLO" if lmtp else "EHLO") + " client.example")
        return client

    def send(self, client: Client, *recipients: str) -> list[str]:
        """Send a message; the refusals of RCPT, and the answers after it."""
        client.say("MAIL FROM:<sue@x.example>")
        refused = []
        for recipient in recipients:
            answer = client.say(f"RCPT TO:<{recipient}>")
            if answer.code != 250:
                refused.append(f"{answer.code} {answer.enhanced} {answer.text}")
        if client.say("DATA").code != 354:
            return refused
        client.send(CONTENT + b".\r\n")
        return refused + [f"{each.code} {each.text}" for each in client.answers()]

    def test_turns(self) -> None:
        """An alias for many is dealt with step by step: others have their turns in between."""
        self.write("all@example.com " + ",".join(f"u{n}@store.example" for n in range(25)))
        asked: list[int] = []

        def callLater(*arguments: Any) -> Any:
            asked.append(len(self.store.calls))
            return Clock.callLater(clock, *arguments)

        clock = Clock()
        self.patch(clock, "callLater", callLater)
        client = self.client(self.make(clock=clock))
        client.say("MAIL FROM:<sue@x.example>")
        asked.append(len(self.store.calls))
        client.send(b"RCPT TO:<all@example.com>\r\n")
        self.assertEqual(client.answers(), [])
        clock.advance(0)
        self.assertEqual([answer.code for answer in client.answers()], [250])
        asked.append(len(self.store.calls))
        steps = [after - before for before, after in pairwise(asked)]
        self.assertEqual((sum(steps), max(steps)), (25, MAX_AT_ONCE))

    def test_tooMany(self) -> None:
        """Aliases for too many in one transaction: the client sends the message once more."""
        self.patch(recipients, "MAX_TARGETS", 3)
        self.write("team@example.com a@x.example, b@x.example", "*")
        client = self.client()
        refused = "452 4.5.3 Too many recipients"
        named = ("team@example.com", "team+1@example.com", "joe@example.com", "eve@example.com")
        self.assertEqual(self.send(client, *named)[0], refused)
        self.assertEqual(len(self.store.kept[0][1]), 4)
        self.assertNotIn(refused, self.send(client, "team+1@example.com"))

    def test_unknown(self) -> None:
        """Who isn't in the file is refused at RCPT; the store isn't asked."""
        answers = self.send(self.client(), "eve@example.com", "joe@example.com")
        self.assertEqual(answers, ["550 5.1.1 No such recipient here", "250 Message accepted"])
        self.assertEqual(self.store.kept, [(CONTENT, ["joe@example.com"])])
        self.assertNotIn(("RCPT", "eve@example.com"), self.store.calls)

    def test_aliases(self) -> None:
        """The store sees those whom an alias stands for, each once, and is asked once for each."""
        answers = self.send(
            self.client(), "TEAM@example.com", "Joe+x@example.com", "boss@example.com"
        )
        self.assertEqual(answers, ["250 Message accepted"])
        self.assertEqual(self.store.kept, [(CONTENT, ["joe@example.com", "ann@store.example"])])
        asked = [what for what, who in self.store.calls if what == "RCPT"]
        self.assertEqual(len(asked), 2)

    def test_envelope(self) -> None:
        """The log and later hooks see whom the client named; so does the store, in ``raw``."""
        seen: list[str] = []
        store = self.store
        store.result = lambda envelope: seen.extend(each.raw for each in envelope.rcptTo)
        self.send(self.client(), "Boss@example.com")
        self.assertEqual(seen, ["Boss@example.com"])
        self.assertIn(("accepted", ["Boss@example.com"]), store.calls)

    def test_parameters(self) -> None:
        """What a client said about a recipient goes with those it stands for."""
        seen: list[Any] = []
        self.store.result = lambda envelope: seen.extend(each.dsn for each in envelope.rcptTo)
        client = self.client(extensions=["DSN"])
        client.pipeline(
            "MAIL FROM:<sue@x.example>",
            "RCPT TO:<boss@example.com> NOTIFY=NEVER ORCPT=rfc822;boss@example.com",
            "DATA",
        )
        client.send(CONTENT + b".\r\n")
        self.assertEqual(
            [(each.notify, each.orcpt) for each in seen], [(("NEVER",), "rfc822;boss@example.com")]
        )

    def test_accepted(self) -> None:
        """What the store says to a recipient's acceptance is passed on, where it is about one."""

        class Forwarding(Plain):
            def onRcptTo(self, address: Any, session: Any) -> Any:
                return succeed(Accepted("will forward", code=251))

        client = self.client(self.make(Forwarding()))
        client.say("MAIL FROM:<sue@x.example>")
        self.assertEqual(client.say("RCPT TO:<boss@example.com>").code, 251)
        self.assertEqual(client.say("RCPT TO:<team@example.com>").code, 250)
        self.assertEqual(client.say("RCPT TO:<joe@example.com>").code, 250)

    def test_storeRefuses(self) -> None:
        """An alias is refused if the store refuses somebody whom it stands for."""
        self.write("all@example.com joe@example.com, nobody@example.com")
        self.assertEqual(self.send(self.client(), "all@example.com"), ["550 5.1.1 no such user"])

    def test_plainStore(self) -> None:
        """A store needs nothing but onData."""
        store = Plain()
        self.assertEqual(
            self.send(self.client(self.make(store)), "team@example.com"), ["250 Message accepted"]
        )
        self.assertEqual(store.kept, [CONTENT])
        self.assertFalse(hasattr(self.make(store), "onMailFrom"))
        self.assertFalse(hasattr(self.make(store), "other"))

    def test_perRecipient(self) -> None:
        """A client of LMTP is told about those it named: the worst of those they stand for."""
        results = {
            "joe@example.com": None,
            "ann@store.example": FULL,
        }
        self.store.result = lambda envelope: results
        client = self.client(lmtp=True)
        answers = self.send(client, "joe@example.com", "team@example.com", "ann@store.example")
        self.assertEqual(answers, ["250 Message accepted", "552 mailbox full", "552 mailbox full"])
        [line] = [line for line in self.log if "but not for" in line]
        self.assertIn("['ann@store.example']; the client, which named team@example.com", line)

    def test_temporary(self) -> None:
        """A refusal for a while goes before one for good."""
        self.store.result = lambda envelope: [FULL, BUSY]
        self.assertEqual(self.send(self.client(lmtp=True), "team@example.com"), ["450 later"])
        self.store.result = lambda envelope: [FULL, Rejection("default")]
        self.assertEqual(self.send(self.client(lmtp=True), "team@example.com"), ["450 default"])

    def test_bug(self) -> None:
        """Results that don't match the targets are a bug of the store's."""
        self.store.result = lambda envelope: [None]
        answers = self.send(self.client(lmtp=True), "team@example.com")
        self.assertEqual(answers[0][:3], "451")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_oneAnswer(self) -> None:
        """In SMTP the results have to be the same, as ever."""
        self.store.result = lambda envelope: ["fine", "fine"]
        self.assertEqual(self.send(self.client(), "team@example.com"), ["250 fine"])

    def test_failure(self) -> None:
        """When the store fails the envelope is the client's again."""
        self.store.result = FULL
        self.assertEqual(self.send(self.client(), "boss@example.com"), ["552 mailbox full"])
        self.assertIn(("refused", ["boss@example.com"]), self.store.calls)

    def test_transactions(self) -> None:
        """One transaction's recipients aren't the next one's."""
        client = self.client()
        self.send(client, "boss@example.com")
        client.say("MAIL FROM:<sue@x.example>")
        client.say("RCPT TO:<boss@example.com>")
        client.say("RSET")
        self.send(client, "ann@store.example")
        self.assertEqual(
            [names for _, names in self.store.kept], [["joe@example.com"], ["ann@store.example"]]
        )

    def test_changed(self) -> None:
        """A file that has changed counts from the next recipient on."""
        handler = self.make()
        client = self.client(handler)
        self.write("eve@example.com")
        self.patch(handler._file, "_lookedAt", -10.0)
        self.assertEqual(
            self.send(client, "joe@example.com", "eve@example.com"),
            ["550 5.1.1 No such recipient here", "250 Message accepted"],
        )

    def test_slowFile(self) -> None:
        """While the file is looked at, RCPT waits, and the replies keep their order."""
        handler = self.make()
        hop: Deferred[Any] = Deferred()
        self.patch(handler._file, "_runInThread", lambda function: hop)
        self.patch(handler._file, "_lookedAt", -10.0)
        client = self.client(handler)
        client.say("MAIL FROM:<sue@x.example>")
        client.send(b"RCPT TO:<eve@example.com>\r\nRSET\r\n")
        self.assertEqual(client.answers(), [])
        hop.callback(None)
        self.assertEqual([each.code for each in client.answers()], [550, 250])

    def test_filters(self) -> None:
        """A filter sees whom the client named; whom it adds, needn't be in the file."""
        seen: list[list[str]] = []

        class Archive:
            def onMessage(self, message: Any, session: Any) -> None:
                seen.append([str(each) for each in message.envelope.rcptTo])
                added = list(message.envelope.rcptTo[0:1])
                for address in ("archive@else.example", "joe@example.com"):
                    added.append(type(added[0])(_parts(address)))
                message.envelope.rcptTo[:] = added

        handler = Filtered(self.make(), Archive(), runInThread=runInline)
        self.assertEqual(
            self.send(self.client(handler), "team@example.com"), ["250 Message accepted"]
        )
        self.assertEqual(seen, [["team@example.com"]])
        names = ["joe@example.com", "ann@store.example", "archive@else.example"]
        self.assertEqual(self.store.kept, [(CONTENT, names)])

    def test_byRecipient(self) -> None:
        """What an alias stands for may be for several stores."""
        here, there = Store(), Store()
        stores = ByRecipient({"example.com": here, "*": there}, runInThread=runInline)
        client = self.client(self.make(stores), lmtp=True)
        there.result = FULL
        answers = self.send(client, "team@example.com", "joe@example.com")
        self.assertEqual(answers, ["552 mailbox full", "250 Message accepted"])
        self.assertEqual(here.kept, [(CONTENT, ["joe@example.com"])])
        self.assertEqual(there.kept, [(CONTENT, ["ann@store.example"])])

    def test_gate(self) -> None:
        """A gate refuses early, before stages that cost more."""
        handler = self.make()

        class Costly(SMTPHandler):
            def onRcptTo(self, address: Any, session: Any) -> None:
                raise Rejection("greylisted", 451)

        client = self.client(Chain(handler.gate, Costly(), handler))
        answers = self.send(client, "eve@example.com", "joe@example.com")
        self.assertEqual(answers, ["550 5.1.1 No such recipient here", "451 4.3.0 greylisted"])

    def test_users(self) -> None:
        """Users who have logged in may send on, if the operator says so; others may not."""
        users = SMTPHandler()
        users.onAuth = lambda credentials, session: "joe"  # type: ignore[attr-defined]
        for relays, codes in ((True, [250, 250]), (False, [550, 250])):
            handler = Chain(users, self.make(relayForUsers=relays))
            client = self.client(handler, allowInsecureAuth=True)
            client.say("AUTH PLAIN AGpvZQB4")
            client.say("MAIL FROM:<joe@example.com>")
            recipients = ("any@else.example", "boss@example.com")
            self.assertEqual([client.say(f"RCPT TO:<{each}>").code for each in recipients], codes)
        client = self.client(Chain(self.make(relayForUsers=True)))
        client.say("MAIL FROM:<joe@example.com>")
        self.assertEqual(client.say("RCPT TO:<any@else.example>").code, 550)

    def test_postmaster(self) -> None:
        """Mail to postmaster is taken; that nobody reads it is said at the start."""
        self.send(self.client(), "postmaster")
        self.assertEqual(self.store.kept, [(CONTENT, ["joe@example.com"])])
        self.assertEqual([line for line in self.log if "who reads" in line], [])
        self.write("joe@example.com")
        client = self.client()
        self.assertIn("doesn't say who reads mail to postmaster", self.log[-1])
        self.assertEqual(self.send(client, "PostMaster"), ["250 Message accepted"])
        self.assertEqual(self.store.kept[-1], (CONTENT, ["PostMaster"]))

    def test_wrong(self) -> None:
        """What can't work is said when it is made."""
        error = self.assertRaises(ConfigurationError, self.make, SMTPHandler())
        self.assertIn("can't store messages", str(error))
        self.write("joe")
        error = self.assertRaises(ConfigurationError, self.make)
        self.assertIn("line 1: an address must be written as joe@example.com", str(error))
        later = self.make(later=True)
        self.assertRaises(ConfigurationError, later.load)

    def test_store(self) -> None:
        """What the server asks of a store it is told of this one's."""

        class Costly(Plain):
            descriptorsPerClient = 3

            def ready(self) -> None:
                raise ZeroDivisionError

        handler = self.make(Costly())
        self.assertEqual(handler.descriptorsPerClient, 3)
        self.failureResultOf(Deferred.fromCoroutine(handler.ready()), ZeroDivisionError)
        self.assertEqual(self.make().descriptorsPerClient, 0)

    def test_repr(self) -> None:
        """It says what it is."""
        self.assertRegex(repr(self.make(Plain())), r"\A<Recipients '.*' before <.*Plain.*>>\Z")


def _parts(address: str) -> Any:
    local, _, domain = address.partition("@")
    return local, domain, address, address, False
