"""Tests for :mod:`twisted_smtpserver.filters.fields`."""

from __future__ import annotations

from tests.filters.test_filtered import FilteredCase
from tests.support.talk import brief
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.filters import AddFields, RemoveFields, RequireFields

WHOLE = b"From: a@b.c\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <a@b>\r\n"


class RequireTests(FilteredCase):
    """What isn't a message stays out."""

    def test_missing(self) -> None:
        """Each field that must be there has a refusal with its name; an empty one is missing."""
        client = self.serve(RequireFields())
        self.assertEqual(client.deliver(WHOLE + b"\r\nhi\r\n").code, 250)
        for name in (b"From", b"Date", b"Message-ID"):
            for instead in (b"X-", b"Resent-"):
                answer = client.deliver(WHOLE.replace(name, instead + name) + b"\r\n", hello=None)
                self.assertEqual(brief(answer), (550, "5.6.0"))
                self.assertIn(f"no {name.decode()}: field", answer.text)
        answer = client.deliver(WHOLE.replace(b"a@b.c", b" ") + b"\r\n", hello=None)
        self.assertIn("no From: field", answer.text)

    def test_twice(self) -> None:
        """What may be there once only isn't there twice, in any case of letters."""
        client = self.serve(RequireFields())
        for second in (b"FROM: x@y.z\r\n", b"from : x@y.z\r\n", b"Subject: 1\r\nsubject: 2\r\n"):
            answer = client.deliver(WHOLE + second + b"\r\n")
            self.assertEqual(brief(answer), (550, "5.6.0"))
            self.assertIn("more than one", answer.text)
        self.assertEqual(client.deliver(WHOLE + b"Received: a\r\nReceived: b\r\n\r\n").code, 250)

    def test_names(self) -> None:
        """Other fields may be asked for."""
        client = self.serve(RequireFields("Subject"))
        self.assertEqual(client.deliver(b"Subject: a\r\n\r\n").code, 250)
        self.assertEqual(client.deliver(WHOLE + b"\r\n").code, 550)
        self.assertEqual(repr(RequireFields()), "<RequireFields From, Date, Message-ID>")


class AddTests(FilteredCase):
    """Fields of one's own."""

    def test_add(self) -> None:
        """Texts, and what functions say; nothing for None."""
        fields = AddFields(
            {
                "X-Site": "Vienna",
                "X-Client": lambda message, session: session.remoteAddress,
                "X-None": lambda message, session: None,
            }
        )
        self.serve(fields).deliver(b"A: b\r\n\r\n")
        self.assertEqual(
            self.store.messages, [b"X-Site: Vienna\r\nX-Client: 192.0.2.1\r\nA: b\r\n\r\n"]
        )
        self.assertEqual(repr(fields), "<AddFields X-Site, X-Client, X-None>")

    def test_bad(self) -> None:
        """What can't be in a header is refused when it is made."""
        self.assertRaises(ConfigurationError, AddFields, {"a b": "c"})
        self.assertRaises(ConfigurationError, AddFields, {"a": "b\r\nc"})


class RemoveTests(FilteredCase):
    """Fields that nobody else may add."""

    def test_remove(self) -> None:
        """Those of a name, and those whose name begins so."""
        fields = RemoveFields("X-Spam", "X-Our-*")
        self.serve(fields).deliver(
            b"x-spam: 1\r\nA: b\r\nX-Our-A: 1\r\nX-SPAMMY: 2\r\nx-our-: 1\r\n\r\n"
        )
        self.assertEqual(self.store.messages, [b"A: b\r\nX-SPAMMY: 2\r\n\r\n"])
        self.assertEqual(repr(fields), "<RemoveFields x-our-*, x-spam>")

    def test_namesOnly(self) -> None:
        """Without a name that ends in an asterisk nothing else goes."""
        self.serve(RemoveFields("A")).deliver(b"A: b\r\nB: c\r\n\r\n")
        self.assertEqual(self.store.messages, [b"B: c\r\n\r\n"])
