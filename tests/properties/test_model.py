"""
Arbitrary dialogues, against a model of RFC 5321 that knows nothing of how the server is made.

The model is written from section 4.1.4 (order of commands), 3.3 (transactions) and RFC 3030
(BDAT), as a few variables instead of tables, so that a mistake in the server's tables isn't made
twice.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import deferLater

from twisted_smtpserver import Rejection, SMTPHandler
from twisted_smtpserver.session import Address, Session
from twisted_smtpserver.testing import connect, makeFactory

MOST_UNKNOWN = 6
MOST_RECIPIENTS = 4
SIZE = 60


class Server(SMTPHandler):
    """Decides by the local part: ``refused``, ``later``, each with ``slow`` or without."""

    def __init__(self) -> None:
        self.clock: Any = None
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.ended: list[str] = []
        self.closed = 0

    def decide(self, address: Address) -> Any:
        def answer() -> None:
            if "refused" in address.local:
                raise Rejection("no", 550)
            if "later" in address.local:
                raise Rejection("not now", 450)

        return deferLater(self.clock, 1, answer) if "slow" in address.local else answer()

    def onMailFrom(self, address: Address, session: Session) -> Any:
        return self.decide(address)

    def onRcptTo(self, address: Address, session: Session) -> Any:
        return self.decide(address)

    def onAuth(self, credentials: Any, session: Session) -> Any:
        return credentials.username if credentials.password == "right" else None

    async def onData(self, stream: Any, session: Session) -> None:
        envelope = session.envelope
        sender = envelope.mailFrom
        assert sender is not None
        if "nodata" in sender.local:
            raise Rejection("no such content", 554)
        content = await stream.read()
        if "slow" in sender.local:
            await deferLater(self.clock, 1, lambda: None)
        recipients = [address.address for address in envelope.rcptTo]
        self.messages.append((sender.address, recipients, content))

    def onTransactionEnd(self, envelope: Any, outcome: str, session: Session) -> None:
        self.ended.append(outcome)

    def onClose(self, session: Session) -> None:
        self.closed += 1


class Model:
    """
    What RFC 5321 says about one connection.

    :ivar messages: what must have been delivered.
    :ivar ended: the outcomes of the transactions.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.ended: list[str] = []
        self.connect()

    def connect(self) -> None:
        self.open = True
        self.greeted = self.loggedIn = False
        self.sender: str | None = None
        self.recipients: list[str] = []
        self.chunks: bytes | None = None
        self.unknown = 0

    def end(self, outcome: str) -> None:
        if self.sender is not None:
            self.ended.append(outcome)
        self.sender, self.recipients, self.chunks = None, [], None

    def close(self) -> None:
        self.open = False
        self.end("lost")

    def verdict(self, local: str) -> int:
        return 550 if "refused" in local else 450 if "later" in local else 250

    def hello(self, isValid: bool) -> int:
        if not isValid:
            return 501
        self.end("reset")
        self.greeted = True
        return 250

    def mail(self, local: str | None) -> int:
        if not self.greeted or self.sender is not None:
            return 503
        if local is None:
            return 501
        code = self.verdict(local)
        if code == 250:
            self.sender = f"{local}@example.org"
        return code

    def rcpt(self, local: str | None) -> int:
        if self.sender is None or self.chunks is not None:
            return 503
        if local is None:
            return 501
        if len(self.recipients) == MOST_RECIPIENTS:
            return 452
        code = self.verdict(local)
        if code == 250:
            self.recipients.append(f"{local}@example.com")
        return code

    def data(self) -> int:
        if not self.recipients or self.chunks is not None:
            return 503
        assert self.sender is not None
        if "nodata" in self.sender:
            self.end("refused")
            return 554
        return 354

    def message(self, content: bytes) -> frozenset[int]:
        """The codes that may be the answer: where there are several faults, that of either."""
        assert self.sender is not None
        faults = set()
        lines = content.replace(b"\r\n", b"")
        if b"\n" in lines or b"\r" in lines:
            faults.add(550)
        if "nodata" in self.sender:
            faults.add(554)
        if len(content) > SIZE:
            faults.add(552)
        if not faults:
            self.messages.append((self.sender, self.recipients, content))
        self.end("refused" if faults else "accepted")
        return frozenset(faults or {250})

    def bdat(self, content: bytes, last: bool) -> int | frozenset[int]:
        if not self.recipients:
            return 503
        self.chunks = (self.chunks or b"") + content
        if last:
            return self.message(self.chunks)
        assert self.sender is not None
        isFine = len(self.chunks) <= SIZE and "nodata" not in self.sender
        if isFine and b"\r" not in self.chunks and b"\n" not in self.chunks:
            return 250
        return frozenset({250, 550, 552, 554})  # it may be noticed now, or later

    def rset(self) -> int:
        self.end("reset")
        return 250

    def auth(self, password: str) -> int:
        if not self.greeted or self.sender is not None or self.loggedIn:
            return 503
        self.loggedIn = password == "right"
        return 235 if self.loggedIn else 535

    def starttls(self) -> int:
        return 502 if self.greeted and self.chunks is None else 503

    def nonsense(self) -> int:
        self.unknown += 1
        if self.unknown < MOST_UNKNOWN:
            return 500
        self.close()
        return 421

    def quit(self) -> int:
        self.close()
        return 221


