"""``--check-config``: what would run, and that nothing is done yet."""

from __future__ import annotations

import io
import os
import socket

from tests.support.certificates import makeCertificate
from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import tap

WHOLE = """
[listen]
workers = 2

[messages]
maildir = "mail"

[tls]
cert = "cert.pem"
key = "key.pem"

[[listener]]
listen = ["tcp:{port}", "tcp6:25"]
max-clients = 100

[[listener]]
port = 587
listen-tls = "tcp:465"
submission = true
auth = "file:passwd"
size = 0

[[listener]]
listen-lmtp = "unix:lmtp"
webhook = "https://app.example.org:8443/sesame?key=sesame"
webhook-secret-file = "secret"
"""

SAID = """\
This is what would run with {path}:

SMTP on tcp:{port}
SMTP on tcp6:25
  mail    goes to maildir mail; at most 50M
  logins  none
  to      anybody
  TLS     TLSv1.2 or later
          The certificate of mx.test expires on {day}
  with    cert cert.pem, key key.pem, max-clients 100

SMTP on port 587 of 127.0.0.1
SMTP over TLS on tcp:465
  mail    goes to maildir mail; of any size
  logins  needed, with TLS only, by PLAIN, LOGIN; checked by file:passwd
  to      anybody
  TLS     TLSv1.2 or later, needed before anything else
          The certificate of mx.test expires on {day}
  with    cert cert.pem, key key.pem, submission

LMTP on unix:lmtp
  mail    goes to webhook https://app.example.org:8443; at most 50M
  logins  none
  to      anybody
  TLS     TLSv1.2 or later
          The certificate of mx.test expires on {day}
  with    webhook-secret-file secret, cert cert.pem, key key.pem

For all of them: workers 2
"""


