"""``credential:NAME``: files from systemd's credentials."""

from __future__ import annotations

import os
from typing import Any

from twisted.python import usage

from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import tap
from twisted_smtpserver.twistd.credentials import resolveCredential
from twisted_smtpserver.twistd.flags import SECRETS
from twisted_smtpserver.twistd.parts import handedSecrets


class CredentialTests(ConfigCase):
    """The folder is in the environment, as systemd has it."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {"CREDENTIALS_DIRECTORY": str(self.folder)})
        for name in ("key", "cert", "passwd", "word"):
            (self.folder / name).write_text(f"{name}:sesame\n")

    def test_path(self) -> None:
        """A name is a file in the folder; any other text is a path as it was."""
        self.assertEqual(resolveCredential("credential:key"), str(self.folder / "key"))
        self.assertEqual(resolveCredential("/etc/key"), "/etc/key")

    def test_refused(self) -> None:
        """A credential that isn't there is refused with the line that the unit needs."""
        for text, reason in (
            (
                "credential:other",
                "credential:other: there is no such credential; the unit needs Load",
            ),
            ("credential:", "credential: needs a name of letters"),
            ("credential:..", "credential: needs a name of letters"),
            ("credential:a/b", "credential: needs a name of letters"),
        ):
            error = self.assertRaises(ValueError, resolveCredential, text)
            self.assertTrue(str(error).startswith(reason), str(error))

    def test_everywhere(self) -> None:
        """All flags that name files take one, the certificates of names and --auth included."""
        parsed = self.parse(
            '[tls]\nkey = "credential:key"\ncert = "credential:cert"\n'
            'passphrase-file = "credential:word"\n'
            'sni-options = "a.test:credential:cert:/k.pem"\n'
            '[logins]\nauth = "file:credential:passwd"\n'
        )
        self.assertEqual(parsed.keywords["key"], str(self.folder / "key"))
        self.assertEqual(parsed.keywords["passphrase"], "word:sesame")
        files = {"cert": str(self.folder / "cert"), "key": "/k.pem"}
        self.assertEqual(parsed.keywords["sniOptions"], {"a.test": files})
        (checker,) = parsed["credCheckers"]
        self.assertEqual(checker.filename, str(self.folder / "passwd"))
        error: Any = self.assertRaises(
            usage.UsageError, self.parse, '[logins]\nauth = "file:credential:no"\n'
        )
        self.assertIn(
            ", line 2: [logins] auth: credential:no: there is no such credential", str(error)
        )

    def test_config(self) -> None:
        """The file of configuration may be one itself."""
        (self.folder / "conf").write_text("[messages]\nsize = 5\n")
        parsed = tap.Options()
        parsed.parseOptions(["--config=credential:conf"])
        self.assertEqual(parsed.keywords["size"], 5)
        self.assertEqual(parsed.path, str(self.folder / "conf"))

    def test_workers(self) -> None:
        """Workers get what is in one, whatever becomes of the folder."""
        parsed = self.parse(
            '[messages]\nforward = "smtps://joe@h"\nforward-password-file = "credential:word"\n'
        )
        handed = handedSecrets(parsed.listeners, SECRETS)
        self.assertEqual(
            handed, {"forward-password-file": {str(self.folder / "word"): "word:sesame"}}
        )
