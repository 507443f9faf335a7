"""PRDR over the wire: draft-hall-prdr-00, as Exim speaks it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import Accepted, Rejection, SMTPHandler
from twisted_smtpserver.testing import Answer, Client, connect

CONTENT = b"Subject: test\r\n\r\nHello\r\n"
REFUSED = Rejection("fighter refuses the content", code=550, enhanced="5.6.0")
LATER = Rejection("fighter is asleep", code=450, enhanced="4.2.0")


class Results(SMTPHandler):
    """Reads a message and gives the result it was told to give."""

    def __init__(self, result):
        self.result = result
        self.wanted = []
        self.outcomes = []

    async def onData(self, stream, session):
        self.wanted.append(session.envelope.perRecipient)
        await stream.read()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def onTransactionEnd(self, envelope, outcome, session):
        self.outcomes.append(outcome)


def greeted(handler: object = None, **options) -> Client:
    """A client that has said hello."""
    client = connect(handler, extensions=["PRDR"], **options)
    client.say("EHLO client.example")
    return client


def deliver(
    client: Client, *recipients: str, parameter: str = "PRDR", content: bytes = CONTENT
) -> list[Answer]:
    """Send a message and take all that is said at its end."""
    client.say(f"MAIL FROM:<joe@example.org> {parameter}")
    for recipient in recipients:
        client.say(f"RCPT TO:<{recipient}@example.com>")
    client.say("DATA")
    client.send(content + b".\r\n")
    return client.answers()


def codes(answers: list[Answer]) -> list[tuple[int, str | None]]:
    """What a client goes by."""
    return [(answer.code, answer.enhanced) for answer in answers]


class OfferTests(SynchronousTestCase):
    """The EHLO keyword and the parameter of MAIL."""

    def test_offer(self):
        """It is offered, without parameters, if asked for."""
        hello = "EHLO client.example"
        self.assertIn("PRDR", connect(extensions=["PRDR"]).say(hello).lines)
        self.assertNotIn("PRDR", connect().say(hello).lines)

    def test_lmtp(self):
        """LMTP has it anyway, and so doesn't offer it."""
        client = connect(extensions=["PRDR"], lmtp=True)
        self.assertNotIn("PRDR", client.say("LHLO client.example").lines)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> PRDR").code, 555)

    def test_value(self):
        """It takes no value."""
        answer = greeted().say("MAIL FROM:<joe@example.org> PRDR=1")
        self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"))

    def test_otherParameter(self):
        """Another parameter of MAIL doesn't ask for it."""
        handler = Results(None)
        deliver(greeted(handler), "a", parameter="SIZE=100")
        self.assertEqual(handler.wanted, [False])

    def test_perTransaction(self):
        """The handler is asked for results by recipient where the client said so, only there."""
        handler = Results(None)
        client = greeted(handler)
        deliver(client, "a", "b")
        deliver(client, "a", "b", parameter="")
        self.assertEqual(handler.wanted, [True, False])


