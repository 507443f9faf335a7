"""Events as lines of JSON, and as journald wants them."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.log.test_serverlog import WILD
from tests.support.talk import HELLO, MAIL, RCPT, Log
from twisted_smtpserver.log.batches import MAX_TEXT
from twisted_smtpserver.log.formats import (
    MAX_FIELD,
    MAX_LIST,
    MAX_SHAPES,
    JSONText,
    SystemdText,
    plainFields,
    textOf,
)
from twisted_smtpserver.testing import connect

CONTENT = b"Subject: test\r\n\r\nHello\r\n"

_SAMPLE: dict[str, Any] = {
    "log_format": "{text}",
    "log_time": 1795262400.25,
    "log_level": LogLevel.info,
    "log_namespace": "a",
    "event": "sample",
    "text": "the text",
}


def eventOf(**fields: Any) -> dict[str, Any]:
    return {**_SAMPLE, **fields}


def parse(line: str | None) -> dict[str, Any]:
    """The object in a line of JSON, of which nothing needs to be escaped any more."""
    assert line is not None
    assert line.endswith("\n")
    assert re.fullmatch("[ -~]*", line[:-1]), line
    found: dict[str, Any] = json.loads(line)
    return found


class JSONTests(SynchronousTestCase):
    def message(self, *recipients: str, **options: Any) -> dict[str, Any]:
        """The line of a message."""
        heard = Log()
        client = connect(logger=heard.logger, **options)
        client.deliver(CONTENT, "joe@example.org", *recipients)
        [event] = heard.of("message")
        self.assertEqual(parse(JSONText()(event)), parse(JSONText()(event)))
        return parse(JSONText()(event))

    def test_message(self) -> None:
        """Names are stable, recipients a list, numbers numbers, the time RFC 3339's."""
        line = self.message("a@example.com", "b@example.com")
        when = datetime.datetime.fromisoformat(line.pop("time").replace("Z", "+00:00"))
        age = datetime.datetime.now(datetime.timezone.utc) - when
        self.assertLess(abs(age.total_seconds()), 600)
        session = line["session"]
        text = line.pop("text")
        self.assertIn(f"message {session}-1 from <joe@example.org> to <a@example.com> and 1", text)
        self.assertEqual(
            line,
            {
                "level": "info",
                "namespace": "test",
                "event": "message",
                "session": session,
                "envelope": f"{session}-1",
                "sender": "joe@example.org",
                "recipients": ["a@example.com", "b@example.com"],
                "recipientCount": 2,
                "client": "[192.0.2.1] [192.0.2.1]:40000",
                "transmissionType": "ESMTP",
                "octets": len(CONTENT),
                "reply": "250 Message accepted",
                "code": 250,
            },
        )

    def test_manyRecipients(self) -> None:
        """So many recipients are named, and all are counted."""
        line = self.message(*[f"a{n}@example.com" for n in range(150)])
        self.assertEqual((len(line["recipients"]), line["recipientCount"]), (100, 150))

    def test_wild(self) -> None:
        """Nothing of the peer's gets anywhere as it is."""
        heard = Log()
        client = connect(logger=heard.logger)
        client.say(HELLO)
        client.session.hostNameAppearsAs = client.session.clientHostname = f"{WILD}\u2028\x85\x7f"
        client.pipeline(
            'MAIL FROM:<"\ue000{0}"@example.org> SMTPUTF8', 'RCPT TO:<"\ue000"@example.com>'
        )
        client.send(b"BDAT 2 LAST\r\n\r\nQUIT\r\n")
        for event in heard.events:
            line = parse(JSONText()(event))
            self.assertTrue(line["text"].isprintable())
            self.assertIn("\\u202e", line["client"])
        self.assertEqual(
            parse(JSONText()(heard.of("message")[0]))["recipients"], ["\\ue000@example.com"]
        )

    def test_fields(self) -> None:
        """Any value has a form in JSON, and the line's own names win."""
        made = JSONText()

        class Odd:
            def __str__(self) -> str:
                raise ValueError

        for value, expected in (
            *((5, 5), (True, True), (None, None), (0.5, 0.5), (float("nan"), None)),
            *((float("inf"), None), ([1, "a"], ["1", "a"]), (("a",), ["a"]), (b"x", "b'x'")),
            *((Odd(), "<Odd>"), ("\u2028\x7f\x85\u202e", "\u2028\x7f\x85\u202e")),
            *(("x" * 5000, "x" * MAX_FIELD), (["x"] * 500, ["x"] * MAX_LIST)),
            *((["x" * 5000], ["x" * MAX_FIELD]),),
        ):
            for _ in range(2):
                line = parse(made(eventOf(value=value)))
                self.assertEqual(line["value"], expected)
        line = parse(made(eventOf(time=1, level="x", namespace=2)))
        self.assertEqual(line["time"], "2026-11-21T12:00:00.250000Z")
        self.assertEqual((line["level"], line["namespace"]), ("info", "a"))
        self.assertEqual(parse(made(eventOf(**{"100%s": "50%"})))["100%s"], "50%")

    def test_shapes(self) -> None:
        """The quick way and the general one come to the same; a list may hold anything."""
        made = JSONText()
        shapes: tuple[dict[str, Any], ...] = (
            {"a": "x", "n": 1, "b": ["y", "z"], "f": 0.5},
            {"a": "x", "n": 2.5, "b": ["y"], "f": 1},
            {"a": 5, "n": 1, "b": [], "f": 0.5},
            {"a": "x", "n": 1, "b": [7], "f": 0.5},
            {"a": "x", "n": float("nan"), "b": ["y"], "f": 0.5},
        )
        for fields in shapes:
            slow = parse(JSONText()(eventOf(**fields, other=None)))
            del slow["other"]
            self.assertEqual(parse(made(eventOf(**fields))), slow)
        del (event := eventOf(a="x"))["log_level"]
        self.assertEqual(parse(made(eventOf(a="x")))["level"], "info")
        self.assertEqual(parse(made(event))["level"], "info")

    def test_manyShapes(self) -> None:
        """However many kinds of events there are, so many are remembered."""
        made = JSONText()
        for number in range(MAX_SHAPES + 10):
            line = parse(made(eventOf(**{f"f{number}": number})))
            self.assertEqual(line[f"f{number}"], number)
        self.assertEqual(len(made._shapes), MAX_SHAPES)

    def test_others(self) -> None:
        """Other people's events have lines, too; those without text have none."""
        made = JSONText()
        self.assertIsNone(made({}))
        line = parse(made({"log_format": "a {b}", "b": "c", "log_namespace": "n"}))
        self.assertEqual((line["event"], line["text"], line["b"]), ("other", "a c", "c"))
        self.assertEqual(line["time"], "1970-01-01T00:00:00.000000Z")

    def test_old(self) -> None:
        """Of the old way to log there is the text."""
        events: list[dict[str, Any]] = []
        log.addObserver(events.append)
        self.addCleanup(log.removeObserver, events.append)
        log.msg("hello", mine=5)
        line = parse(JSONText()(events[0]))
        self.assertEqual((line["mine"], line["text"]), (5, "hello"))
        self.assertNotIn("isError", line)

    def test_traceback(self) -> None:
        """A traceback is in the text, on the same line, within bounds."""
        failure = Failure(ValueError("no\u2028" + "x" * 100_000))
        line = parse(JSONText()(eventOf(log_failure=failure, log_level=LogLevel.critical)))
        self.assertIn("ValueError: no\u2028", line["text"])
        self.assertLess(len(line["text"]), MAX_TEXT + 100)

    @given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.floats()))
    def test_anything(self, fields: dict[str, Any]) -> None:
        """Whatever an event has, its line is one object of JSON."""
        made = JSONText()
        for _ in range(2):
            parse(made({**fields, **_SAMPLE}))


