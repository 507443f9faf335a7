"""Several listeners in one file: their settings, and what is made of them."""

from __future__ import annotations

from typing import Any

from twisted.application.service import MultiService

from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import tap
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.twistd.flags import FLAGS, TABLE_OF, tableOf
from twisted_smtpserver.twistd.layers import Group, Setting, inPlaces

THREE = """
[messages]
maildir = "mail"
size = 1000

[tls]
self-signed = true

[policies]
rate-messages = "600/h"

[[listener]]
listen = ["tcp:25", "tcp6:25"]
max-clients = 5

[[listener]]
listen = "tcp:587"
listen-tls = "tcp:465"
submission = true
size = 2000
auth = "memory:joe:sesame"

[[listener]]
listen-lmtp = "unix:lmtp"
discard = true
rate-messages = []
"""


class GroupTests(ConfigCase):
    """Each ``[[listener]]`` has what is common, and what it says for itself."""

    def keywords(self, text: str, *arguments: str) -> list[dict[str, Any]]:
        return [each.keywords for each in self.parse(text, *arguments).listeners]

    def test_three(self) -> None:
        """What a listener says wins over what is common."""
        first, second, third = self.parse(THREE).listeners
        self.assertEqual(
            [each.keywords["size"] for each in (first, second, third)], [1000, 2000, 1000]
        )
        self.assertEqual(first["listen"], ["tcp:25", "tcp6:25"])
        self.assertEqual((second["listen"], second["listen-tls"]), (["tcp:587"], ["tcp:465"]))
        self.assertIn("credCheckers", second)
        self.assertNotIn("credCheckers", first)
        self.assertTrue(second.keywords["tlsRequired"])
        self.assertNotIn("tlsRequired", first.keywords)
        self.assertNotIn("rate-messages", third)
        self.assertEqual(("maildir" in third, "discard" in third), (False, True))

    def test_flagsWin(self) -> None:
        """The command line wins over each listener; where it listens, the file's don't."""
        self.assertEqual([k["size"] for k in self.keywords(THREE, "--size=3")], [3, 3, 3])
        (only,) = self.parse(THREE, "--port=26").listeners
        self.assertEqual((only["port"], only.keywords["size"]), (["26"], 1000))
        self.assertNotIn("listen", only)

    def test_common(self) -> None:
        """A file may have listeners of both kinds; those of the table [listen] come first."""
        text = '[listen]\nport = 24\nlisten-lmtp = "unix:x"\n[[listener]]\nport = 25\nsize = 5\n'
        first, second = self.parse(text).listeners
        self.assertEqual((first["port"], second["port"]), (["24"], ["25"]))
        self.assertNotIn("listen-lmtp", second)
        self.assertEqual(second.keywords["size"], 5)

    def test_uncheckedCommon(self) -> None:
        """What is common needn't make sense by itself, if each listener does."""
        text = "[tls]\ntls-required = true\n[[listener]]\nport = 25\nself-signed = true\n"
        (only,) = self.keywords(text)
        self.assertTrue(only["tlsRequired"] and only["selfSigned"])

    def test_tables(self) -> None:
        """Each heading of the help has a table of its own, and each flag is in one."""
        tables = [tableOf(heading) for heading in FLAGS]
        self.assertEqual(len(set(tables)), len(tables))
        self.assertNotIn("listener", tables)
        self.assertEqual(
            [TABLE_OF[name] for name in ("workers", "size", "cert", "dnsbl", "milter", "name")],
            ["listen", "messages", "tls", "policies", "filters", "conversation"],
        )
        self.assertNotIn("help", TABLE_OF)

    def test_words(self) -> None:
        """An error that has nothing to do with a flag is left as it is, but for its file."""
        group = Group({"size": Setting(("5",), "--size")})
        self.assertEqual(inPlaces("--size: --foo", group, None), "--size: --foo")
        self.assertEqual(inPlaces("--size: --cert", group, "/f"), "--size: [tls] cert")
        self.assertEqual(inPlaces("no", group, "/f"), "/f: no")


class ServiceTests(ConfigCase):
    """What is made of them."""

    def make(self, text: str, *arguments: str) -> MultiService:
        made = tap.makeService(self.parse(text, *arguments))
        assert isinstance(made, MultiService)
        return made

    def factories(self, text: str, *arguments: str) -> list[Any]:
        server = self.make(text, *arguments).services[-1]
        assert isinstance(server, SMTPService)
        return server.factories()

    def test_three(self) -> None:
        """There is a factory for each listener and kind, with its own options and handler."""
        plain, submission, tls, lmtp = self.factories(THREE)
        factories = (plain, submission, tls, lmtp)
        self.assertEqual([f.options.size for f in factories], [1000, 2000, 2000, 1000])
        self.assertEqual([f.options.secure for f in factories], [False, False, True, False])
        self.assertEqual([f.options.lmtp for f in factories], [False, False, False, True])
        self.assertEqual([f.options.maxClients for f in factories], [5, None, None, None])
        self.assertIs(submission.handler, tls.handler)
        self.assertIsNot(plain.handler, submission.handler)

    def test_shared(self) -> None:
        """Listeners that want the same Maildir, inbox or rates have the same."""
        text = (
            '[messages]\nmaildir = "mail"\n[inbox]\ninbox = 8025\n[policies]\n'
            'rate-messages = "600/h"\n[[listener]]\nport = 25\n'
            "[[listener]]\nport = 26\nauth-optional = true\nallow-insecure-auth = true\n"
            'auth = "memory:joe:sesame"\n[[listener]]\nport = 27\nrate-messages = "5/h"\n'
        )
        service = self.make(text)
        kinds = [type(each).__name__ for each in service.services]
        self.assertEqual(kinds, ["Inbox", "MaildirService", "OpenServer", "SMTPService"])
        server = service.services[-1]
        assert isinstance(server, SMTPService)
        first, second, third = (f.handler.stages[0] for f in server.factories())  # type: ignore[attr-defined]
        self.assertIs(first, second)
        self.assertIsNot(first, third)
