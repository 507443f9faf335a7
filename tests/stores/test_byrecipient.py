"""Different stores for different recipients."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import load
from tests.support.filefakes import closedSpools
from twisted_smtpserver import Accepted, Chain, Rejection, SMTPHandler
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.testing import Client, connect, runInline

CONTENT = b"Subject: hello\r\n\r\ntext\r\n"


class Store(SMTPHandler):
    """Keeps messages, and remembers what it was asked."""

    def __init__(self, result: Any = None) -> None:
        self.result = result
        self.calls: list[Any] = []
        self.kept: list[tuple[bytes, list[str]]] = []
        self.isClosed = False

    def onMailFrom(self, address: Any, session: Any) -> None:
        """Remember."""
        self.calls.append(("MAIL", str(address)))
        if address.local == "spammer":
            raise Rejection("not you")

    def onRcptTo(self, address: Any, session: Any) -> Any:
        """Remember."""
        self.calls.append(("RCPT", str(address)))
        if address.local == "nobody":
            raise Rejection("no such user")
        return "known here"

    async def onData(self, stream: Any, session: Any) -> Any:
        """Keep it."""
        content = await stream.read()
        session.data["seen"] = session.data.get("seen", 0) + 1
        names = [str(each) for each in session.envelope.rcptTo]
        self.kept.append((content, names))
        result = self.result
        if callable(result):
            result = result(session.envelope)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, Deferred):
            return await result
        return result

    def onTransactionEnd(self, envelope: Any, outcome: str, session: Any) -> None:
        """Remember."""
        self.calls.append((outcome, [str(each) for each in envelope.rcptTo]))

    async def close(self) -> None:
        """Remember."""
        self.isClosed = True


class Plain:
    """A store that has nothing but that."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def onData(self, stream: Any, session: Any) -> None:
        """Keep it."""
        self.kept.append(await stream.read())


class ByRecipientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.a, self.b, self.ann = Store(), Store(), Store()
        self.stores: dict[str, Any] = {
            "A.example": self.a,
            "b.example": self.b,
            "Ann@a.example": self.ann,
        }
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self) -> ByRecipient:
        return ByRecipient(self.stores, runInThread=runInline)

    def client(self, lmtp: bool = False, handler: object = None) -> Client:
        client = connect(handler or self.make(), lmtp=lmtp)
        client.say(("LHLO" if lmtp else "EHLO") + " client.example")
        return client

    def send(self, client: Client, *recipients: str) -> list[str]:
        """Send a message; the answers after it, or the refusals of RCPT."""
        client.say("MAIL FROM:<joe@x.example>")
        refused = []
        for recipient in recipients:
            answer = client.say(f"RCPT TO:<{recipient}>")
            if answer.code >= 400:
                refused.append(f"{answer.code} {answer.text}")
        if len(refused) == len(recipients):
            return refused
        if client.say("DATA").code != 354:
            return refused
        client.send(CONTENT + b".\r\n")
        return refused + [f"{each.code} {each.text}" for each in client.answers()]

    def test_domain(self) -> None:
        """The domain's store gets the message, whatever the domain's case."""
        answers = self.send(self.client(), "joe@a.EXAMPLE", "Jim@a.example")
        self.assertEqual(answers, ["250 Message accepted"])
        self.assertEqual(self.a.kept, [(CONTENT, ["joe@a.example", "Jim@a.example"])])
        self.assertEqual(self.b.calls, [])
        self.assertEqual(
            self.a.calls,
            [
                ("MAIL", "joe@x.example"),
                ("RCPT", "joe@a.example"),
                ("RCPT", "Jim@a.example"),
                ("accepted", ["joe@a.example", "Jim@a.example"]),
            ],
        )

    def test_address(self) -> None:
        """An address is looked for before its domain; its local part has a case."""
        self.send(self.client(), "Ann@A.example")
        self.send(self.client(), "ann@a.example")
        self.assertEqual(self.ann.kept, [(CONTENT, ["Ann@a.example"])])
        self.assertEqual(self.a.kept, [(CONTENT, ["ann@a.example"])])

    def test_unknown(self) -> None:
        """Who has no store is refused at RCPT."""
        for recipient in ("joe@c.example", "joe@sub.a.example", "Postmaster"):
            answers = self.send(self.client(), recipient)
            self.assertEqual(answers, ["550 No mail is accepted for this recipient"])

    def test_others(self) -> None:
        """Unless there is one for everybody else."""
        self.stores["*"] = Plain()
        self.send(self.client(), "joe@c.example")
        self.send(self.client(), "Postmaster")
        self.assertEqual(self.stores["*"].kept, [CONTENT, CONTENT])

    def test_refusedAtRecipient(self) -> None:
        """What a store refuses at RCPT is; what it refuses at MAIL is refused there, too."""
        client = self.client()
        self.assertEqual(self.send(client, "nobody@a.example"), ["550 no such user"])
        client.say("RSET")
        client.say("MAIL FROM:<spammer@x.example>")
        self.assertEqual(client.say("RCPT TO:<joe@a.example>").text, "not you")
        self.assertEqual(client.say("RCPT TO:<nobody@c.example>").code, 550)

    def test_several(self) -> None:
        """A message for several stores goes to each of them, with its recipients only."""
        client = self.client()
        answers = self.send(client, "x@a.example", "y@b.example", "z@a.example")
        self.assertEqual(answers, ["250 Message accepted"])
        self.assertEqual(self.a.kept, [(CONTENT, ["x@a.example", "z@a.example"])])
        self.assertEqual(self.b.kept, [(CONTENT, ["y@b.example"])])
        self.assertEqual(client.session.data, {"seen": 2})

    def test_large(self) -> None:
        """So does a large one."""
        client = self.client()
        for line in ("MAIL FROM:<>", "RCPT TO:<x@a.example>", "RCPT TO:<y@b.example>", "DATA"):
            client.say(line)
        for _ in range(40):
            client.send((b"x" * 998 + b"\r\n") * 64)
        client.send(b".\r\n")
        self.assertEqual([each.code for each in client.answers()], [250])
        self.assertEqual(len(self.a.kept[0][0]), 40 * 64000)
        self.assertEqual(self.a.kept[0][0], self.b.kept[0][0])

    def test_oneAnswer(self) -> None:
        """If one store refuses, SMTP's one answer is no 250; the log says who has it."""
        self.b.result = Rejection("full", 552)
        answers = self.send(self.client(), "x@a.example", "y@b.example")
        self.assertEqual(answers, ["552 full"])
        (event,) = [event for event in self.events if "stored" in event]
        self.assertEqual((event["stored"], event["refused"]), (["x@a.example"], ["y@b.example"]))

    def test_truthForEach(self) -> None:
        """In LMTP each recipient has its own store's answer, in the client's order."""
        self.b.result = Rejection("full", 552)
        self.a.result = lambda envelope: {
            envelope.rcptTo[0]: "one",
            str(envelope.rcptTo[1]): Rejection("two", 450),
        }
        self.ann.result = ["three"]
        client = self.client(lmtp=True)
        recipients = ("x@a.example", "y@b.example", "Ann@a.example", "z@a.example")
        answers = self.send(client, *recipients)
        self.assertEqual(answers, ["250 one", "552 full", "250 three", "450 two"])

    def test_bugs(self) -> None:
        """A store's bug is 451 for its recipients, and in the log; the others are stored."""
        for result in (KeyError("oops"), ["one too", "many"], [KeyError("returned")]):
            self.b.result = result
            client = self.client(lmtp=True)
            answers = self.send(client, "x@a.example", "y@b.example")
            self.assertEqual(answers, ["250 Message accepted", "451 Local error in processing"])
            self.assertEqual(len(self.flushLoggedErrors(KeyError, ValueError)), 1)

    def test_otherRefusals(self) -> None:
        """A refusal without a code is 450; an exception with a responseCode is one as well."""
        error = Exception("says the other")
        error.responseCode = 554  # type: ignore[attr-defined]
        for result, answer in ((Rejection("later"), "450 later"), (error, "554 says the other")):
            self.b.result = result
            answers = self.send(self.client(lmtp=True), "x@a.example", "y@b.example")
            self.assertEqual(answers[1], answer)

    def test_singleStore(self) -> None:
        """With one store its result is the server's, a bug included."""
        self.a.result = Accepted("kept", "2.0.0")
        self.assertEqual(self.send(self.client(), "x@a.example"), ["250 kept"])
        self.a.result = KeyError("oops")
        (answer,) = self.send(self.client(), "x@a.example")
        self.assertTrue(answer.startswith("451"), answer)
        self.flushLoggedErrors(KeyError)

    def test_laterStage(self) -> None:
        """Whom a later stage refuses doesn't get the message, though the store accepted them."""

        class Picky(SMTPHandler):
            def onRcptTo(self, address: Any, session: Any) -> None:
                if address.local == "y":
                    raise Rejection("not y")

        client = self.client(handler=Chain(self.make(), Picky()))
        answers = self.send(client, "x@a.example", "y@a.example", "y@b.example")
        self.assertEqual(answers[2:], ["250 Message accepted"])
        self.assertEqual(self.a.kept, [(CONTENT, ["x@a.example"])])
        self.assertEqual(self.b.kept, [])

    def late(self, *recipients: str) -> Any:
        """In front of it, something that tells it of nothing but the message."""
        store = self.make()

        class Late:
            def onData(self, stream: Any, session: Any) -> Any:
                return store.onData(stream, session)

        return Late()

    def test_askedLate(self) -> None:
        """If nobody was asked at RCPT, all are when the message comes."""
        answers = self.send(self.client(handler=self.late()), "x@a.example", "y@b.example")
        self.assertEqual(answers, ["250 Message accepted"])
        self.assertEqual(len(self.a.kept + self.b.kept), 2)

    def test_refusedLate(self) -> None:
        """Who is refused then: all, in SMTP, and nothing is stored; in LMTP only that one."""
        recipients = ("x@a.example", "nobody@b.example", "z@c.example")
        answers = self.send(self.client(handler=self.late()), *recipients)
        self.assertEqual((answers, self.a.kept), ([], []))
        client = self.client(handler=self.late(), lmtp=True)
        answers = self.send(client, *recipients)
        self.assertEqual(answers[0], "250 Message accepted")
        self.assertEqual([answer[:3] for answer in answers], ["250", "450", "550"])
        self.assertEqual(len(self.a.kept), 1)

    def test_reset(self) -> None:
        """A transaction that is given up leaves nothing for the next one."""
        client = self.client()
        client.say("MAIL FROM:<joe@x.example>")
        client.say("RCPT TO:<x@a.example>")
        client.say("RSET")
        self.assertEqual(self.a.calls[-1], ("reset", ["x@a.example"]))
        self.send(client, "y@a.example")
        self.assertEqual(self.a.kept, [(CONTENT, ["y@a.example"])])
        client.say("MAIL FROM:<joe@x.example>")
        client.say("RSET")

    def test_canceled(self) -> None:
        """When it takes too long all stores are canceled, and the copy is thrown away."""
        canceled: list[object] = []
        self.a.result = Deferred(canceled.append)
        self.b.result = Deferred(canceled.append)
        closed = closedSpools(self)
        client = self.client()
        self.assertEqual(self.send(client, "x@a.example", "y@b.example"), [])
        client.clock.advance(300)
        (answer,) = client.answers()
        self.assertEqual((answer.code, len(canceled), len(closed)), (451, 2, 1))

    def test_close(self) -> None:
        """To close it closes each store once."""
        self.stores["*"] = self.a
        self.stores["c.example"] = Plain()
        self.successResultOf(self.make().close())
        self.assertTrue(self.a.isClosed and self.b.isClosed)

    def test_wrong(self) -> None:
        """There must be a store, and it must store."""
        self.assertRaises(ConfigurationError, ByRecipient, {})
        error = self.assertRaises(ConfigurationError, ByRecipient, {"a.example": SMTPHandler()})
        self.assertIn("a.example: ", str(error))

    def test_example(self) -> None:
        """The how-to's example: two go their ways, and others to the relay."""
        FilePath("secret").write_text("sixteen octets at least")
        handler = load("routes").makeHandler()
        shown = repr(handler)
        for key, store in (("example.com", "Maildir"), ("tickets@example.com", "Webhook")):
            self.assertIn(f"{key}: <{store} ", shown)
        self.assertIn("*: <Forward to smtp+starttls://relay.example.net:25>", shown)
        self.successResultOf(handler.close())

    def test_repr(self) -> None:
        """It says what goes where."""
        self.assertIn("<ByRecipient a.example: <", repr(self.make()))
