"""The example of the how-to on attachments does what the how-to says."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.brokenmail import CORPUS
from tests.support.examples import load
from twisted_smtpserver.testing import connect, runInline

REPORT = b"Subject: Report\r\nContent-Type: text/csv; name=report.csv\r\n\r\na;b\r\n1;2\r\n"


class AttachmentsTests(SynchronousTestCase):
    """The handler of :file:`attachments.py`."""

    def setUp(self):
        self.module = load("attachments")
        self.module.deferToThread = runInline
        self.said = []
        self.module.print = self.said.append
        self.folder = Path(self.mktemp())
        self.handler = self.module.Attachments(self.folder)

    def test_saves(self):
        """It saves attachments in a folder for each message."""
        answer = connect(self.handler).deliver(REPORT)
        self.assertEqual((answer.code, answer.text), (250, "1 attachments saved"))
        [path] = self.folder.glob("*/*")
        self.assertEqual((path.name, path.read_bytes()), ("1-report.csv", b"a;b\r\n1;2\r\n"))
        self.assertEqual(self.said, ["nobody writes 'Report': 1 attachments"])

    def test_refuses(self):
        """A message without any is refused."""
        self.assertEqual(connect(self.handler).deliver(b"\r\nHello\r\n").code, 554)

    def test_broken(self):
        """No mail gets a file elsewhere, and none is a bug."""
        for name, octets in CORPUS.items():
            if len(octets) > 100000:
                continue
            answer = connect(self.handler, bareNewlines="accept").deliver(octets + b"\r\n")
            self.assertIn(answer.code, (250, 554), name)
        files = [path for path in self.folder.parent.rglob("*") if path.is_file()]
        self.assertEqual({path.parent.parent for path in files}, {self.folder})
        self.assertGreater(len(files), 15)
