"""``--config``: what a file may say, and what is said of a file that is broken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import ConfigurationError, tap
from twisted_smtpserver.twistd import configfile
from twisted_smtpserver.twistd.configfile import MAX_OCTETS, findLines, loadTOML

#: Files that are no TOML: where that is, and what helps. Between them Python says what it thinks.
NO_TOML = {
    "[messages]\nmaildir = /var/mail\n": (
        ", line 2, column 11: ",
        "; text stands in quotes, and lists in brackets",
    ),
    "[messages]\nmaildir\n": (", line 2, column 8: ", "; a line is key = value"),
    "[limits]\nmax-clients = 1\nmax-clients = 2\n": (
        ", line 3, column 16: ",
        "; each key stands once in its table",
    ),
    "[tls]\n[tls]\n": (", line 2, column 5: ", "; each table stands once, but [[listener]]"),
    '[messages]\nmaildir = "mail\n': (
        ", line 2, column 16: ",
        "; text ends with the quote that it began with",
    ),
    '[listen]\nlisten = ["tcp:25"\n': (", at its end: ", "; a list ends with ]"),
    '[listen]\nport = 25 host = "::1"\n': (
        ", line 2, column 11: ",
        "; begin a new line after each value",
    ),
    "[limits]\nmax-clients = 010\n": (
        ", line 2, column 16: ",
        "; begin a new line after each value",
    ),
    "x = " + "[" * 9999: (": ", "brackets are nested too deeply"),
}

#: Files that are broken, and what is said of them behind the file's path.
BROKEN = {
    # Names.
    "[messages]\nsise = 5\n": (
        ", line 2: [messages] sise: there is no key 'sise'; did you mean 'size'?"
    ),
    "[limits]\nmaxClients = 5\n": (
        ", line 2: [limits] maxClients: there is no key 'maxClients'; did you mean 'max-clients'?"
    ),
    "[massages]\nsize = 5\n": ", line 1: there is no table 'massages'; did you mean 'messages'?",
    "sise = 5\n": ", line 1: there is no key 'sise'; did you mean 'size'?",
    "size = 5\n": ", line 1: size: belongs to the table [messages]",
    "[tls]\nsize = 5\n": ", line 2: [tls] size: belongs to the table [messages]",
    "tls.size = 5\n": ", line 1: [tls] size: belongs to the table [messages]",
    "[listen]\nhelp = true\n": ", line 2: [listen] help: is for the command line only",
    "[[tls]]\nself-signed = true\n": (
        ", line 1: tls is one table: write [tls], with single brackets"
    ),
    "tls = true\n": ", line 1: tls is one table: write [tls], with single brackets",
    '[listener]\nlisten = "tcp:25"\n': (
        ", line 1: a listener is written [[listener]], with double brackets"
    ),
    "[[listener]]\nsize = 5\n": (
        ", line 1: [[listener]]: needs listen, listen-tls, listen-lmtp or port"
    ),
    '[[listener]]\nport = 25\n\n[[listener]]\nlisten = "tcp:26"\nworkers = 2\n': (
        ", line 6: [[listener]] workers: is for all listeners together: it belongs to the table "
        "[listen]"
    ),
    # Types.
    '[tls]\nself-signed = "yes"\n': (
        ", line 2: [tls] self-signed: needs true or false, without quotes"
    ),
    "[tls]\nreject-unauthorized = 1\n": ", line 2: [tls] reject-unauthorized: needs true or false",
    "[conversation]\nname = 5\n": ", line 2: [conversation] name: needs text: put it in quotes",
    "[messages]\nsize = true\n": ", line 2: [messages] size: needs a number",
    '[messages]\nmaildir = ["a", "b"]\n': (
        ", line 2: [messages] maildir: takes one value, not a list"
    ),
    "[conversation]\nhide = [[1]]\n": ", line 2: [conversation] hide: needs text: put it in quotes",
    "[messages]\nmaildir = 2026-01-01\n": (
        ", line 2: [messages] maildir: needs text: put it in quotes"
    ),
    "[messages.maildir]\npath = 5\n": ": [messages] maildir: needs text: put it in quotes",
    # Values.
    '[messages]\nsize = "5x"\n': ", line 2: [messages] size: '5x' is not a size such as 50M",
    "[limits]\nmax-clients = 1.5\n": ", line 2: [limits] max-clients: '1.5' is not a whole number",
    "[limits]\nclose-timeout = -1\n": (
        ", line 2: [limits] close-timeout: '-1' is not a number of seconds"
    ),
    '[policies]\nrate-messages = "many"\n': (
        ", line 2: [policies] rate-messages: 'many' is not a rate such as 600/h or 20/10m"
    ),
    '[messages]\nmaildir = ""\n': ", line 2: [messages] maildir: its value is empty",
    '[messages]\nbare-newlines = "keep"\n': (
        ", line 2: [messages] bare-newlines: 'keep' is not one of reject, normalize, accept"
    ),
    "[limits]\nmax-command-length = 5\n": (
        ", line 2: [limits] max-command-length: 5 is not a whole number of at least 512"
    ),
    '[tls]\nself-signed = true\nkey = "credential:key"\n': (
        ", line 3: [tls] key: credential:key needs systemd's LoadCredential=key:/PATH in the unit; "
        "there is no $CREDENTIALS_DIRECTORY"
    ),
    '[tls]\nself-signed = true\nkey = "credential:../key"\n': (
        ", line 3: [tls] key: credential: needs a name of letters, digits, dots, hyphens and "
        "underscores"
    ),
    '[tls]\nself-signed = true\npassphrase-file = "nothing"\n': (
        ", line 3: [tls] passphrase-file: can't read the file: No such file or directory"
    ),
    # What doesn't go together.
    "[logins]\nsubmission = true\n": (
        ", line 2: [logins] submission: needs [tls] cert and [tls] key, or [tls] self-signed"
    ),
    '[[listener]]\nport = 25\n\n[[listener]]\nlisten = "tcp:587"\nsubmission = true\n': (
        ", line 6: [[listener]] submission: needs [tls] cert and [tls] key, or [tls] self-signed"
    ),
    '[messages]\nmaildir = "mail"\ndiscard = true\n': (
        ", line 2: [messages] maildir, [messages] discard, [messages] handler, [messages] "
        "postgres, [messages] forward, [messages] webhook and [messages] amqp: choose one of them"
    ),
    '[logins]\nauth = "file:nowhere"\nallow-insecure-auth = true\n': (
        ", line 2: [logins] auth: there is no file '{folder}/nowhere'"
    ),
    '[logins]\nauth = "htpaswd:users"\n': (
        ", line 2: [logins] auth: there is no method 'htpaswd'; did you mean 'htpasswd'? "
        "(--help-auth lists them)"
    ),
    '[messages]\n"si\\u001bze" = 5\n': (
        r", line 1: [messages] si\x1bze: there is no key 'si\x1bze'; did you mean 'size'?"
    ),
    "[policies]\ngreylist-delay = 5\n": (
        ", line 2: [policies] greylist-delay: needs [policies] greylist"
    ),
    '[tls]\ncert = "cert.pem"\n': ": key and cert go together: one of them is missing",
    '[listen]\nworkers = 2\nlisten = "haproxy:tcp:25"\n': (
        ", line 3: [listen] listen: haproxy: endpoints can't be shared by [listen] workers, only "
        "tcp, tcp6, unix, systemd"
    ),
}

#: Files that are only found to be broken when the server is made.
BROKEN_LATER = {
    '[listen]\nlisten = "tpc:25"\n': ": endpoint 'tpc:25': Unknown endpoint type: 'tpc'",
    "[tls]\ncert = '/nowhere'\nkey = '/nowhere'\n": (
        ", line 3: [tls] key ('/nowhere'): can't be read: No such file or directory"
    ),
    '[messages]\nhandler = "no.such"\n': (
        ", line 2: [messages] handler: no.such: ObjectNotFound: 'no.such' does not name an object"
    ),
    '[[listener]]\nport = 25\n\n[[listener]]\nport = 26\nextension = "FOO"\n': (
        ", line 4 ([[listener]] 2): there is no extension 'FOO'"
    ),
    "[[listener]]\nport = 25\n[[listener]]\nport = 26\nauth-optional = true\n": (
        ", line 5: [[listener]] auth-optional: needs [logins] auth, or a [messages] handler with "
        "onAuth"
    ),
}


class ConfigCase(SynchronousTestCase):
    """A folder to write files of configuration into."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "smtpserver.toml"
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.patch(os, "environ", {})

    def parse(self, text: str, *arguments: str) -> tap.Options:
        self.path.write_text(text)
        parsed = tap.Options()
        parsed.parseOptions(["--config", str(self.path), *arguments])
        return parsed

    def refused(self, text: str) -> str:
        return str(self.assertRaises(usage.UsageError, self.parse, text))


