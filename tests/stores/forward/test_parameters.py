"""What is handed on to the next hop, and what is refused because it can't be."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.forward.scripted import FakeHost, makePool
from twisted_smtpserver import Address, Rejection
from twisted_smtpserver.stores.forward.parameters import handOn, mailbox
from twisted_smtpserver.stores.forward.pool import Connection
from twisted_smtpserver.wire.path import parseForwardPath, parseReversePath


def address(args: dict[str, str | bool], path: bytes = b"<joe@x.example>") -> Address:
    parsed = parseReversePath(path)
    assert isinstance(parsed, tuple)
    return Address(parsed[0], args)


class HandOnTests(SynchronousTestCase):
    def connection(self, *offers: str, url: str = "smtp://next.example") -> Connection:
        host = FakeHost(url)
        waiting: Deferred[Any] = Deferred.fromCoroutine(makePool(Clock(), host).acquire())
        host.hops[0].open(*offers)
        connection: Connection = self.successResultOf(waiting)
        return connection

    def given(self, args: dict[str, str | bool], *offers: str, **options: str) -> bytes:
        return handOn(address(args), self.connection(*offers, **options))

    def assertRefused(self, reply: str, args: dict[str, str | bool], *offers: str) -> None:
        error = self.assertRaises(Rejection, self.given, args, *offers)
        self.assertEqual(f"{error.code} {error.enhanced}", reply)

    def test_none(self) -> None:
        """No parameters, no parameters."""
        self.assertEqual(self.given({}), b"")

    def test_offered(self) -> None:
        """What the next hop offers is handed on as it was sent."""
        offers = ("SMTPUTF8", "DSN", "MT-PRIORITY", "DELIVERBY", "FUTURERELEASE", "RRVS", "X-OWN")
        args: dict[str, str | bool] = {
            "SMTPUTF8": True,
            "RET": "HDRS",
            "ENVID": "a+20b",
            "MT-PRIORITY": "3",
            "BY": "120;R",
            "HOLDFOR": "60",
            "X-OWN": "x",
        }
        sent = b" SMTPUTF8 RET=HDRS ENVID=a+20b MT-PRIORITY=3 BY=120;R HOLDFOR=60 X-OWN=x"
        self.assertEqual(self.given(args, *offers), sent)
        args = {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;a@b", "RRVS": "2014-04-03T23:01:00Z"}
        sent = b" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b RRVS=2014-04-03T23:01:00Z"
        self.assertEqual(self.given(args, *offers), sent)

    def test_leftOut(self) -> None:
        """What isn't offered is left out where nothing is lost by that."""
        left: tuple[dict[str, str | bool], ...] = (
            {"SIZE": "1000"},
            {"BODY": "7BIT"},
            {"BODY": "8BITMIME"},
            {"RET": "FULL", "ENVID": "x"},
            {"ORCPT": "rfc822;a@b"},
            {"NOTIFY": "FAILURE,DELAY"},
            {"MT-PRIORITY": "3"},
        )
        for args in left:
            self.assertEqual(self.given(args, "PIPELINING"), b"", args)

    def test_notOurs(self) -> None:
        """What is between the client and us isn't handed on, nor is what we haven't checked."""
        self.assertEqual(self.given({"PRDR": True, "AUTH": "<>"}, "PRDR", "AUTH PLAIN"), b"")

    def test_refused(self) -> None:
        """Where something is, the client is refused."""
        cases: tuple[tuple[str, dict[str, str | bool]], ...] = (
            ("550 5.6.7", {"SMTPUTF8": True}),
            ("554 5.6.3", {"BODY": "BINARYMIME"}),
            ("550 5.7.30", {"REQUIRETLS": True}),
            ("550 5.3.3", {"NOTIFY": "SUCCESS"}),
            ("550 5.3.3", {"NOTIFY": "NEVER"}),
            ("550 5.3.3", {"BY": "120;R"}),
            ("550 5.3.3", {"HOLDUNTIL": "2030-01-01T00:00:00Z"}),
            ("550 5.3.3", {"RRVS": "2014-04-03T23:01:00Z"}),
            ("550 5.3.3", {"X-OWN": "x"}),
        )
        for reply, args in cases:
            self.assertRefused(reply, args, "PIPELINING")

    def test_size(self) -> None:
        """SIZE has room for our trace; what is too large is refused before it is sent."""
        self.assertEqual(self.given({"SIZE": "1000"}, "SIZE"), b" SIZE=3048")
        self.assertEqual(self.given({"SIZE": "1000"}, "SIZE 0"), b" SIZE=3048")
        self.assertEqual(self.given({"SIZE": "1000"}, "SIZE 1000"), b" SIZE=3048")
        self.assertEqual(self.given({"SIZE": "1000"}, "SIZE lots"), b" SIZE=3048")
        self.assertEqual(self.given({"SIZE": "1000"}, "SIZE " + "9" * 4000), b" SIZE=3048")
        self.assertRefused("552 5.3.4", {"SIZE": "1001"}, "SIZE 1000")

    def test_body(self) -> None:
        """8BITMIME and BINARYMIME are handed on to whoever has them."""
        self.assertEqual(self.given({"BODY": "8bitmime"}, "8BITMIME"), b" BODY=8BITMIME")
        binary = ("BINARYMIME", "CHUNKING")
        self.assertEqual(self.given({"BODY": "BINARYMIME"}, *binary), b" BODY=BINARYMIME")
        self.assertRefused("554 5.6.3", {"BODY": "BINARYMIME"}, "BINARYMIME")

    def test_requireTLS(self) -> None:
        """REQUIRETLS is for connections whose certificate was verified."""
        args: dict[str, str | bool] = {"REQUIRETLS": True}
        self.assertRefused("550 5.7.30", args, "REQUIRETLS")
        sent = self.given(args, "REQUIRETLS", url="smtps://next.example")
        self.assertEqual(sent, b" REQUIRETLS")

    def test_utf8(self) -> None:
        """UTF-8 in a parameter is for those who take SMTPUTF8."""
        args: dict[str, str | bool] = {"ORCPT": "utf-8;ü@b"}
        self.assertEqual(self.given(args, "DSN", "SMTPUTF8"), " ORCPT=utf-8;ü@b".encode())
        self.assertRefused("550 5.6.7", args, "DSN")


