"""Tests for :mod:`twisted_smtpserver.filters.authentication`."""

from __future__ import annotations

import socket
from typing import Any

from tests.filters.test_filtered import FilteredCase, Judge, Store
from tests.support.talk import brief
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.filters import Filtered, Message, RequireAuthentication, authentication
from twisted_smtpserver.filters.authentication import MAX_REPORTS, Trust
from twisted_smtpserver.testing import runInline

NAME = "Authentication-Results"


def reporting(results: str) -> Any:
    """A filter's function that reports something as mx.test."""

    def report(message: Message) -> dict[str, str]:
        return {NAME: f"mx.test; {results}"}

    return report


class TrustTests(FilteredCase):
    """What our filters report counts, what others do doesn't."""

    #: Under our name, wherever it stands and however it is written; then what has no name at all.
    FORGED = (
        f"{NAME}: mx.test; dmarc=pass",
        f"{NAME.upper()} : MX.Test; dmarc=pass",
        f"{NAME}:\r\n (comment (nested)) mx.test\r\n ; dmarc=pass",
        f'{NAME}: "mx.test" 1; dmarc=pass',
        f'{NAME}: "m\\x.test"; dmarc=pass',
        f"{NAME}: (((((too deep))))) mx.test; dmarc=pass",
        f"{NAME}: ; dmarc=pass",
    )

    def test_forged(self) -> None:
        """What came with a message under our name is removed before any filter sees it."""
        seen: list[list[str]] = []
        client = self.serve(
            lambda message: seen.append(message.header.all(NAME)), authservId="MX.test"
        )
        other = f"{NAME}: other.test; dmarc=pass\r\n"
        for forged in self.FORGED:
            content = f"{forged}\r\nA: b\r\n{other}{forged}\r\nC: d\r\n\r\n{forged}\r\n".encode()
            client.deliver(content)
            self.assertEqual(seen.pop(), ["other.test; dmarc=pass"], forged)
            body = f"A: b\r\n{other}C: d\r\n\r\n{forged}\r\n".encode()
            self.assertEqual(self.store.messages.pop(), body)
            self.assertEqual(client.session.envelope.authentication.results, ())
            client.say("RSET")

    def test_many(self) -> None:
        """Of a message with a great many, all go."""
        content = f"{NAME}: other.test; dmarc=pass\r\n".encode() * (MAX_REPORTS + 1) + b"\r\n"
        self.serve(lambda message: None, authservId="mx.test").deliver(content)
        self.assertEqual(self.store.messages, [b"\r\n"])

    def test_reported(self) -> None:
        """What filters add reaches the next one, and the handler, typed."""
        found: list[Any] = []

        def look(message: Message) -> None:
            found.append(message.envelope.authentication)

        client = self.serve(
            look,
            reporting("spf=pass smtp.mailfrom=a.test; dkim=fail header.d=a.test"),
            look,
            lambda message: {NAME: "other.test; dmarc=pass"},
            reporting("dmarc=fail header.from=a.test"),
            look,
            authservId="mx.test",
        )
        client.deliver(b"Subject: hi\r\n\r\n")
        before, between, after = found
        self.assertEqual(before.results, ())
        self.assertEqual([each.method for each in between], ["spf", "dkim"])
        self.assertEqual(sorted(each.method for each in after), ["dkim", "dmarc", "spf"])
        self.assertEqual(after.dmarc.result, "fail")
        self.assertEqual(after.spf.properties, {"smtp.mailfrom": "a.test"})

    def test_nextMessage(self) -> None:
        """The next message begins without results."""
        found: list[Any] = []
        client = self.serve(
            lambda message: found.append(message.envelope.authentication.results),
            reporting("spf=pass"),
            authservId="mx.test",
        )
        client.deliver(b"Subject: hi\r\n\r\n")
        client.deliver(b"Subject: hi\r\n\r\n", hello=None)
        self.assertEqual(found, [(), ()])

    def test_nested(self) -> None:
        """Where one Filtered is another one's store, what the outer filters reported stays."""
        found: list[Any] = []

        def look(message: Message) -> dict[str, str]:
            found.append((message.envelope.authentication.spf, message.header.all(NAME)))
            return {"X-A": "b"}

        for name in ("mx.test", "inner.test"):
            self.store = Filtered(Store(), Judge(look), authservId=name, runInThread=runInline)
            client = self.serve(reporting("spf=pass"), authservId="mx.test")
            for hello in ("EHLO client.example", None):
                content = f"{NAME}: mx.test; spf=fail\r\n\r\n".encode()
                self.assertEqual(client.deliver(content, hello=hello).code, 250)
                known, fields = found.pop()
                self.assertEqual((known.result, fields), ("pass", ["mx.test; spf=pass"]))

    def test_defaultName(self) -> None:
        """Unless told otherwise the name is the host's."""
        self.assertEqual(Trust().authservId, socket.gethostname().lower())