class BrokenTests(ConfigCase):
    """Each broken file is refused in one line that says what to write."""

    def test_noTOML(self) -> None:
        """The line says where it is no TOML, and what helps."""
        for text, (place, cure) in NO_TOML.items():
            reason = self.refused(text)
            self.assertTrue(reason.startswith(f"{self.path}{place}"), reason)
            self.assertTrue(reason.endswith(cure), reason)

    def test_broken(self) -> None:
        """The line has the file, the line in it, the key, and the cure."""
        for text, reason in BROKEN.items():
            expected = reason.replace("{folder}", str(self.folder))
            self.assertEqual(self.refused(text), f"{self.path}{expected}", text[:200])

    def test_brokenLater(self) -> None:
        """So it has when handlers are imported, and keys read."""
        for text, reason in BROKEN_LATER.items():
            error = self.assertRaises(SystemExit, tap.makeService, self.parse(text))
            self.assertTrue(
                str(error).startswith(f"twistd smtpserver: {self.path}{reason}"), str(error)
            )
            self.assertNotIn("\n", str(error))

    def test_unreadable(self) -> None:
        """A file that can't be read, or is none of TOML's, is named, too."""
        for content, reason in (
            (
                b"[tls]\n\xff",
                f"--config: '{self.path}' line 2: isn't UTF-8, as TOML is: save it so",
            ),
            (b"#" * (MAX_OCTETS + 1), f"--config: '{self.path}' is larger than 1048576 octets"),
        ):
            self.path.write_bytes(content)
            error = self.assertRaises(ConfigurationError, configfile.readText, str(self.path))
            self.assertEqual(str(error), reason)
        self.path.unlink()
        error = self.assertRaises(ConfigurationError, configfile.readText, str(self.path))
        reason = f"--config: '{self.path}' can't be read: No such file or directory"
        self.assertEqual(str(error), reason)
        parsed = tap.Options()
        refused = self.assertRaises(
            usage.UsageError, parsed.parseOptions, [f"--config={self.path}"]
        )
        self.assertEqual(str(refused), reason)

    def test_underTwistd(self) -> None:
        """Under twistd the line is all that is printed, and doesn't send its reader to --help."""
        self.path.write_text("[messages]\nsise = 5\n")
        parsed = tap.Options()
        parsed.parent = usage.Options()
        error = self.assertRaises(SystemExit, parsed.parseOptions, [f"--config={self.path}"])
        self.assertEqual(
            str(error),
            f"twistd smtpserver: {self.path}, line 2: [messages] sise: there is no key 'sise'; did "
            "you mean 'size'?",
        )

    def test_noSecrets(self) -> None:
        """What stands where a file's name should stand isn't repeated: it may be the secret."""
        for text in (
            '[tls]\nself-signed = true\npassphrase-file = "sesame"\n',
            '[tls]\nself-signed = true\npassphrase-file = "credential:ses ame"\n',
        ):
            self.assertNotIn("ame", self.refused(text).replace("name", ""))

    def test_noParser(self) -> None:
        """Python 3.10 has no parser of TOML; the line says how to get one, and any will do."""
        for name in ("tomllib", "tomli"):
            self.addCleanup(sys.modules.pop, name, None)
            sys.modules[name] = None  # type: ignore[assignment]  # can't be imported
        error = self.assertRaises(ConfigurationError, loadTOML, "")
        self.assertIn('pip install "twisted-smtpserver[config]"', str(error))

        class Parser:
            @staticmethod
            def loads(text: str) -> dict[str, Any]:
                return {"text": text}

        sys.modules["tomli"] = Parser  # type: ignore[assignment]
        self.assertEqual(loadTOML("x"), {"text": "x"})


