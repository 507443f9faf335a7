"""Tests for the bounds that take counting: of a session, and of a client's sessions."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, Later, Log, brief, codes, talk
from twisted_smtpserver import Rejection
from twisted_smtpserver.auth.failures import (
    LOGIN_MEMORY,
    MAX_LOGIN_ADDRESSES,
    MAX_LOGIN_DELAY,
    LoginFailures,
)
from twisted_smtpserver.connection.counts import ClientCounts
from twisted_smtpserver.connection.timeouts import CommonTimer
from twisted_smtpserver.dialogue import conduct
from twisted_smtpserver.dialogue.conduct import MAX_ERROR_DELAY
from twisted_smtpserver.dialogue.octets import Pace
from twisted_smtpserver.handlers import fromFunctions
from twisted_smtpserver.options import Options
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import (
    Client,
    MemoryTransport,
    RecordingHandler,
    connect,
    makeFactory,
)
from twisted_smtpserver.wire.ip import addressBlock, addressNetwork

TOO_SLOW = [(421, "4.4.2")]


class PaceTests(SynchronousTestCase):
    """The judge of a rate."""

    def test_slow(self) -> None:
        """Too few octets in a window are too slow; that is known with the next ones after it."""
        pace = Pace(10, 100, 0)
        self.assertFalse(pace.isTooSlow(1, 99))
        self.assertTrue(pace.isTooSlow(1, 100))

    def test_enough(self) -> None:
        """Just enough are not."""
        pace = Pace(10, 100, 0)
        self.assertFalse(pace.isTooSlow(999, 1))
        self.assertFalse(pace.isTooSlow(1, 100))

    def test_beginning(self) -> None:
        """A fast beginning counts for its own window only."""
        pace = Pace(10, 100, 0)
        self.assertFalse(pace.isTooSlow(10**6, 1))
        self.assertFalse(pace.isTooSlow(1, 100))
        self.assertTrue(pace.isTooSlow(1, 200))

    def test_off(self) -> None:
        """No rate, no limit."""
        pace = Pace(0, 100, 0)
        self.assertFalse(pace.isTooSlow(1, 10**6))

    def test_pause(self) -> None:
        """Time in which it is us who don't read doesn't count, nor is anybody judged in it."""
        pace = Pace(10, 100, 0)
        pace.pause(10)
        pace.pause(20)
        self.assertFalse(pace.isTooSlow(1, 500))
        pace.resume(1010)
        pace.resume(1020)
        self.assertFalse(pace.isTooSlow(1, 1099))
        self.assertTrue(pace.isTooSlow(1, 1100))

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.integers(1, 50), min_size=1, max_size=50),
        st.integers(1, 64),
        st.integers(50, 300),
    )
    def test_steady(self, pauses: list[int], rate: int, window: int) -> None:
        """Whoever sends no slower than the rate is never cut off, however unevenly."""
        pace = Pace(rate, window, 0)
        now = 0
        for seconds in pauses:
            now += seconds
            self.assertFalse(pace.isTooSlow(rate * seconds, now))


class LateErrorTests(SynchronousTestCase):
    """A refusal that comes late, and is put off even then."""

    def test_both(self) -> None:
        """The hold goes on from the handler's wait to ours, and nothing overtakes."""
        later = Later()
        client = talk(Phase.READY, onMailFrom=later, maxErrors=4, errorDelay=1)
        client.say("RCPT")
        client.say("RCPT")
        client.send(f"{MAIL}\r\nNOOP\r\n".encode())
        later.fail(Rejection("no"))
        client.settle()
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(codes(client.answers()), [550, 250])