class SystemdTests(SynchronousTestCase):
    def test_priorities(self) -> None:
        """The level is syslog's number; journald has the time itself."""
        made = SystemdText()
        for level, number in (
            *((LogLevel.debug, 7), (LogLevel.info, 6), (LogLevel.warn, 4)),
            *((LogLevel.error, 3), (LogLevel.critical, 2)),
        ):
            line = made(eventOf(log_level=level))
            self.assertEqual(line, f"<{number}>[a#{level.name}] the text\n")
        self.assertEqual(made({"log_format": "x"}), "<6>[-#-] x\n")
        self.assertIsNone(made({}))

    def test_lines(self) -> None:
        """One event is one line, whatever is in it."""
        line = SystemdText()(eventOf(text="a\nb\u2028\x85\x1b\u202e\udc80é"))
        self.assertEqual(
            line, "<6>[a#info] the text\n".replace("the text", r"a\nb\u2028\x85\x1b\u202e\udc80é")
        )


class PlainTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """Twisted's own fields aren't an event's; nor is the text."""
        self.assertEqual(plainFields(eventOf(a=["b"])), {"event": "sample", "a": ["b"]})
        self.assertEqual(textOf(eventOf()), "the text")


class RefusalTests(SynchronousTestCase):
    def test_rejected(self) -> None:
        """A recipient that was refused: the sender and the code are fields of their own."""
        heard = Log()

        def onRcptTo(address: Any, session: Any) -> None:
            raise LookupError

        client = connect(logger=heard.logger, onRcptTo=onRcptTo)
        client.pipeline(HELLO, MAIL, RCPT)
        line = parse(JSONText()(heard.of("rejected")[0]))
        self.assertEqual((line["sender"], line["code"]), ("joe@example.org", 451))