LOCALS = st.sampled_from(("joe", "slow", "refused", "later", "slowrefused", "nodata", "slowlater"))
CONTENTS = st.lists(
    st.sampled_from(
        (b"", b".", b"..", b"text", b"QUIT", b".QUIT", b"x" * 20, b"\n", b"\r", b"\0\xff")
    ),
    max_size=5,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
CHUNKS = st.sampled_from(
    (b"", b"x", b".\r\n", b"QUIT\r\n", b"RSET\r\nQUIT\r\n", b"y" * 40, b"\r", b"\n")
)

#: One command: what is sent, and what the model is asked.
COMMANDS = st.one_of(
    st.sampled_from(
        [
            (b"EHLO a.example\r\n", ("hello", True)),
            (b"helo a.example\r\n", ("hello", True)),
            (b"EHLO\r\n", ("hello", False)),
            (b"EHLO a b\x01\r\n", ("nonsense",)),
            (b"MAIL FROM: joe\r\n", ("mail", None)),
            (b"RCPT TO:<joe@>\r\n", ("rcpt", None)),
            (b"RSET\r\n", ("rset",)),
            (b"QUIT\r\n", ("quit",)),
            (b"FOO bar\r\n", ("nonsense",)),
            (b"\r\n", ("nonsense",)),
            (b"STARTTLS\r\n", ("starttls",)),
            (b"AUTH PLAIN AGpvZQByaWdodA==\r\n", ("auth", "right")),
            (b"AUTH PLAIN AGpvZQB3cm9uZw==\r\n", ("auth", "wrong")),
        ]
    ),
    LOCALS.map(lambda local: (f"MAIL FROM:<{local}@example.org>\r\n".encode(), ("mail", local))),
    LOCALS.map(lambda local: (f"rcpt to:<{local}@example.com>\r\n".encode(), ("rcpt", local))),
    st.tuples(CHUNKS, st.booleans()).map(
        lambda c: (b"BDAT %d%b\r\n%b" % (len(c[0]), b" LAST" if c[1] else b"", c[0]), ("bdat", *c))
    ),
)


class Dialogues(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.handler = Server()
        options: dict[str, Any] = {
            "maxUnrecognizedCommands": MOST_UNKNOWN,
            "maxRecipients": MOST_RECIPIENTS,
            "size": SIZE,
            "maxErrors": 10**6,
            "maxJunkCommands": 10**6,
            "maxRefusedRecipients": 10**6,
            "maxAuthAttempts": 10**6,
            "authFailureDelay": 0,
            "secured": True,
            "authOptional": True,
            "disableReverseLookup": True,
            "logger": False,
        }
        self.factory = makeFactory(self.handler, **options)
        self.handler.clock = self.factory.clock
        self.model = Model()
        self.connections = 0
        self.arrive()

    def arrive(self) -> None:
        self.client = connect(self.factory)
        self.connections += 1
        self.model.connect()
        assert self.client.greeting is not None
        assert self.client.greeting.code == 220

    def send(self, octets: bytes, cuts: list[int]) -> list[int]:
        """Send octets in pieces, wait for who is slow, and take the codes of the answers."""
        places = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
        for start, end in itertools.pairwise(places):
            self.client.send(octets[start:end])
        for _ in range(12):
            self.client.wait(1)
        answers = self.client.answers()
        for answer in answers:
            if answer.enhanced is not None:
                assert answer.enhanced[0] == str(answer.code)[0]
        return [answer.code for answer in answers]

    def compare(self, got: list[int], expected: list[int | frozenset[int]]) -> None:
        assert len(got) == len(expected), (got, expected)
        for code, wanted in zip(got, expected, strict=True):
            assert code in ({wanted} if isinstance(wanted, int) else wanted), (got, expected)
        assert self.client.isClosed == (not self.model.open)
        if not self.model.open:
            self.arrive()

    @rule(
        commands=st.lists(COMMANDS, min_size=1, max_size=8),
        cuts=st.lists(st.integers(0, 500), max_size=3),
    )
    def talk(self, commands: list[Any], cuts: list[int]) -> None:
        """A group of commands, in whatever segments."""
        expected = []
        for _, (name, *arguments) in commands:
            if self.model.open:
                expected.append(getattr(self.model, name)(*arguments))
        self.compare(self.send(b"".join(octets for octets, _ in commands), cuts), expected)

    @rule(
        content=CONTENTS,
        cuts=st.lists(st.integers(0, 500), max_size=3),
        isEager=st.booleans(),
        behind=st.sampled_from((b"", b"RSET\r\n", b"NOOP\r\n")),
    )
    def data(self, content: bytes, cuts: list[int], isEager: bool, behind: bytes) -> None:
        """DATA, and the message after the 354, or at once."""
        code = self.model.data()
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        expected: list[int | frozenset[int]] = [code]
        if not isEager:
            self.compare(self.send(b"DATA\r\n", cuts), expected)
            expected.clear()
        if code == 354:
            expected.append(self.model.message(content))
            if behind:
                expected.append(250)
            octets = stuffed + behind
        else:
            octets = b""
        if isEager:
            octets = b"DATA\r\n" + octets
        if octets:
            self.compare(self.send(octets, cuts), expected)

    @precondition(lambda self: self.model.greeted)
    @rule(sender=LOCALS, recipients=st.lists(LOCALS, min_size=1, max_size=3))
    def prepare(self, sender: str, recipients: list[str]) -> None:
        """The beginning of a transaction, so that there are enough of them."""
        expected: list[int | frozenset[int]] = [self.model.mail(sender)]
        lines = [f"MAIL FROM:<{sender}@example.org>\r\n"]
        for local in recipients:
            expected.append(self.model.rcpt(local))
            lines.append(f"RCPT TO:<{local}@example.com>\r\n")
        self.compare(self.send("".join(lines).encode(), []), expected)

    @rule(half=st.sampled_from((b"", b"MAIL FR", b"BDAT 10\r\nabc", b"RSET\r", b"DATA\r\nx")))
    def lose(self, half: bytes) -> None:
        """The connection is lost, maybe in the middle of something."""
        self.client.send(half)
        if half.startswith(b"DATA") and self.model.data() == 554:
            pass  # that ended the transaction already
        self.client.lose()
        self.model.close()
        self.arrive()

    @rule(seconds=st.sampled_from((5, 301)))
    def silence(self, seconds: int) -> None:
        """Silence, short or too long."""
        self.client.wait(seconds)
        if seconds > 300:
            self.model.close()
        got = [answer.code for answer in self.client.answers()]
        self.compare(got, [421] if seconds > 300 else [])

    @rule(octets=st.binary(min_size=1, max_size=40))
    def garbage(self, octets: bytes) -> None:
        """Octets at random on a connection of their own harm nobody else."""
        other = connect(self.factory)
        self.connections += 1
        other.send(octets)
        for answer in other.answers():
            assert 200 <= answer.code < 600
        other.lose()

    @invariant()
    def agree(self) -> None:
        """What was answered 250 is there, once; the transactions ended as they should have."""
        assert self.handler.messages == self.model.messages
        assert self.handler.ended == self.model.ended
        assert self.factory.connections == {self.client.protocol}
        assert self.handler.closed == self.connections - 1


# TWISTED_SMTPSERVER_EXAMPLES: more of them, for a night.
Dialogues.TestCase.settings = settings(
    max_examples=int(os.environ.get("TWISTED_SMTPSERVER_EXAMPLES", "60")),
    stateful_step_count=25,
    deadline=None,
)


#: Any dialogue has the replies, the messages and the ends that the model has.
DialogueModelTests = Dialogues.TestCase