class MessageRateTests(SynchronousTestCase):
    """``minDataRate``: octets a second, over the message."""

    def trickle(self, client: Client, octets: bytes, every: float, times: int) -> None:
        for _ in range(times):
            client.wait(every)
            client.send(octets)

    def test_trickle(self) -> None:
        """A byte a second is cut off five minutes after the first; the handler learns of it."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler)
        self.trickle(client, b"x", 1, 300)
        self.assertFalse(client.isClosed)
        self.trickle(client, b"x", 1, 1)
        self.assertEqual([brief(answer) for answer in client.answers()], TOO_SLOW)
        self.assertTrue(client.isClosed)
        self.assertEqual(handler.outcomes, ["lost"])
        self.assertEqual(handler.messages, [])

    def test_slowLink(self) -> None:
        """An honest slow link may take hours: 600 bits a second, in bursts, with outages."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler)
        for _ in range(20):
            self.trickle(client, b"x" * 1123 + b"\r\n", 15, 60)
            client.wait(100)
        client.send(b".\r\n")
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(len(handler.messages[0].content), 20 * 60 * 1125)

    def test_chunks(self) -> None:
        """Chunks are judged together; between them the client owes nothing."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler)
        for _ in range(2):
            client.wait(200)
            client.send(b"BDAT 14\r\n")
            self.trickle(client, b"x", 10, 14)
            self.assertEqual(codes(client.answers()), [250])
        client.send(b"BDAT 14\r\n")
        self.trickle(client, b"x", 10, 2)
        self.assertEqual(client.answers(), [])
        self.trickle(client, b"x", 10, 1)
        self.assertEqual(codes(client.answers()), [421])
        self.assertEqual(handler.outcomes, ["lost"])

    def test_pieces(self) -> None:
        """The last octets of a chunk count as much as the first."""
        handler = RecordingHandler()
        client = talk(Phase.RCPT, handler, minDataRate=1000)
        for _ in range(400):
            client.send(b"BDAT 1000\r\nx")
            client.wait(1)
            client.send(b"x" * 997 + b"\r\n")
        client.send(b"BDAT 0 LAST\r\n")
        self.assertEqual(set(codes(client.answers())), {250})
        self.assertEqual(len(handler.messages[0].content), 400_000)

    def test_refusedChunk(self) -> None:
        """So are the octets of a refused one; each of them by itself."""
        client = talk(Phase.READY)
        for _ in range(3):
            client.send(b"BDAT 2\r\nxx")
            client.wait(290)
        self.assertEqual(codes(client.answers()), [503] * 3)
        client.send(b"BDAT 1000\r\n")
        self.trickle(client, b"x", 100, 4)
        self.assertEqual([brief(answer) for answer in client.answers()], TOO_SLOW)
        self.assertTrue(client.isClosed)

    def test_slowHandler(self) -> None:
        """That the handler is slow isn't the client's fault."""
        later = Later()

        async def onData(stream: Any, session: Session) -> None:
            async for _ in stream:
                await later()

        client = talk(Phase.DATA, onData=onData, minDataRate=1000)
        client.send(b"x" * 998 + b"\r\n")  # the handler has these
        client.wait(299)
        client.send(b"x" * 300_000)
        self.assertTrue(client.transport.isPaused)
        client.wait(299)
        later.answer()
        self.assertFalse(client.transport.isPaused)
        client.wait(2)
        client.send(b"\r\n.\r\n")
        later.answer()
        self.assertEqual(client.answers(), [])
        later.answer()
        self.assertEqual(codes(client.answers()), [250])

    def test_shortTimeout(self) -> None:
        """A server that is impatient with silence is no less patient with slow links."""
        client = talk(Phase.DATA, socketTimeout=1)
        self.trickle(client, b"x", 0.9, 300)
        self.assertFalse(client.isClosed)

    def test_off(self) -> None:
        """The rate is an option; 0 is none."""
        client = talk(Phase.DATA, minDataRate=0)
        self.trickle(client, b"x", 299, 20)
        self.assertFalse(client.isClosed)


class SessionTimeTests(SynchronousTestCase):
    """``maxSessionTime``."""

    def test_busy(self) -> None:
        """Whatever the client does, in the end it is 421."""
        client = talk(Phase.READY)
        for _ in range(21600 // 200 - 1):
            client.wait(200)
            self.assertEqual(client.say("NOOP").code, 250)
        client.wait(201)
        self.assertEqual([brief(answer) for answer in client.answers()], [(421, "4.4.2")])
        self.assertTrue(client.isClosed)
        self.assertEqual(client.protocol.dialogue.closeReason, "session lasted too long")

    def test_message(self) -> None:
        """Even in the middle of a message."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler, maxSessionTime=10)
        client.wait(10)
        self.assertEqual(codes(client.answers()), [421])
        self.assertEqual(handler.outcomes, ["lost"])

    def test_pending(self) -> None:
        """What is pending at that time is answered, and that is the last reply."""
        later = Later()
        client = talk(Phase.RCPT, onData=later, maxSessionTime=10)
        client.send(b"BDAT 1 LAST\r\nxNOOP\r\n")
        client.wait(11)
        self.assertFalse(client.isClosed)
        later.answer()
        self.assertEqual(codes(client.answers()), [250])
        self.assertTrue(client.isClosed)

    def test_beforeTheGreeting(self) -> None:
        """Where there is no dialogue to say it in, it isn't said."""
        for options in ({"greetingDelay": 20}, {"secure": True, "selfSigned": True}):
            client = connect(maxSessionTime=10, **options)
            client.wait(10)
            self.assertTrue(client.transport.isAborted)
            self.assertEqual(client.answers(), [])

    def test_closing(self) -> None:
        """A connection that is closing already is left to that."""
        client = talk(Phase.READY, maxSessionTime=10)
        # The client doesn't take its last octets.
        client.transport.loseConnection = lambda: None  # type: ignore[method-assign]
        client.wait(9)
        self.assertEqual(client.say("QUIT").code, 221)
        client.wait(5)
        self.assertEqual(client.answers(), [])
        client.wait(5)
        self.assertTrue(client.transport.isAborted)


