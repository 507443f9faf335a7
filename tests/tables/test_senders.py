"""Who may send as whom, by a file."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.tablefiles import TableTestCase
from twisted_smtpserver import Authenticated, Chain, ConfigurationError, Discard, SMTPHandler
from twisted_smtpserver.handlers.policies import SenderMatchesLogin
from twisted_smtpserver.tables import Senders
from twisted_smtpserver.testing import connect, runInline

LINES = (
    "# login   may send as",
    "joe       joe@example.com, Sales@Example.com",
    "ann@example.org  @example.org,news@b\u00fccher.example",
    "jos\u00e9      *",
)


class SendersTests(TableTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write(*LINES)

    def send(self, user: Any, *senders: str, **options: Any) -> list[int]:
        """The answers to MAIL."""
        stage = SMTPHandler()
        stage.onAuth = lambda credentials, session: user  # type: ignore[attr-defined]
        senderStage = SenderMatchesLogin(Senders(self.path, runInThread=runInline))
        handler = Chain(stage, senderStage, Discard())
        client = connect(handler, allowInsecureAuth=True, authOptional=True)
        client.say("EHLO client.example")
        if user is not None:
            client.say("AUTH PLAIN AGpvZQB4")
        answers = []
        for sender in senders:
            answers.append(client.say(f"MAIL FROM:<{sender}> SMTPUTF8").code)
            client.say("RSET")
        return answers

    def test_addresses(self) -> None:
        """The addresses that are listed, in letters of any case, and one's own; no others."""
        senders = ("joe@example.com", "sales@example.com", "JOE@EXAMPLE.com", "ann@example.com", "")
        self.assertEqual(self.send("joe", *senders), [250, 250, 250, 553, 250])

    def test_whole(self) -> None:
        """A part of an address that is listed is another address."""
        senders = ("oe@example.com", "joe@example.co", "les@example.com", "x@ample.org", "x@org")
        for user in ("joe", "ann@example.org"):
            self.assertEqual(self.send(user, *senders), [553] * 5)

    def test_domains(self) -> None:
        """Every address of a domain."""
        senders = (
            "any@example.org",
            "ann@example.org",
            "x@sub.example.org",
            "news@xn--bcher-kva.example",
        )
        self.assertEqual(self.send("ann@example.org", *senders), [250, 250, 553, 250])

    def test_anybody(self) -> None:
        """Anybody; the login name may be composed in any way, and be octets."""
        for user in ("jose\u0301", "jos\u00e9".encode()):
            self.assertEqual(self.send(user, "any@else.example"), [250])

    def test_others(self) -> None:
        """Who isn't in the file has their own name; other objects have none."""
        self.assertEqual(self.send("eve@x.example", "eve@x.example", "joe@example.com"), [250, 553])
        self.assertEqual(self.send(Authenticated(7), "joe@example.com"), [553])
        self.assertEqual(self.send(None, "joe@example.com"), [250])

    def test_text(self) -> None:
        """What is kept is text: the garbage collector looks at nothing, however long the file."""
        known = Senders(self.path)._file.latest
        self.assertFalse(any(map(gc.is_tracked, known._users.values())))

    def test_changed(self) -> None:
        """A file that has changed is read again."""
        senders = Senders(self.path, runInThread=runInline)
        self.write("joe news@example.com")
        self.patch(senders._file, "_lookedAt", -10.0)
        self.successResultOf(Deferred.fromCoroutine(senders._file.content()))
        self.assertIn("1 login names", self.log[-1])

    def test_wrong(self) -> None:
        """What is wrong is said with the line's number."""
        shape = "line 2: a line must be: login name, blanks, addresses"
        for line, reason in {
            "joe": shape,
            "\u0007 joe@example.com": shape,
            "joe joe": "line 2: an address must be written as joe@example.com",
            "joe @": "line 2: a domain must be written as @example.com",
            "first x@example.com": "line 2: an earlier line has the same login name",
        }.items():
            self.write("first first@example.com", line)
            error = self.assertRaises(ConfigurationError, Senders, self.path)
            self.assertIn(reason, str(error))
        self.assertRaises(ConfigurationError, Senders(self.path, later=True).load)
