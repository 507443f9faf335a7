"""The pages about the file of configuration say what the code does."""

from __future__ import annotations

import os
import re

from tests.support.examples import DOCS, EXAMPLES
from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import ConfigurationError, tap
from twisted_smtpserver.twistd.configfile import parseConfig
from twisted_smtpserver.twistd.environment import readEnvironment
from twisted_smtpserver.twistd.flags import BY_NAME, TABLE_OF
from twisted_smtpserver.twistd.reload import FIXED

PAGE = (DOCS / "howto" / "configuration.rst").read_text(encoding="utf-8")
PATH = "/etc/smtpserver/smtpserver.toml"


class PageTests(ConfigCase):
    """The how-to, word for word."""

    def sample(self, name: str) -> str:
        return (EXAMPLES / "config" / name).read_text(encoding="utf-8")

    def test_sample(self) -> None:
        """The file makes three listeners, as the page says."""
        for name in ("users", "senders", "recipients"):
            (self.folder / name).touch()
        text = self.sample("smtpserver.toml").replace("/etc/smtpserver", str(self.folder))
        servers, users, machine = self.parse(text).listeners
        self.assertNotIn("logins", servers)
        self.assertEqual(servers.keywords["maxClientsPerAddress"], 20)
        self.assertTrue(users.keywords["tlsRequired"])
        self.assertEqual(users["logins"], [("htpasswd", str(self.folder / "users"))])
        self.assertEqual(users["listen-tls"], ["tcp:465", "tcp6:465"])
        self.assertEqual(machine["listen-lmtp"], ["unix:/run/smtpserver/lmtp"])
        self.assertNotIn("maxClientsPerAddress", machine.keywords)

    def test_mistake(self) -> None:
        """The mistake that it shows is answered so."""
        text = self.sample("smtpserver.toml").replace("max-clients =", "max-client =")
        error = self.assertRaises(ConfigurationError, parseConfig, PATH, text)
        self.assertIn(f"\n   twistd smtpserver: {error}\n", PAGE)
        self.assertIn(f"\n   Keeping the old configuration: {error}\n", PAGE)

    def test_environment(self) -> None:
        """The variables of the container are flags, and go together."""
        lines = self.sample("smtpserver.env").splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        self.assertEqual(len(readEnvironment(variables)), len(lines))
        self.patch(os, "environ", variables)
        parsed = tap.Options()
        parsed.parseOptions([])
        self.assertEqual(parsed["listen"], ["tcp:25", "tcp6:25"])
        self.assertEqual(parsed.keywords["maxClients"], 500)

    def test_credentials(self) -> None:
        """The unit has the credentials that the page's keys name."""
        unit = re.findall(r"LoadCredential=([\w-]+):", self.sample("smtpserver-credentials.conf"))
        (block,) = re.findall(r"\.\. code-block:: toml\n\n((?:   .*\n|\n)+)", PAGE)
        settings = parseConfig("x", block.replace("\n   ", "\n").strip()).common
        named = [text for each in settings.values() for text in each.texts]
        self.assertEqual([text.rpartition(":")[2] for text in named], unit)

    def test_reload(self) -> None:
        """Every option that needs a restart is named."""
        part = PAGE.partition("These need a restart:")[2]
        for name, flag in BY_NAME.items():
            if flag.option in FIXED and name != "disable-reverse-lookup":
                self.assertIn(f"``{name}``", part)

    def test_keys(self) -> None:
        """All keys that the page's prose names exist."""
        for key in re.findall(r"``([a-z][a-z-]+) = ", PAGE):
            self.assertIn(key, TABLE_OF)