class CheckTests(ConfigCase):
    """What is printed, and the status."""

    def check(self, text: str, *arguments: str) -> str:
        """What is said of a good file."""
        self.path.write_text(text)
        parsed = tap.Options()
        parsed.authOutput = io.StringIO()
        flags = ["--config", str(self.path), "--check-config", *arguments]
        ended = self.assertRaises(SystemExit, parsed.parseOptions, flags)
        self.assertEqual(ended.code, 0)
        return str(parsed.authOutput.getvalue())

    def test_whole(self) -> None:
        """Listeners, the way of the mail, logins, TLS; no secret, no port opened, no file made."""
        made = makeCertificate(None, ["mx.test"], days=90)
        (self.folder / "cert.pem").write_bytes(made.certPEM)
        (self.folder / "key.pem").write_bytes(made.keyPEM)
        (self.folder / "secret").write_text(
            "whsec_" + "c2VzYW1lIHNlc2FtZSBzZXNhbWUgc2VzYW1l" + "\n"
        )
        (self.folder / "passwd").write_text("joe:sesame\n")
        before = sorted(os.listdir(self.folder))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.check(WHOLE.replace("{port}", str(port)))
        day = made.certificate.not_valid_after_utc.strftime("%Y-%m-%d")
        self.assertEqual(said, SAID.format(path=self.path, port=port, day=day))
        self.assertEqual(sorted({*os.listdir(self.folder)} - {self.path.name}), before)
        self.assertNotIn("sesame", said)

    def test_stores(self) -> None:
        """Wherever mail goes."""
        for text, said in (
            ("", "  mail    goes to the Maildir ./Maildir; at most 50M\n"),
            ("[messages]\ndiscard = true\nsize = '5k'\n", "  mail    thrown away; at most 5k\n"),
            (
                "[inbox]\ninbox = 8025\n",
                "  mail    is shown on the page of inbox 8025; at most 50M\n",
            ),
            (
                "[messages]\nmaildir = 'm'\n[inbox]\ninbox = 8025\n",
                "goes to maildir m, and is shown on the page of inbox 8025; at most 50M\n",
            ),
        ):
            self.assertIn(said, self.check(text))

    def test_listeners(self) -> None:
        """Whatever they speak."""
        (self.folder / "known").write_text("joe@example.com\n")
        for text, said in (
            ("", "\nSMTP on port 2525 of 127.0.0.1\n"),
            ("[listen]\nport = 1\nhost = '::1'\nlmtp = true\n", "\nLMTP on port 1 of ::1\n"),
            (
                "[listen]\nport = 1\nsecure = true\n[tls]\nself-signed = true\n",
                "\nSMTP over TLS on port 1 of 127.0.0.1\n",
            ),
            ("[tls]\nsecured = true\n", "\n  TLS     ended upstream\n"),
            ("", "\n  TLS     none\n"),
            ("[policies]\ngreylist = 'grey.db'\n", "\n  with    greylist grey.db\n"),
            ("[recipients]\nrecipients = 'known'\n", "\n  to      those in known\n"),
        ):
            self.assertIn(said, self.check(text))
        self.assertFalse((self.folder / "grey.db").exists())

    def test_logins(self) -> None:
        """Whoever may log in; a password in a flag isn't shown."""
        auth = 'auth = "memory:joe:sesame"\n'
        said = self.check(f"[logins]\n{auth}auth-optional = true\nallow-insecure-auth = true\n")
        line = "possible, with TLS or without, by PLAIN, LOGIN; checked by memory\n"
        self.assertIn(f"\n  logins  {line}", said)
        self.assertNotIn("sesame", said)
        handler = "tests.twistd.test_commandline.MadeByClass"
        said = self.check(f"[messages]\nhandler = '{handler}'\n")
        self.assertIn("checked by the handler\n", said)
        self.assertIn(f"\n  mail    goes to handler {handler}; at most 50M\n", said)
        self.assertIn("\n  WARNING The handler has no onData", said)
        self.assertIn("\n  to      whomever the handler takes\n", said)

    def test_secrets(self) -> None:
        """Of an URL nothing is shown that may be a secret."""
        for url, shown in (
            ("redis://:sesame@h:1/0", "redis://h:1"),
            ("redis://[sesame", "…"),
        ):
            from twisted_smtpserver.twistd.summary import _shown

            self.assertEqual(_shown(url), shown)

    def test_broken(self) -> None:
        """What is wrong is one line, and the status isn't 0."""
        self.path.write_text("[tls]\ncert = '/nowhere'\nkey = '/nowhere'\n")
        flags = ["--config", str(self.path), "--check-config"]
        ended = self.assertRaises(SystemExit, tap.Options().parseOptions, flags)
        self.assertEqual(
            ended.code,
            f"twistd smtpserver: {self.path}, line 3: [tls] key ('/nowhere'): can't be read: No "
            "such file or directory",
        )

    def test_brokenTables(self) -> None:
        """Files of users and of recipients are read, too."""
        (self.folder / "known").write_text("joe@@example.com\n")
        (self.folder / "users").write_text("joe:sesame\n")
        auth = "auth = 'htpasswd:users'\nallow-insecure-auth = true\n"
        for text, reason in (
            ("[recipients]\nrecipients = 'known'\n", ", line 2: [recipients] recipients: "),
            (f"[[listener]]\nport = 1\n{auth}", ", line 3: [[listener]] auth: "),
        ):
            self.path.write_text(text)
            flags = ["--config", str(self.path), "--check-config"]
            ended = self.assertRaises(SystemExit, tap.Options().parseOptions, flags)
            self.assertTrue(str(ended.code).startswith(f"twistd smtpserver: {self.path}{reason}"))
            self.assertNotIn("sesame", str(ended.code))

    def test_withoutFile(self) -> None:
        """Flags alone can be checked, too."""
        parsed = tap.Options()
        parsed.authOutput = io.StringIO()
        ended = self.assertRaises(SystemExit, parsed.parseOptions, ["--check-config"])
        self.assertEqual(ended.code, 0)
        said = str(parsed.authOutput.getvalue())
        self.assertTrue(said.startswith("This is what would run:\n\nSMTP on port 2525"))
