"""``--example-config`` and ``--version``."""

from __future__ import annotations

import io
import platform
import re

from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import DOCS
from twisted_smtpserver import __version__, tap
from twisted_smtpserver.twistd import versions
from twisted_smtpserver.twistd.configfile import parseConfig
from twisted_smtpserver.twistd.example import exampleConfig
from twisted_smtpserver.twistd.flags import BY_NAME, TABLE_OF

_KEY = re.compile(r"^#([a-z][a-z-]*) = ", re.MULTILINE)
_LISTENER = re.compile(r"^# (\[\[listener\]\]|[a-z-]+ = )", re.MULTILINE)


class Printing(SynchronousTestCase):
    """Flags that print something."""

    def printed(self, flag: str) -> str:
        parsed = tap.Options()
        parsed.authOutput = io.StringIO()
        ended = self.assertRaises(SystemExit, parsed.parseOptions, [flag, "--config=nowhere"])
        self.assertEqual(ended.code, 0)
        return str(parsed.authOutput.getvalue())


class ExampleTests(Printing):
    """The file with every key."""

    def test_published(self) -> None:
        """The flag prints it, and the documentation has it made when its pages are."""
        self.assertEqual(self.printed("--example-config"), exampleConfig())
        page = (DOCS / "reference" / "configuration.rst").read_text(encoding="utf-8")
        self.assertIn("\n.. example-config::\n", page)

    def test_complete(self) -> None:
        """It has each key once."""
        self.assertEqual(sorted(_KEY.findall(exampleConfig())), sorted(TABLE_OF))

    def test_commentedOut(self) -> None:
        """As it is, it says nothing."""
        parsed = parseConfig("x", exampleConfig())
        self.assertEqual((parsed.common, parsed.listeners), ({}, {}))

    def test_values(self) -> None:
        """Without the comment signs each value is one that its flag takes."""
        parsed = parseConfig("x", _KEY.sub(r"\1 = ", exampleConfig()))
        self.assertEqual(set(parsed.common), set(TABLE_OF))
        for name, setting in parsed.common.items():
            flag = BY_NAME[name]
            # A new flag may have no example yet: then its value's name stands there.
            isExample = flag.value != "FILE" and setting.texts != (flag.value,)
            for text in setting.texts if isExample else ():
                flag.read(text)

    def test_listeners(self) -> None:
        """So are the listeners."""
        text = _LISTENER.sub(r"\1", exampleConfig())
        parsed = parseConfig("x", text)
        self.assertEqual(len(parsed.listeners), 3)


class VersionTests(Printing):
    """What a report of a bug should name."""

    def test_versions(self) -> None:
        """Ours, whether it is compiled, Twisted's, OpenSSL's, pyOpenSSL's, Python's."""
        lines = self.printed("--version").splitlines()
        self.assertRegex(lines[0], rf"^twisted_smtpserver {re.escape(__version__)} \(.*compiled\)$")
        for line, name in zip(lines[1:4], ("Twisted", "OpenSSL", "pyOpenSSL"), strict=True):
            self.assertRegex(line, rf"^{name} \d+\.\d+")
        self.assertTrue(lines[4].startswith(f"Python {platform.python_version()} ("))

    def test_compiled(self) -> None:
        """Whether the compiled form is at work is said."""
        for isCompiled, said in ((True, "(compiled)"), (False, "(not compiled)")):
            self.patch(versions, "version", lambda name: "1")
            self.patch(__import__("twisted_smtpserver"), "isCompiled", isCompiled)
            self.assertIn(said, versions.describeVersions())