class CommonTimerTests(SynchronousTestCase):
    """One timer for all."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ended: list[int] = []
        self.timer = CommonTimer(lambda: self.clock, 10, self.end)

    def begin(self, *names: int) -> None:
        for name in names:
            self.timer.begin(name, self.clock.seconds())

    def end(self, name: int) -> None:
        self.ended.append(name)
        1 // name

    def test_each(self) -> None:
        """Each is ended at its own time, or not at all if it has ended before."""
        self.begin(1, 2, 3)
        self.clock.advance(4)
        self.begin(4)
        self.timer.end(2)
        self.clock.advance(5.9)
        self.assertEqual(self.ended, [])
        self.clock.advance(0.1)
        self.assertEqual(self.ended, [1, 3])
        self.timer.end(3)
        self.clock.advance(3.9)
        self.assertEqual(self.ended, [1, 3])
        self.clock.advance(0.1)
        self.assertEqual(self.ended, [1, 3, 4])
        self.timer.end(4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_firstEnded(self) -> None:
        """The timer may have been for one that isn't there any more."""
        self.begin(1)
        self.clock.advance(4)
        self.begin(2)
        self.timer.end(1)
        self.clock.advance(6)
        self.assertEqual(self.ended, [])
        self.clock.advance(4)
        self.assertEqual(self.ended, [2])

    def test_noneLeft(self) -> None:
        """When nothing is left there is no timer."""
        self.begin(1, 2)
        for name in (1, 2):
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            self.timer.end(name)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_begun(self) -> None:
        """Who begins is told when it will be over."""
        self.clock.advance(5)
        self.assertEqual(self.timer.begin(1, self.clock.seconds()), 15)

    def test_setBack(self) -> None:
        """A clock that is set back puts nothing off for longer than the time it has anyway."""
        self.clock.advance(7200)
        self.begin(1)
        self.clock.advance(1)
        self.begin(2)
        self.clock.rightNow -= 3600
        self.begin(3)
        self.clock.advance(9.9)
        self.assertEqual(self.ended, [])
        self.clock.advance(0.1)
        self.assertEqual(self.ended, [1, 2, 3])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_setBackMeanwhile(self) -> None:
        """Where nothing is waited for, a clock that is set back changes nothing."""
        self.clock.advance(7200)
        self.begin(1)
        self.timer.end(1)
        self.clock.rightNow -= 3600
        self.begin(2, 3)
        self.clock.advance(10)
        self.assertEqual(self.ended, [2, 3])

    def test_failure(self) -> None:
        """One that fails doesn't keep the others."""
        self.begin(0, 2)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 10)
        self.clock.advance(0)
        self.assertEqual(self.ended, [0, 2])


class MessageCountTests(SynchronousTestCase):
    """``maxMessages``."""

    def test_tooMany(self) -> None:
        """So many MAIL commands, whatever came of them; then 421 (RFC 9422 section 4.1)."""
        client = talk(Phase.READY, maxMessages=3)
        self.assertEqual(client.deliver(b"x\r\n", hello=None).code, 250)
        self.assertEqual(codes(client.pipeline(MAIL, "RSET", f"{MAIL} X=y")), [250, 250, 555])
        self.assertEqual(brief(client.say(MAIL)), (421, "4.7.0"))
        self.assertTrue(client.isClosed)

    def test_advertised(self) -> None:
        """Clients are told (RFC 9422), unless the limit is as good as none."""
        self.assertIn("LIMITS RCPTMAX=1000 MAILMAX=3", connect(maxMessages=3).say(HELLO).lines)
        self.assertIn("LIMITS RCPTMAX=1000", connect().say(HELLO).lines)


