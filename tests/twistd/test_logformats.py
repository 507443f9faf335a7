"""--log-format and --log-size: the flags, real servers, and logrotate."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import load
from twisted_smtpserver import tap
from twisted_smtpserver.log import batches
from twisted_smtpserver.log.files import ROTATE_SIZE
from twisted_smtpserver.log.formats import JSONText, SystemdText
from twisted_smtpserver.twistd.workerlog import LINE


class FlagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(batches, "_chosen", {})

    def parse(self, *arguments: str, handover: Any = None, **twistd: Any) -> None:
        parsed = tap.Options()
        parsed.parent = {"logger": None, "syslog": None, **twistd}  # type: ignore[assignment]
        parsed.parseOptions(["--discard", *arguments])

    def test_chosen(self) -> None:
        """The flags say how the lines are made, and how large a file gets."""
        for arguments, kind, size in (
            (("--log-format=json", "--log-size=5M"), JSONText, 5 * 2**20),
            (("--log-format=systemd", "--log-size=0"), SystemdText, 0),
            ((), batches.ClassicText, ROTATE_SIZE),
        ):
            self.parse(*arguments)
            self.assertEqual((batches._chosen["makeFormat"], batches._chosen["size"]), (kind, size))

    def test_wrong(self) -> None:
        """A format that there isn't; a log that twistd writes in its own way."""
        for arguments, twistd, text in (
            ("--log-format=xml", {}, "--log-format: 'xml' isn't text, json, systemd"),
            ("--log-format=json", {"syslog": True}, "--log-format: can't be combined with"),
            ("--log-size=1", {"logger": "a.b"}, "--log-size: can't be combined with"),
        ):
            error = self.assertRaises(SystemExit, self.parse, arguments, **twistd)
            self.assertIn(f"twistd smtpserver: {text}", str(error))
        self.assertRaises(usage.UsageError, tap.Options().parseOptions, ["--log-format=xml"])
        self.parse(syslog=True)

    def test_worker(self) -> None:
        """A worker makes the lines of its supervisor's file, and sends them, with its name."""
        parsed = tap.Options()
        parsed.handover = SimpleNamespace(number=1)  # type: ignore[assignment]
        parsed.parent = {"logger": None, "nodaemon": True, "logfile": "-"}  # type: ignore[assignment]
        with patch.object(parsed, "_parse"):
            parsed["log-format"] = "json"
            parsed.parseOptions(["--log-format=json"])
        output = io.BytesIO()
        self.patch(sys, "stdout", io.TextIOWrapper(output))
        observer = batches.makeLogObserver()
        self.addCleanup(observer.close)
        observer({"log_format": "{text}", "text": "x"})
        line = output.getvalue()
        self.assertEqual(line[:1], LINE)
        self.assertEqual(json.loads(line[1:])["worker"], 2)

    def test_workerOfAnother(self) -> None:
        """A worker whose supervisor has another log sends events, whatever the flags say."""
        parsed = tap.Options()
        parsed.handover = SimpleNamespace(number=1)  # type: ignore[assignment]
        parsed.parent = {"logger": "a.b"}  # type: ignore[assignment]
        with patch.object(parsed, "_parse"):
            parsed["log-format"] = "json"
            parsed.parseOptions(["--log-format=json"])
        self.assertEqual(parsed.parent, {"logger": "a.b"})


class ExampleTests(SynchronousTestCase):
    def test_query(self) -> None:
        """The example reads the lines: query."""
        made = JSONText()
        event = {"log_format": "{text}", "text": "x", "event": "message", "recipientCount": 3}
        lines = [made({**event, "code": code, "sender": "joe@x.test"}) for code in (250, 550, 450)]
        output = io.StringIO()
        self.patch(sys, "stdin", lines)
        with patch.object(sys, "stdout", output):
            load("logging/query")
        self.assertEqual(output.getvalue(), "6 joe@x.test\n")
