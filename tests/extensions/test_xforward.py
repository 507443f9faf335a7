"""XFORWARD over the wire, as Postfix's XFORWARD_README has it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.testing import Client, connect

KEYWORD = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
PEER = "192.0.2.1"
UNKNOWN = dict.fromkeys(("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"))


def filtering(**options) -> Client:
    """A filter that is trusted, and has said hello."""
    options.setdefault("useXForward", [PEER])
    client = connect(**options)
    client.say("EHLO filter.example")
    return client


class OfferTests(SynchronousTestCase):
    """Who may use it."""

    def test_offByDefault(self):
        """Without the option it isn't offered, and 502."""
        client = connect()
        self.assertNotIn(KEYWORD, client.say("EHLO filter.example").lines)
        answer = client.say("XFORWARD NAME=a.example")
        self.assertEqual((answer.code, answer.enhanced), (502, "5.5.1"))

    def test_trusted(self):
        """It is offered to those whom the option names, with its attributes."""
        client = connect(useXForward=["192.0.2.0/24"])
        self.assertIn(KEYWORD, client.say("EHLO filter.example").lines)
        answer = client.say("XFORWARD NAME=a.example")
        self.assertEqual((answer.code, answer.enhanced), (250, "2.0.0"))

    def test_notTrusted(self):
        """It isn't to others, and 550."""
        client = connect(useXForward=["203.0.113.0/24"])
        self.assertNotIn(KEYWORD, client.say("EHLO filter.example").lines)
        answer = client.say("XFORWARD NAME=a.example")
        self.assertEqual((answer.code, answer.enhanced), (550, "5.7.0"))
        self.assertEqual(client.session.xForward, {})

    def test_afterXClient(self):
        """After XCLIENT has said the address it isn't offered any more, and 503."""
        client = filtering(useXClient=True)
        client.say("XCLIENT HELO=client.example")
        self.assertIn(KEYWORD, client.say("EHLO filter.example").lines)
        self.assertEqual(client.say("XFORWARD NAME=a.example").code, 250)
        client.say("XCLIENT ADDR=198.51.100.7")
        self.assertEqual(client.session.xForward, {})
        self.assertNotIn(KEYWORD, client.say("EHLO filter.example").lines)
        answer = client.say("XFORWARD NAME=a.example")
        self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))


class TransactionEndTests(SynchronousTestCase):
    """A message is what it is about."""

    def test_told(self):
        """The hook that hears of the transaction's end still sees it; afterwards it is gone."""
        seen = []

        def onTransactionEnd(envelope, outcome, session):
            seen.append(session.xForward["NAME"])

        client = filtering(onTransactionEnd=onTransactionEnd)
        client.pipeline("XFORWARD NAME=a.example", "MAIL FROM:<joe@example.org>", "RSET")
        self.assertEqual((seen, client.session.xForward), (["a.example"], {}))


class AttributesTests(SynchronousTestCase):
    """What it does."""

    def test_all(self):
        """All that is said is in xForward, and nowhere else."""
        client = filtering()
        before = (client.session.remoteAddress, client.session.clientHostname)
        answer = client.say(
            "xforward name=spike.porcupine.org addr=168.100.189.2 port=4711 proto=ESMTP"
            " helo=spike+2Eporcupine.org ident=3CF6B2AAE8 source=remote"
        )
        self.assertEqual(answer.code, 250)
        self.assertEqual(
            client.session.xForward,
            {
                "NAME": "spike.porcupine.org",
                "ADDR": "168.100.189.2",
                "PORT": 4711,
                "PROTO": "ESMTP",
                "HELO": "spike.porcupine.org",
                "IDENT": "3CF6B2AAE8",
                "SOURCE": "REMOTE",
            },
        )
        self.assertEqual((client.session.remoteAddress, client.session.clientHostname), before)
        self.assertEqual(client.session.hostNameAppearsAs, "filter.example")

    def test_incremental(self):
        """The first sets all others to unknown, the next ones add to it."""
        client = filtering()
        client.say("XFORWARD NAME=a.example PORT=[UNAVAILABLE]")
        self.assertEqual(client.session.xForward, UNKNOWN | {"NAME": "a.example"})
        client.say("XFORWARD ADDR=IPV6:2001:db8::1 NAME=b.example")
        self.assertEqual(
            client.session.xForward, UNKNOWN | {"NAME": "b.example", "ADDR": "2001:db8::1"}
        )

    def test_oneMessage(self):
        """It holds for the next message: until its end, RSET, or a hello."""
        seen = []
        client = filtering(onData=lambda stream, session: seen.append(session.xForward["NAME"]))
        client.say("XFORWARD NAME=a.example")
        client.deliver(b"Hello\r\n", hello=None)
        self.assertEqual(seen, ["a.example"])
        self.assertEqual(client.session.xForward, {})
        for command in ("RSET", "EHLO filter.example"):
            client.say("XFORWARD NAME=a.example")
            client.say(command)
            self.assertEqual(client.session.xForward, {})

    def test_refused(self):
        """What can't be understood is 501, in a transaction 503, before the hello 503."""
        client = filtering()
        for argument in ("", " NAME", " COLOR=red", " ADDR=x", " SOURCE=HERE", " NAME=a+20b"):
            answer = client.say("XFORWARD" + argument)
            self.assertEqual((answer.code, answer.enhanced), (501, "5.5.4"), argument)
        self.assertEqual(client.session.xForward, {})
        client.say("MAIL FROM:<joe@example.org>")
        self.assertEqual(client.say("XFORWARD NAME=a.example").code, 503)
        self.assertEqual(connect(useXForward=True).say("XFORWARD NAME=a.example").code, 503)