class BlockTests(SynchronousTestCase):
    """The replies, draft-hall-prdr-00 sections 4.4 and 4.5."""

    def test_oneRefuses(self):
        """353, a reply for each recipient in order, and a positive one for the message."""
        client = greeted(handler := Results([REFUSED, None]))
        answers = deliver(client, "fighter", "lover")
        self.assertEqual(
            codes(answers), [(353, None), (550, "5.6.0"), (250, "2.6.0"), (250, "2.6.0")]
        )
        self.assertEqual(answers[1].text, "fighter refuses the content")
        self.assertEqual(answers[3].text, "Message accepted for some recipients")
        self.assertEqual(handler.outcomes, ["accepted"])
        self.assertEqual(client.session.messages, 1)
        self.assertEqual(client.say("NOOP").code, 250)

    def test_allAccept(self):
        """As Exim does, the block is sent, too, if there are several recipients and all accept."""
        answers = deliver(greeted(Results(None)), "a", "b", "a")
        self.assertEqual([answer.code for answer in answers], [353, 250, 250, 250, 250])
        self.assertEqual(answers[4].text, "Message accepted")

    def test_texts(self):
        """Each recipient may have words of its own, by address."""
        client = greeted(Results({"a@example.com": "one", "b@example.com": Accepted("two")}))
        answers = deliver(client, "a", "b")
        self.assertEqual([answer.text for answer in answers[1:3]], ["one", "two"])

    def test_oneRecipient(self):
        """With one recipient there is one reply, as ever."""
        self.assertEqual(codes(deliver(greeted(Results([None])), "a")), [(250, "2.6.0")])
        self.assertEqual(codes(deliver(greeted(Results([REFUSED])), "a")), [(550, "5.6.0")])

    def test_allRefuseAlike(self):
        """So there is if the message is refused as a whole, or to all in the same words."""
        for result in (REFUSED, [REFUSED, REFUSED]):
            handler = Results(result)
            self.assertEqual(codes(deliver(greeted(handler), "a", "b")), [(550, "5.6.0")])
            self.assertEqual(handler.outcomes, ["refused"])

    def test_tooLarge(self):
        """So there is for a message that is too large for anybody."""
        client = greeted(Results([None, None]), size=100)
        answers = deliver(client, "a", "b", content=b"x" * 98 + b"\r\n" + b"y\r\n")
        self.assertEqual(codes(answers), [(552, "5.3.4")])

    def test_allRefuse(self):
        """If all refuse, the reply for the message is negative, and temporary if one of them is."""
        other = Rejection("no", code=554, enhanced="5.7.1")
        answers = deliver(greeted(Results([REFUSED, other])), "a", "b")
        self.assertEqual(
            codes(answers), [(353, None), (550, "5.6.0"), (554, "5.7.1"), (550, "5.6.0")]
        )
        handler = Results([REFUSED, LATER, other])
        answers = deliver(greeted(handler), "a", "b", "c")
        self.assertEqual(codes(answers)[4], (450, "4.2.0"))
        self.assertEqual(handler.outcomes, ["refused"])

    def test_wrongNumber(self):
        """Results that don't match the recipients refuse the message to all."""
        client = greeted(Results([None]))
        answers = deliver(client, "a", "b")
        self.assertEqual(codes(answers), [(451, "4.3.0")])
        self.assertEqual(client.say("NOOP").code, 250)
        self.flushLoggedErrors(ValueError)

    def test_chunks(self):
        """BDAT has it as well, with the last chunk."""
        client = greeted(Results([None, REFUSED]))
        client.say("MAIL FROM:<joe@example.org> PRDR")
        client.say("RCPT TO:<a@example.com>")
        client.say("RCPT TO:<b@example.com>")
        client.send(b"BDAT 5\r\nabcdeBDAT 3 LAST\r\nfgh")
        self.assertEqual(
            codes(client.answers()),
            [(250, "2.0.0"), (353, None), (250, "2.6.0"), (550, "5.6.0"), (250, "2.6.0")],
        )

    def test_pipelined(self):
        """The whole block comes before the answer to the next command."""
        verdict: Deferred[list[object]] = Deferred()
        client = greeted(onData=lambda stream, session: verdict)
        client.pipeline(
            "MAIL FROM:<joe@example.org> PRDR",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
        )
        client.send(CONTENT + b".\r\nNOOP\r\n")
        self.assertEqual(client.answers(), [])
        verdict.callback([REFUSED, None])
        client.settle()
        self.assertEqual(
            [answer.code for answer in client.answers()], [354, 353, 550, 250, 250, 250]
        )

    def test_notAskedFor(self):
        """Without the parameter mixed results have nowhere to go: 451."""
        answers = deliver(greeted(Results([None, REFUSED])), "a", "b", parameter="")
        self.assertEqual(codes(answers), [(451, "4.3.0")])
        self.flushLoggedErrors(ValueError)
