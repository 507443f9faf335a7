"""Tests for :mod:`twisted_smtpserver.filters.attachments`."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

from tests.filters.test_filtered import FilteredCase
from tests.support.talk import brief
from twisted_smtpserver import ConfigurationError
from twisted_smtpserver.filters import BlockAttachments
from twisted_smtpserver.filters.attachments import MAX_DEPTH


def attached(name: str, kind: str = "application/octet-stream") -> EmailMessage:
    """A message with an attachment."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "look"
    message.set_content("Open this\n")
    main, _, sub = kind.partition("/")
    message.add_attachment(b"content", main, sub, filename=name)
    return message


def forwarded(message: EmailMessage) -> EmailMessage:
    """A message in a message."""
    outer = EmailMessage(policy=SMTP)
    outer.set_content("See below\n")
    outer.add_attachment(message)
    return outer


class BlockTests(FilteredCase):
    """What isn't wanted stays out."""

    def code(self, message: EmailMessage, *kinds: str) -> int:
        """The code of the answer."""
        client = self.serve(BlockAttachments(*kinds))
        return client.deliver(message.as_bytes()).code

    def test_names(self) -> None:
        """By the ending of the name, in any case, and with what Windows takes off."""
        for name, code in [
            ("a.exe", 550),
            ("A.EXE", 550),
            ("report.pdf.scr", 550),
            ("a.exe. .", 550),
            ("a.exe.txt", 250),
            ("exe", 250),
            ("photo.jpg", 250),
        ]:
            self.assertEqual(self.code(attached(name)), code, name)

    def test_types(self) -> None:
        """By the type, or the family of types."""
        video = attached("a", "video/mp4")
        for kinds, code in [
            (["video/mp4"], 550),
            (["Video/*"], 550),
            (["audio/*", ".mp4"], 250),
            (["video/mpeg"], 250),
        ]:
            self.assertEqual(self.code(video, *kinds), code, kinds)

    def test_forwarded(self) -> None:
        """Messages within messages are looked into, so deep."""
        message = attached("a.exe")
        for depth in range(1, MAX_DEPTH + 1):
            self.assertEqual(self.code(message), 550, depth)
            message = forwarded(message)
        self.assertEqual(self.code(message), 250)

    def test_answer(self) -> None:
        """The answer names what isn't taken."""
        answer = self.serve(BlockAttachments()).deliver(attached("a.exe").as_bytes())
        self.assertEqual(brief(answer), (550, "5.7.1"))
        self.assertIn("a.exe", answer.text)
        nameless = attached("", "video/mp4")
        self.assertIn(
            "video/mp4", self.serve(BlockAttachments("video/*")).deliver(nameless.as_bytes()).text
        )

    def test_plain(self) -> None:
        """A message without attachments comes in as it is."""
        content = b"Subject: hi\r\n\r\na.exe\r\n"
        self.assertEqual(self.serve(BlockAttachments()).deliver(content).code, 250)
        self.assertEqual(self.store.messages, [content])

    def test_configuration(self) -> None:
        """What is neither an ending nor a type is refused when it is made."""
        for kind in ("exe", "a/b/c", "*"):
            self.assertRaises(ConfigurationError, BlockAttachments, kind)
        self.assertEqual(repr(BlockAttachments(".a", "B/*")), "<BlockAttachments .a, b/*>")