class ErrorTests(SynchronousTestCase):
    """``maxErrors`` and ``errorDelay``."""

    def test_tooMany(self) -> None:
        """So many refused commands, then 421; positive replies in between don't help."""
        client = talk(Phase.READY, maxErrors=5, errorDelay=0)
        for _ in range(4):
            self.assertEqual(codes(client.pipeline("RCPT TO:<>", "NOOP")), [503, 250])
        self.assertEqual(brief(client.say("RCPT TO:<>")), (421, "4.7.0"))
        self.assertTrue(client.isClosed)

    def test_delay(self) -> None:
        """From half of them on, each comes later than the one before; order is kept."""
        client = talk(Phase.READY, maxErrors=10, errorDelay=2)
        self.assertEqual(codes(client.pipeline(*["RCPT TO:<>"] * 5)), [503] * 5)
        for number in range(1, 5):
            client.send(b"RCPT TO:<>\r\nNOOP\r\n")
            client.wait(2 * number - 0.1)
            self.assertEqual(client.answers(), [])
            client.wait(0.2)
            self.assertEqual(codes(client.answers()), [503, 250])
        self.assertEqual(client.say("RCPT TO:<>").code, 421)

    def test_longestDelay(self) -> None:
        """There is a longest delay, which no handler's timeout comes before."""
        for options, longest in (({}, MAX_ERROR_DELAY), ({"handlerTimeout": 4}, 2)):
            client = talk(Phase.READY, maxErrors=10, errorDelay=100, **options)
            client.pipeline(*["RCPT TO:<>"] * 5)
            client.send(b"RCPT TO:<>\r\n")
            client.wait(longest - 0.1)
            self.assertEqual(client.answers(), [])
            client.wait(0.2)
            self.assertEqual(codes(client.answers()), [503])

    def test_lostMeanwhile(self) -> None:
        """A client that leaves meanwhile leaves nothing behind."""
        client = talk(Phase.READY, maxErrors=2, errorDelay=1)
        client.pipeline("RCPT TO:<>")
        client.lose()
        client.wait(20)
        self.assertEqual(client.clock.getDelayedCalls(), [])
        self.assertEqual(client.answers(), [])

    def test_notCounted(self) -> None:
        """Not counted: what isn't the client's fault, and messages that are refused."""

        def onData(stream: Any, session: Session) -> None:
            raise Rejection("spam", 550)

        client = talk(Phase.MAIL, onData=onData, maxErrors=3, maxRecipients=1)
        self.assertEqual(codes(client.pipeline(*[RCPT] * 20)), [250] + [452] * 19)
        client.say("RSET")
        for _ in range(10):
            client.pipeline(MAIL, RCPT)
            client.send(b"BDAT 1 LAST\r\nx")
            self.assertEqual(codes(client.answers()), [550])

    def test_unwelcome(self) -> None:
        """A client that isn't welcome isn't held any longer for that."""

        def onConnect(session: Session) -> None:
            raise Rejection("no")

        client = connect(onConnect=onConnect, maxErrors=6, errorDelay=100)
        self.assertEqual(codes(client.pipeline(*["NOOP"] * 4)), [503] * 4)