class RequireTests(FilteredCase):
    """Who isn't authenticated stays out."""

    def answer(self, said: str, *methods: str, **keywords: Any) -> tuple[int, str | None]:
        """The answer to a message about which a filter reported something."""
        require = RequireAuthentication(*methods, **keywords)
        client = self.serve(reporting(said), require, authservId="mx.test")
        return brief(client.deliver(b"Subject: hi\r\n\r\n"))

    def test_verdicts(self) -> None:
        """One of the methods must have passed; the codes are those of RFC 7372."""
        for results, methods, code in [
            ("dmarc=pass", ["dmarc"], (250, "2.6.0")),
            ("dmarc=fail; spf=pass", ["dmarc"], (550, "5.7.26")),
            ("dmarc=none", ["DMARC"], (550, "5.7.26")),
            ("dkim=fail; dkim=pass", ["dkim"], (250, "2.6.0")),
            ("dkim=fail", ["dkim"], (550, "5.7.20")),
            ("spf=softfail", ["spf"], (550, "5.7.23")),
            ("spf=softfail; dkim=pass", ["spf", "dkim"], (250, "2.6.0")),
            ("spf=softfail; dkim=none", ["spf", "dkim"], (550, "5.7.26")),
            ("dmarc=temperror", ["dmarc"], (451, "4.7.26")),
            ("spf=pass", ["dmarc"], (550, "5.7.26")),
        ]:
            self.assertEqual(self.answer(results, *methods), code, (results, methods))

    def test_results(self) -> None:
        """Other results may do as well."""
        self.assertEqual(self.answer("dmarc=none", "dmarc", results=("pass", "none"))[0], 250)
        self.assertEqual(self.answer("dmarc=fail", "dmarc", results=("pass", "none"))[0], 550)

    def test_nothingReported(self) -> None:
        """If nobody has reported anything the log says what is missing, and the client waits."""
        client = self.serve(RequireAuthentication("dmarc"), authservId="mx.test")
        log: list[Any] = []
        self.patch(authentication, "_log", Recorder(log))
        answer = client.deliver(f"{NAME}: other.test; dmarc=pass\r\n\r\n".encode())
        self.assertEqual(brief(answer), (451, "4.7.26"))
        self.assertIn("authserv-id", log[0])
        self.assertIn("other.test; dmarc=pass", log[0])

    def test_users(self) -> None:
        """Who has logged in isn't judged."""
        client = self.serve(RequireAuthentication("dmarc"))
        client.session.user = "joe"
        self.assertEqual(client.deliver(b"Subject: hi\r\n\r\n").code, 250)

    def test_configuration(self) -> None:
        """At least one method is named."""
        self.assertRaises(ConfigurationError, RequireAuthentication)
        self.assertEqual(
            repr(RequireAuthentication("SPF", "dkim")), "<RequireAuthentication spf, dkim>"
        )


class Recorder:
    """Has a logger's method, and keeps the lines."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines

    def error(self, text: str, **values: Any) -> None:
        """Keep it."""
        self.lines.append(text.format(**values))