class MailboxTests(SynchronousTestCase):
    def path(self, sent: str, utf8: bool = False, lenient: bool = False) -> bytes:
        parsed = parseForwardPath(sent.encode(), lenient)
        assert isinstance(parsed, tuple)
        return mailbox(Address(parsed[0]), utf8, isSender=False)

    def assertRefused(self, reply: str, *arguments: Any) -> None:
        error = self.assertRaises(Rejection, self.path, *arguments)
        self.assertEqual(f"{error.code} {error.enhanced}", reply)

    def test_plain(self) -> None:
        """An address is itself; source routes are gone, and quotes only where they must be."""
        for sent, path in (
            ("<joe@X.example>", b"<joe@x.example>"),
            ("<@a.example:joe@x.example>", b"<joe@x.example>"),
            ('<"joe"@x.example>', b"<joe@x.example>"),
            ('<"a b"@x.example>', b'<"a b"@x.example>'),
            ("<joe@[192.0.2.1]>", b"<joe@[192.0.2.1]>"),
            ("<Postmaster>", b"<Postmaster>"),
        ):
            self.assertEqual(self.path(sent), path)

    def test_null(self) -> None:
        """The null reverse-path is one."""
        self.assertEqual(mailbox(address({}, b"<>"), utf8=False, isSender=True), b"<>")

    def test_utf8(self) -> None:
        """With SMTPUTF8 it is in UTF-8; without, the domain is in A-labels."""
        self.assertEqual(self.path("<jö@bücher.example>", True), "<jö@bücher.example>".encode())
        self.assertEqual(self.path("<joe@xn--bcher-kva.example>"), b"<joe@xn--bcher-kva.example>")
        self.assertRefused("553 5.6.7", "<jö@bücher.example>")

    def test_lenient(self) -> None:
        """What only lenient parsing takes isn't handed on: it might be read as something else."""
        for sent in ("<joe..x@y.example>", "<joe@y..example>", '<"joe@y.example>', "<a,b@x>"):
            self.assertRefused("553 5.1.3", sent, False, True)