class ValueTests(ConfigCase):
    """What keys may be."""

    def test_values(self) -> None:
        """Numbers, switches, texts and lists are what the flags make of them."""
        parsed = self.parse(
            """\ufeff
            messages = { size = "20M", max-recipients = 5 }
            [limits]
            socket-timeout = 2.5
            no-delay = false
            immediate-writes = "no"
            [tls]
            self-signed = true
            tls-required = false
            sni-options = ["a.test:c.pem:k.pem", "b.test:c.pem:k.pem"]
            [conversation]
            hide = ["SIZE", "dsn"]
            [trust]
            proxy-from = "any"
            [listen]
            port = [25, "26"]
            """
        )
        files = {"cert": f"{self.folder}/c.pem", "key": f"{self.folder}/k.pem"}
        expected = {
            "size": 20 * 2**20,
            "maxRecipients": 5,
            "socketTimeout": 2.5,
            "noDelay": False,
            "immediateWrites": False,
            "selfSigned": True,
            "sniOptions": {"a.test": files, "b.test": files},
            "hide": ["SIZE", "dsn"],
            "useProxy": True,
        }
        self.assertEqual(parsed.keywords, expected)
        self.assertEqual(parsed["port"], ["25", "26"])

    def test_empty(self) -> None:
        """A file may be empty, or have empty tables."""
        for text in ("", "[tls]\n", "# nothing\n"):
            self.assertEqual(self.parse(text).keywords, {"size": 50 * 2**20})

    def test_flagsWin(self) -> None:
        """What is on the command line replaces what is in the file, lists as a whole."""
        text = '[messages]\nsize = 5\n[listen]\nlisten = "tcp:25"\n[conversation]\nhide = "SIZE"\n'
        parsed = self.parse(text, "--size=7", "--port=26", "--hide=DSN")
        self.assertEqual(parsed.keywords["size"], 7)
        self.assertEqual(parsed.keywords["hide"], ["DSN"])
        self.assertNotIn("listen", parsed)

    def test_alternatives(self) -> None:
        """So does another store, with all that belongs to the file's; and another certificate."""
        text = (
            '[messages]\namqp = "amqp://h"\namqp-queue = "q"\n'
            '[tls]\ncert = "c.pem"\nkey = "k.pem"\nca = "ca.pem"\n'
        )
        parsed = self.parse(text, "--discard", "--self-signed")
        self.assertEqual(set(parsed), {"config", "discard", "self-signed", "ca"})


class LineTests(SynchronousTestCase):
    """Where keys stand, which Python's parser doesn't tell."""

    def test_lines(self) -> None:
        """Tables and keys are found, and tables of a list one by one."""
        text = '[tls] # x\r\n"key" = 1\n\n[[listener]]\nport=1\n[[ listener ]]\n port = 2\n'
        self.assertEqual(
            findLines(text),
            {
                ("tls", 0, ""): 1,
                ("tls", 0, "key"): 2,
                ("listener", 0, ""): 4,
                ("listener", 0, "port"): 5,
                ("listener", 1, ""): 6,
                ("listener", 1, "port"): 7,
            },
        )
        self.assertEqual(findLines("tls.key = 1\nx = 2"), {("tls", 0, "key"): 1, ("", 0, "x"): 2})
        self.assertEqual(
            findLines('[tls]\nx = """\n[a b]\n"""'), {("tls", 0, ""): 1, ("tls", 0, "x"): 2}
        )