class JunkTests(SynchronousTestCase):
    """``maxJunkCommands``."""

    LINES = ("NOOP", "RSET", "VRFY joe", "HELP", "EHLO a.example", "HELO a.example")

    def test_tooMany(self) -> None:
        """Who only passes the time is sent away."""
        client = connect(maxJunkCommands=6)
        self.assertEqual({answer.code // 100 for answer in client.pipeline(*self.LINES)}, {2})
        self.assertEqual(brief(client.say("NOOP")), (421, "4.7.0"))
        self.assertTrue(client.isClosed)

    def test_emptyChunks(self) -> None:
        """Chunks without an octet pass the time, too."""
        client = talk(Phase.RCPT, maxJunkCommands=4)  # the hello was one
        answers = [client.say("BDAT 0").code for _ in range(3)]
        self.assertEqual(answers, [250] * 3)
        client.send(b"BDAT 1\r\nx")
        self.assertEqual(codes(client.answers()), [250])
        self.assertEqual(client.say("BDAT 0").code, 421)

    def test_messageBetween(self) -> None:
        """A message sets the count back, if it was accepted; a refused one doesn't."""
        client = connect(RecordingHandler(), maxJunkCommands=2)
        for _ in range(3):
            self.assertEqual(
                client.deliver(
                    b"x\r\n", hello=None if client.session.messages else "EHLO a.example"
                ).code,
                250,
            )
            self.assertEqual(client.say("NOOP").code, 250)
        self.assertEqual(client.say("NOOP").code, 250)
        client.deliver(b"x\ny\r\n", hello=None)
        self.assertEqual(client.say("NOOP").code, 421)


class RefusedRecipientTests(SynchronousTestCase):
    """``maxRefusedRecipients``."""

    def refusing(self, **options: Any) -> Client:
        def onRcptTo(address: Address, session: Session) -> None:
            self.asked += 1
            if address.local != "jane":
                raise Rejection("nobody", 450 if address.local == "later" else 550)

        self.asked = 0
        return talk(Phase.MAIL, onRcptTo=onRcptTo, maxRefusedRecipients=3, **options)

    BAD = "RCPT TO:<nobody@example.com>"

    def test_harvest(self) -> None:
        """Who only guesses is cut off, and the handler isn't asked any more."""
        client = self.refusing()
        answers = client.pipeline(*[self.BAD] * 5)
        self.assertEqual([brief(a) for a in answers], [(550, "5.1.1")] * 3 + [(421, "4.7.0")])
        self.assertEqual(self.asked, 3)
        self.assertTrue(client.isClosed)

    def test_acrossMessages(self) -> None:
        """It is the session that counts."""
        client = self.refusing()
        got = [codes(client.pipeline(self.BAD, "RSET", MAIL)) for _ in range(3)]
        self.assertEqual(got, [[550, 250, 250]] * 3)
        self.assertEqual(client.say(RCPT).code, 421)

    def test_list(self) -> None:
        """A list with dead addresses gets to those that live; the rest is told to come again."""
        client = self.refusing()
        answers = client.pipeline(RCPT, *[self.BAD] * 5, RCPT)
        self.assertEqual(codes(answers), [250] + [550] * 3 + [452] * 3)
        client.say("DATA")
        client.send(b"x\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [250])

    def test_notCounted(self) -> None:
        """Temporary refusals aren't counted; nor do refused recipients count as errors."""
        client = self.refusing(maxErrors=2)
        answers = client.pipeline(*["RCPT TO:<later@example.com>"] * 9, *[self.BAD] * 3, RCPT)
        self.assertEqual(codes(answers), [450] * 9 + [550] * 3 + [421])

    def test_deferred(self) -> None:
        """Temporary ones have a bound of their own; who has a recipient may send first."""
        self.patch(conduct, "MAX_DEFERRED_RECIPIENTS", 3)
        later = "RCPT TO:<later@example.com>"
        client = self.refusing()
        self.assertEqual(codes(client.pipeline(*[later] * 4)), [450, 450, 421])
        self.assertTrue(client.isClosed)
        client = self.refusing()
        self.assertEqual(codes(client.pipeline(RCPT, *[later] * 4)), [250] + [450] * 4)
        self.assertEqual(client.say("DATA").code, 354)
        self.assertEqual(codes(client.pipeline("x", ".", MAIL, later)), [250, 250, 421])


class AddressBlockTests(SynchronousTestCase):
    """What stands for a client."""

    def test_blocks(self) -> None:
        """IPv4 by address, in either spelling; IPv6 by /64; what is neither by itself."""
        self.assertEqual(addressBlock("192.0.2.1"), "192.0.2.1")
        self.assertEqual(addressBlock("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(addressBlock("2001:db8::1"), addressBlock("2001:0db8:0:0:ffff::"))
        self.assertNotEqual(addressBlock("2001:db8::1"), addressBlock("2001:db8:0:1::1"))
        self.assertEqual(addressBlock("fe80::1%eth0"), addressBlock("fe80::2"))
        self.assertEqual(addressBlock("a wire"), "a wire")

    def test_networks(self) -> None:
        """IPv4 by /24, in either spelling; IPv6 by /48; what is neither by itself."""
        self.assertEqual(addressNetwork("192.0.2.1"), addressNetwork("::ffff:192.0.2.255"))
        self.assertNotEqual(addressNetwork("192.0.2.1"), addressNetwork("192.0.3.1"))
        self.assertEqual(addressNetwork("2001:db8::1"), addressNetwork("2001:db8:0:ffff::1"))
        self.assertNotEqual(addressNetwork("2001:db8::1"), addressNetwork("2001:db8:1::1"))
        self.assertEqual(addressNetwork("a wire"), "a wire")

    def test_counts(self) -> None:
        """Only what is there is kept."""
        counts = ClientCounts(2)
        blocks = [counts.enter(address) for address in ("a", "b", "a")]
        self.assertRaises(OverflowError, counts.enter, "a")
        for block in blocks:
            counts.leave(block)
        self.assertEqual(counts._counts, {})

    def test_off(self) -> None:
        """Without a limit nothing is counted."""
        counts = ClientCounts(None)
        self.assertIsNone(counts.enter("192.0.2.1"))
        self.assertEqual(counts._counts, {})


class LoginFailuresTests(SynchronousTestCase):
    """The failed logins that are remembered."""

    def test_delays(self) -> None:
        """Three are free; from then on it doubles up to the bound, however many there are."""
        failures = LoginFailures(1.5)
        got = [failures.failed("192.0.2.1", "joe", 0) for _ in range(2000)]
        self.assertEqual(got[:7], [0, 0, 0, 1.5, 3, 6, MAX_LOGIN_DELAY])
        self.assertEqual(set(got[7:]), {MAX_LOGIN_DELAY})

    def test_clients(self) -> None:
        """A client is an address, of IPv6 a /64; a unix socket is none."""
        failures = LoginFailures(1)
        for address in ("192.0.2.1", "2001:db8::1"):
            for _ in range(3):
                failures.failed(address, "joe", 0)
        got = [
            failures.failed(address, "joe", 0)
            for address in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::2")
        ]
        self.assertEqual(got, [1, 2, 0, 1])
        self.assertEqual({failures.failed(None, "joe", 0) for _ in range(9)}, {0})
        failures.succeeded(None, "joe")

    def test_expired(self) -> None:
        """What is forgotten leaves nothing behind; each failure is a new beginning."""
        failures = LoginFailures(1)
        for _ in range(2):
            failures.failed("192.0.2.1", "joe", 0)
        failures.failed("192.0.2.2", "joe", 500)
        failures.failed("192.0.2.1", "joe", 899)
        self.assertEqual(failures.failed("192.0.2.1", "joe", 1400), 1)
        self.assertEqual(list(failures._clients), ["192.0.2.1"])
        failures.failed("192.0.2.3", "joe", 1400 + LOGIN_MEMORY)
        self.assertEqual(list(failures._clients), ["192.0.2.3"])

    def test_forgottenSlowly(self) -> None:
        """Of many that failed at the same time a few are forgotten at a time, and none counts."""
        failures = LoginFailures(1)
        for number in range(1000):
            for _ in range(5):
                failures.failed(f"192.0.2.{number}", "joe", 0)
        self.assertEqual(failures.failed("192.0.2.999", "joe", LOGIN_MEMORY), 0)
        self.assertGreater(len(failures._clients), 980)

    def test_bounded(self) -> None:
        """Of too many clients those are forgotten that failed longest ago."""
        failures = LoginFailures(1, maxAddresses=2)
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
            failures.failed(address, "joe", 0)
        self.assertEqual(list(failures._clients), ["192.0.2.1", "192.0.2.3"])
        self.assertEqual(LoginFailures(1)._maxAddresses, MAX_LOGIN_ADDRESSES)

    def test_success(self) -> None:
        """It takes back what its own user mistyped last, once, and nobody else's failures."""
        failures = LoginFailures(1)
        failures.succeeded("192.0.2.1", "joe")
        for name in ("joe", "ann", "joe", "ann", "joe", "joe"):
            delay = failures.failed("192.0.2.1", name, 0)
        self.assertEqual(delay, 4)
        for name in ("ann", "joe", "joe"):
            failures.succeeded("192.0.2.1", name)
        failures.succeeded("192.0.2.2", "joe")
        self.assertEqual(failures.failed("192.0.2.1", "joe", 0), 2)

    def test_onlyMistyped(self) -> None:
        """If that was all there is nothing to remember."""
        failures = LoginFailures(1)
        for _ in range(5):
            failures.failed("192.0.2.1", "joe", 0)
        failures.succeeded("192.0.2.1", "joe")
        self.assertEqual(list(failures._clients), [])

    def test_off(self) -> None:
        """Without a delay nothing is remembered."""
        failures = LoginFailures(0)
        self.assertEqual({failures.failed("192.0.2.1", "joe", 0) for _ in range(9)}, {0})
        self.assertEqual(list(failures._clients), [])


class LoginDelayTests(SynchronousTestCase):
    """``loginDelay``."""

    def make(self, **options: Any) -> None:
        def onAuth(credentials: Any, session: Any) -> str | None:
            return credentials.username if credentials.password == "right" else None

        options = {"authFailureDelay": 0, "loginDelay": 1, "maxAuthAttempts": 100, **options}
        self.factory = makeFactory(onAuth=onAuth, allowInsecureAuth=True, logger=False, **options)

    def arrive(self, address: str = "192.0.2.1") -> Client:
        client = connect(self.factory, IPv4Address("TCP", address, 40000))
        client.say(HELLO)
        return client

    def ask(self, client: Client, password: str = "wrong", user: str = "joe") -> None:
        secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        client.send(f"AUTH PLAIN {secret}\r\n".encode())

    def seconds(self, client: Client, code: int = 535, **what: str) -> float:
        """How long a login takes to be answered."""
        self.ask(client, **what)
        waited = 0.0
        while not (answers := client.answers()):
            client.wait(0.25)
            waited += 0.25
        self.assertEqual(codes(answers), [code])
        return waited

    def test_grows(self) -> None:
        """The answers come later and later, over all connections of an address; no other's do."""
        self.make()
        self.assertEqual([self.seconds(self.arrive()) for _ in range(6)], [0, 0, 0, 1, 2, 4])
        self.assertEqual(self.seconds(self.arrive("192.0.2.2")), 0)

    def test_longest(self) -> None:
        """There is a longest delay; and a login mustn't last like a handler that hangs."""
        for options, longest in (({}, 10.0), ({"handlerTimeout": 8, "authFailureDelay": 1}, 4.0)):
            self.make(loginDelay=8, **options)
            got = [self.seconds(self.arrive()) for _ in range(5)]
            self.assertEqual(got[-1], longest)

    def test_slowHook(self) -> None:
        """A hook that has taken longer than that already isn't given any more."""
        self.make(handlerTimeout=8)
        for _ in range(5):
            self.seconds(self.arrive())
        answer: Deferred[None] = Deferred()
        self.factory.handler = fromFunctions(onAuth=lambda credentials, session: answer)
        client = self.arrive()
        self.ask(client)
        client.wait(5)
        answer.callback(None)
        self.assertEqual(codes(client.answers()), [535])

    def test_schedule(self) -> None:
        """It is added to the schedule that all failed logins have."""
        self.make(authFailureDelay=1)
        self.assertEqual([self.seconds(self.arrive()) for _ in range(5)], [1, 1, 1, 2, 3])

    def test_oneConnection(self) -> None:
        """It grows within a connection, too; the end comes with the last answer."""
        self.make(maxAuthAttempts=4)
        client = self.arrive()
        self.assertEqual([self.seconds(client) for _ in range(3)], [0, 0, 0])
        self.ask(client)
        client.wait(0.75)
        self.assertEqual(client.answers(), [])
        client.wait(0.25)
        self.assertEqual(codes(client.answers()), [535, 421])

    def test_default(self) -> None:
        """With the defaults it doesn't grow within an address's first connection."""
        self.make(maxAuthAttempts=Options.maxAuthAttempts)
        client = self.arrive()
        for expected in ([535], [535], [535, 421]):
            self.ask(client)
            self.assertEqual(codes(client.answers()), expected)

    def test_notTwice(self) -> None:
        """``errorDelay`` isn't added: failed logins have a limit of their own."""
        self.make(maxErrors=2, errorDelay=5)
        client = self.arrive()
        self.assertEqual([self.seconds(client) for _ in range(5)], [0, 0, 0, 1, 2])

    def test_success(self) -> None:
        """
        Who knows the password never waits. But an account of one's own is no help in trying others.
        """
        self.make()
        for expected in (0, 0, 0, 1, 2, 4):
            self.assertEqual(self.seconds(self.arrive(), user="ann"), expected)
            self.assertEqual(self.seconds(self.arrive(), 235, password="right"), 0)
        self.assertEqual(self.seconds(self.arrive(), 235, password="right", user="ann"), 0)
        self.assertEqual(self.seconds(self.arrive(), user="ann"), 0)

    def test_parallel(self) -> None:
        """A delayed answer holds its own connection only; they grow while others wait."""
        self.make()
        clients = [self.arrive() for _ in range(5)]
        for client in clients:
            self.ask(client)
        other = self.arrive()
        self.assertEqual(other.say("NOOP").code, 250)
        other.wait(1)
        self.assertEqual([len(client.answers()) for client in clients], [1, 1, 1, 1, 0])
        other.wait(1)
        self.assertEqual(len(clients[-1].answers()), 1)

    def test_quietTime(self) -> None:
        """After some time without a failure all is forgotten."""
        self.make()
        for _ in range(4):
            self.seconds(self.arrive())
        self.factory.clock.advance(LOGIN_MEMORY)  # type: ignore[attr-defined]
        self.assertEqual(self.seconds(self.arrive()), 0)

    def test_off(self) -> None:
        """Zero means no delay."""
        self.make(loginDelay=0)
        self.assertEqual({self.seconds(self.arrive()) for _ in range(9)}, {0})

    def test_reload(self) -> None:
        """New certificates forget nothing."""
        self.make(selfSigned=True)
        for _ in range(3):
            self.seconds(self.arrive())
        self.factory.updateSecureContext()
        self.assertEqual(self.seconds(self.arrive()), 1)

    def test_scram(self) -> None:
        """A mechanism that doesn't ask ``onAuth`` about a failure has the user's name, too."""
        self.make(authMethods=["SCRAM-SHA-256"])
        self.factory.handler.scramSecret = lambda *arguments: None  # type: ignore[attr-defined]
        self.factory._build()
        client = self.arrive()
        first = base64.b64encode(b"n,,n=joe,r=clientnonce").decode()
        nonce = base64.b64decode(client.say(f"AUTH SCRAM-SHA-256 {first}").text).split(b",")[0]
        final = base64.b64encode(b"c=biws," + nonce + b",p=" + base64.b64encode(b"x" * 32))
        self.assertEqual(client.say(final.decode()).code, 535)
        self.factory.loginFailures.succeeded("192.0.2.1", "joe")
        failures: Any = self.factory.loginFailures
        self.assertEqual(list(failures._clients), [])


class ClientsPerAddressTests(SynchronousTestCase):
    """``maxClientsPerAddress``."""

    def setUp(self) -> None:
        self.log = Log()
        self.factory = makeFactory(maxClientsPerAddress=2, logger=self.log.logger)

    def arrive(self, address: str, kind: Any = IPv4Address) -> Client:
        return connect(self.factory, kind("TCP", address, 40000))

    def greeting(self, client: Client) -> tuple[int, str | None]:
        assert client.greeting is not None
        return brief(client.greeting)

    def test_address(self) -> None:
        """The third one is told 421; others aren't harmed; one that leaves makes room."""
        first, second, third = [self.arrive("192.0.2.1") for _ in range(3)]
        self.assertEqual(self.greeting(second), (220, None))
        self.assertEqual(self.greeting(third), (421, None))
        self.assertTrue(third.isClosed)
        self.assertEqual(self.greeting(self.arrive("192.0.2.2")), (220, None))
        self.assertEqual(len(self.factory.connections), 3)
        first.lose()
        self.assertEqual(self.greeting(self.arrive("192.0.2.1")), (220, None))
        (event,) = self.log.of("refused")
        self.assertEqual(event["why"], "maxClientsPerAddress reached")

    def test_network(self) -> None:
        """IPv6 clients are counted by /64."""
        clients = [self.arrive(f"2001:db8::{n}", IPv6Address) for n in range(3)]
        self.assertEqual([self.greeting(client)[0] for client in clients], [220, 220, 421])
        self.assertEqual(self.greeting(self.arrive("2001:db8:0:1::1", IPv6Address))[0], 220)

    def test_unix(self) -> None:
        """Who comes by a unix socket isn't counted."""
        clients = [connect(self.factory, UNIXAddress(None)) for _ in range(3)]
        self.assertEqual([self.greeting(client)[0] for client in clients], [220] * 3)

    def viaProxy(self, source: str, **options: Any) -> Client:
        client = Client(self.factory, MemoryTransport())
        client.send(f"PROXY TCP4 {source} 192.0.2.25 5000 25\r\n".encode())
        client.greeting = client.answer()
        return client

    def test_proxy(self) -> None:
        """Behind a proxy it is the client that counts, not the proxy."""
        self.factory = makeFactory(maxClientsPerAddress=2, useProxy=True)
        for source in ("198.51.100.1", "198.51.100.2"):
            clients = [self.viaProxy(source) for _ in range(3)]
            self.assertEqual([self.greeting(client)[0] for client in clients], [220, 220, 421])
        clients[0].lose()
        self.assertEqual(self.greeting(self.viaProxy("198.51.100.2"))[0], 220)

    def test_proxyAndTLS(self) -> None:
        """With implicit TLS there is nothing to say it in."""
        self.factory = makeFactory(
            maxClientsPerAddress=1, useProxy=True, secure=True, selfSigned=True
        )
        first, second = [self.viaProxy("198.51.100.1") for _ in range(2)]
        self.assertFalse(first.isClosed)
        self.assertTrue(second.transport.isAborted)
        self.assertEqual(second.greeting, None)
