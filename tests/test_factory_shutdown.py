"""The factory stops gracefully: what becomes of its clients in each phase."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT, WAYS, Later, brief, codes, talk, walk
from twisted_smtpserver import Rejection
from twisted_smtpserver.factory import THREAD_INTERVAL
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client, RecordingHandler, connect, makeFactory


class ShutdownTests(SynchronousTestCase):
    """421 for those who are idle; messages may be finished; then it is over."""

    def begin(self, client: Client, closeTimeout: float | None = None) -> Deferred[None]:
        """Shut the server of a client down."""
        done: Deferred[None] = client.factory.shutdown(closeTimeout)
        client.settle()
        return done

    def assertGone(self, client: Client, done: Deferred[None]) -> None:
        """Assert that it is over, and nothing is left that waits."""
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_nobody(self):
        """Without connections it is over at once."""
        factory = makeFactory()
        self.successResultOf(factory.shutdown())
        self.successResultOf(factory.shutdown())
        self.assertEqual(factory.clock.getDelayedCalls(), [])

    def test_idle(self):
        """Before and after the hello: 421 4.3.2, closed."""
        for phase in (Phase.GREETED, Phase.READY):
            client = talk(phase)
            done = self.begin(client)
            (answer,) = client.answers()
            self.assertEqual(brief(answer), (421, "4.3.2"))
            self.assertTrue(client.isClosed)
            self.assertGone(client, done)

    def test_beforeTheGreeting(self):
        """Who hasn't been greeted gets the 421 as the greeting, which has no enhanced code."""
        client = connect(greetingDelay=5)
        done = self.begin(client)
        (answer,) = client.answers()
        self.assertEqual(brief(answer), (421, None))
        self.assertGone(client, done)

    def test_onConnectPending(self):
        """A hook that is pending may answer; after its reply comes the 421."""
        client = connect(onConnect=(later := Later()))
        done = self.begin(client)
        self.assertEqual(client.answers(), [])
        later.answer()
        client.settle()
        self.assertEqual(codes(client.answers()), [220, 421])
        self.assertGone(client, done)

    def test_hookPending(self):
        """So in a session."""
        client = talk(Phase.READY, onMailFrom=(later := Later()))
        client.send(MAIL.encode() + b"\r\n")
        done = self.begin(client)
        self.assertNoResult(done)
        later.fail(Rejection("no"))
        client.settle()
        self.assertEqual(codes(client.answers()), [550, 421])
        self.assertGone(client, done)

    def test_unwelcome(self):
        """Who isn't welcome is sent away at once."""

        def refuse(session):
            raise Rejection("no")

        client = connect(onConnect=refuse)
        done = self.begin(client)
        self.assertEqual(codes(client.answers()), [421])
        self.assertGone(client, done)

    def test_inLogin(self):
        """A login that isn't complete is no message."""
        client = talk(Phase.READY, onAuth=lambda credentials, session: None, allowInsecureAuth=True)
        self.assertEqual(client.say("AUTH PLAIN").code, 334)
        done = self.begin(client)
        self.assertEqual(codes(client.answers()), [421])
        self.assertGone(client, done)

    def test_message(self) -> None:
        """A transaction may be finished, from wherever it stands; then 421."""
        rest: dict[Phase, list[str]] = {
            Phase.MAIL: [RCPT, "DATA", "x", "."],
            Phase.RCPT: ["DATA", "x", "."],
            Phase.DATA: ["x", "."],
            Phase.CHUNKS: ["BDAT 3 LAST", "x"],
        }
        for phase, lines in rest.items():
            handler = RecordingHandler()
            client = talk(phase, handler)
            done = self.begin(client)
            self.assertEqual(client.answers(), [])
            answers = client.pipeline(*lines, MAIL)
            self.assertEqual(codes(answers)[-2:], [250, 421], phase)
            self.assertEqual(handler.outcomes, ["accepted"])
            self.assertGone(client, done)

    def test_given(self):
        """A transaction that its client gives up is over as well."""
        for line in ("RSET", HELLO):
            client = talk(Phase.MAIL)
            done = self.begin(client)
            self.assertEqual(codes(client.pipeline(line)), [250, 421])
            self.assertGone(client, done)

    def test_storing(self):
        """A handler that stores a message may finish."""
        client = talk(Phase.RCPT, onData=(later := Later()))
        client.send(b"BDAT 2 LAST\r\n\r\n")
        done = self.begin(client)
        client.wait(29)
        later.answer("stored")
        client.settle()
        self.assertEqual([answer.text for answer in client.answers()[:1]], ["stored"])
        self.assertTrue(client.isClosed)
        self.assertGone(client, done)

    def test_storingTooLong(self) -> None:
        """One that takes longer than closeTimeout is canceled before the 421: nothing is stored."""
        for lmtp in (False, True):
            handler: Any = RecordingHandler()
            handler.onData = later = Later()
            client = talk(Phase.RCPT, handler, lmtp=lmtp)
            client.send(b"BDAT 2 LAST\r\n\r\n")
            done = self.begin(client)
            client.wait(29.5)
            self.assertEqual((later.canceled, client.answers()), (0, []))
            client.wait(0.5)
            self.assertEqual(later.canceled, 1)
            self.assertEqual([brief(a) for a in client.answers()], [(421, "4.3.2")])
            self.assertEqual(handler.outcomes, ["refused"])
            self.assertTrue(client.isClosed)
            self.assertGone(client, done)

    def test_committing(self) -> None:
        """One that says that it can't take the message back is waited for, and answered."""
        client = talk(Phase.RCPT, onData=(later := Later()))
        client.send(b"BDAT 2 LAST\r\n\r\n")
        client.session.envelope.beginCommit()
        done = self.begin(client)
        client.wait(60)
        self.assertEqual((later.canceled, client.answers()), (0, []))
        self.assertNoResult(done)
        later.answer("stored")
        client.settle()
        self.assertEqual(codes(client.answers()), [250, 421])
        self.assertGone(client, done)

    def test_committingTooLong(self) -> None:
        """But no longer than handlerTimeout: then nobody knows, and the client tries again."""
        client = talk(Phase.RCPT, onData=(later := Later()), handlerTimeout=100)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        client.session.envelope.beginCommit()
        done = self.begin(client)
        client.wait(99)
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual((later.canceled, codes(client.answers())), (1, [451, 421]))
        self.assertGone(client, done)

    def test_tooLateToCommit(self) -> None:
        """After a refusal nothing can be committed: not in the background, nor by a copy."""
        refusals: list[Callable[[Client, Later], object]] = [
            lambda client, _: self.begin(client, closeTimeout=0),
            lambda client, _: client.wait(300),
            lambda _, later: later.fail(Rejection("no")),
        ]
        for refuse in refusals:
            client = talk(Phase.RCPT, onData=(later := Later()))
            client.send(b"BDAT 2 LAST\r\n\r\n")
            envelope = copy.copy(client.session.envelope)
            refuse(client, later)
            self.assertNotIn(250, codes(client.answers()))
            self.assertRaises(CancelledError, envelope.beginCommit)
        self.assertRaises(CancelledError, connect().session.envelope.beginCommit)

    def test_thread(self) -> None:
        """If a thread is at work, its message is waited for, and gets its 250; others aren't."""
        factory = makeFactory(onData=(later := Later()))
        threads: list[None] = [None]
        pool = SimpleNamespace(q=SimpleNamespace(qsize=lambda: 0), working=threads)
        factory.clock.threadpool = pool  # type: ignore[attr-defined]
        factory.clock.threadCallQueue = []  # type: ignore[attr-defined]
        storing, other = (walk(connect(factory), Phase.RCPT) for _ in range(2))
        storing.send(b"BDAT 2 LAST\r\n\r\n")
        done = self.begin(storing)
        storing.wait(30)
        self.assertEqual((codes(other.answers()), storing.answers()), ([421], []))
        other.lose()
        storing.wait(20)
        self.assertEqual((later.canceled, storing.answers()), (0, []))
        later.answer("stored")
        storing.settle()
        self.assertEqual(codes(storing.answers()), [250, 421])
        self.assertGone(storing, done)

    def test_threadGone(self) -> None:
        """When no thread is at work any more, whoever still isn't done is canceled."""
        factory = makeFactory(onData=(later := Later()))
        threads: list[None] = [None]
        pool = SimpleNamespace(q=SimpleNamespace(qsize=lambda: 0), working=threads)
        factory.clock.threadpool = pool  # type: ignore[attr-defined]
        factory.clock.threadCallQueue = []  # type: ignore[attr-defined]
        client = walk(connect(factory), Phase.RCPT)
        client.send(b"BDAT 2 LAST\r\n\r\n")
        done = self.begin(client)
        client.wait(31)
        self.assertNoResult(done)
        threads.clear()
        client.wait(THREAD_INTERVAL)
        self.assertEqual((later.canceled, codes(client.answers())), (1, [421]))
        self.assertGone(client, done)

    def test_tooLate(self) -> None:
        """What the client says after its 421 brings nothing any more."""
        handler = RecordingHandler()
        client = talk(Phase.DATA, handler)
        transport: Any = client.transport
        transport.loseConnection = lambda: None  # the 421 is on its way
        self.begin(client, closeTimeout=0)
        client.send(b"x\r\n.\r\n")
        self.assertEqual(codes(client.answers()), [421])
        self.assertEqual(handler.messages, [])
        client.wait(1)
        self.assertEqual(handler.outcomes, ["lost"])

    def test_closeTimeout(self):
        """What takes longer than closeTimeout is closed, in every phase."""
        for phase in WAYS:
            if phase in (Phase.GREETED, Phase.READY):
                continue
            handler = RecordingHandler()
            client = talk(phase, handler, closeTimeout=7)
            done = self.begin(client)
            client.wait(6.5)
            self.assertNoResult(done)
            client.wait(0.5)
            self.assertEqual(codes(client.answers()), [421])
            self.assertEqual(handler.outcomes, ["lost"])
            self.assertEqual(handler.calls[-1], "onClose")
            self.assertGone(client, done)

    def test_otherTimeout(self):
        """The timeout may be given, too, and may be none at all."""
        client = talk(Phase.DATA)
        done = self.begin(client, closeTimeout=0)
        self.assertEqual(codes(client.answers()), [421])
        self.assertGone(client, done)

    def test_handshake(self):
        """Where a handshake is due there is no place for a 421: closed, silently."""
        client = connect(secure=True, selfSigned=True)
        self.assertGone(client, self.begin(client))
        client = talk(Phase.READY, selfSigned=True)
        client.say("STARTTLS")
        self.assertGone(client, self.begin(client))
        self.assertEqual(client.answers(), [])

    def test_proxyHeader(self):
        """So where the PROXY header is."""
        client = connect(useProxy=True)
        self.assertGone(client, self.begin(client))
        self.assertEqual(client.answers(), [])

    def test_overTLS(self):
        """Under TLS it is said as everything else is."""
        client = connect(secure=True, selfSigned=True)
        client.startTLS()
        self.assertEqual(client.answer().code, 220)
        done = self.begin(client)
        self.assertEqual(codes(client.answers()), [421])
        self.assertGone(client, done)

    def test_several(self):
        """It is over when all are gone; whoever asks again waits for the same."""
        factory = makeFactory()
        clients = [connect(factory) for _ in range(3)]
        for client in clients[1:]:
            client.pipeline(HELLO, MAIL)
        first, second = factory.shutdown(), factory.shutdown(1000)
        for client in clients:
            self.assertNoResult(first)
            client.settle()
            client.lose()
        self.assertGone(clients[0], first)
        self.assertGone(clients[0], second)

    def test_newcomers(self):
        """Who connects meanwhile, or later, is told 421, under TLS nothing."""
        for options, code in (({}, 421), ({"secure": True, "selfSigned": True}, None)):
            factory = makeFactory(**options)
            factory.shutdown()
            client = connect(factory)
            self.assertEqual(client.greeting and client.greeting.code, code)
            self.assertTrue(client.isClosed)

    def test_again(self):
        """A server that listens again serves again; the old timeout closes nobody."""
        factory = makeFactory(closeTimeout=7)
        old = connect(factory)
        old.pipeline(HELLO, MAIL)
        done = factory.shutdown()
        factory.doStart()
        self.successResultOf(done)
        new = connect(factory)
        self.assertEqual(new.greeting.code, 220)
        new.wait(7)
        self.assertFalse(new.isClosed)
        # The old one gets its 421 when its transaction is over.
        self.assertEqual(codes(old.pipeline("RSET")), [250, 421])
        factory.doStop()
        self.assertNoResult(factory.shutdown(1000))

    def test_againLater(self):
        """So one that has nothing left from before."""
        factory = makeFactory()
        for _ in range(2):
            factory.doStart()
            client = connect(factory)
            self.assertEqual(client.say(HELLO).code, 250)
            factory.doStop()
            self.assertGone(client, self.begin(client))
