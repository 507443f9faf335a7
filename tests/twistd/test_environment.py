"""``SMTPSERVER_…``: flags in the environment."""

from __future__ import annotations

import os

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import ConfigurationError, tap
from twisted_smtpserver.twistd.environment import readEnvironment, variableOf
from twisted_smtpserver.twistd.flags import BY_NAME, COMMAND_LINE_ONLY


class ReadTests(SynchronousTestCase):
    """What the variables mean."""

    def texts(self, **variables: str) -> dict[str, tuple[str, ...]]:
        found = readEnvironment({f"SMTPSERVER_{name}": text for name, text in variables.items()})
        return {name: setting.texts for name, setting in found.items()}

    def assertRefused(self, reason: str, **variables: str) -> None:
        error = self.assertRaises(ConfigurationError, self.texts, **variables)
        self.assertEqual(str(error), reason)

    def test_values(self) -> None:
        """A flag's value is the variable's; flags that may be repeated have several words."""
        self.assertEqual(
            self.texts(MAX_CLIENTS=" 100\n", LISTEN="tcp:25 tcp6:25", AUTH="file:/my passwords"),
            {
                "max-clients": ("100",),
                "listen": ("tcp:25", "tcp6:25"),
                "auth": ("file:/my passwords",),
            },
        )
        self.assertEqual(readEnvironment({"SMTPSERVER": "x", "PATH": "/bin"}), {})

    def test_switches(self) -> None:
        """Switches are on or off, as people write that."""
        for text in ("yes", "TRUE", "on", "1"):
            self.assertEqual(self.texts(DISCARD=text), {"discard": ("",)})
        for text in ("no", "False", "off", "0"):
            self.assertEqual(self.texts(DISCARD=text), {"discard": ()})
        self.assertRefused("SMTPSERVER_DISCARD: 'maybe' is neither yes nor no", DISCARD="maybe")

    def test_refused(self) -> None:
        """What no flag would understand is refused, with the name meant."""
        self.assertRefused(
            "there is no environment variable 'SMTPSERVER_MAXCLIENTS'; did you mean "
            "'SMTPSERVER_MAX_CLIENTS'?",
            MAXCLIENTS="5",
        )
        self.assertRefused(
            "SMTPSERVER_SIZE: its value is empty: give it one, or unset it", SIZE=" "
        )
        self.assertRefused("SMTPSERVER_HELP: is for the command line only", HELP="1")
        self.assertRefused(
            "SMTPSERVER_AUTH: passwords don't belong in the environment: put them in a file",
            AUTH="memory:joe:sesame",
        )

    def test_kubernetes(self) -> None:
        """What Kubernetes tells containers of a service with that name is none of ours."""
        address = "tcp://192.0.2.1:25"
        service = {
            "SERVICE_HOST": "192.0.2.1",
            "SERVICE_PORT": "25",
            "SERVICE_PORT_SMTP": "25",
            "PORT": address,
            "PORT_25_TCP": address,
            "PORT_25_TCP_ADDR": "192.0.2.1",
        }
        self.assertEqual(self.texts(**service), {})
        self.assertEqual(self.texts(PORT="25"), {"port": ("25",)})

    def test_all(self) -> None:
        """Each flag has a variable, and no two have the same."""
        names = {variableOf(name) for name in BY_NAME}
        self.assertEqual(len(names), len(BY_NAME))
        for name, flag in BY_NAME.items():
            if name not in COMMAND_LINE_ONLY:
                texts = self.texts(**{variableOf(name).removeprefix("SMTPSERVER_"): "1"})
                self.assertEqual(texts, {name: ("1",) if flag.value else ("",)})


class OrderTests(ConfigCase):
    """The environment stands between the file and the command line."""

    def set(self, **variables: str) -> None:
        self.patch(os, "environ", {f"SMTPSERVER_{n}": t for n, t in variables.items()})

    def test_order(self) -> None:
        """It wins over the file, and the command line wins over it."""
        self.set(SIZE="6", MAX_CLIENTS="6", MAX_ERRORS="6")
        text = "[messages]\nsize = 5\n[limits]\nmax-clients = 5\nmax-messages = 5\n"
        found = self.parse(text, "--size=7").keywords
        expected = {"size": 7, "maxClients": 6, "maxErrors": 6, "maxMessages": 5}
        self.assertEqual(found, expected)

    def test_off(self) -> None:
        """It can switch off what the file has switched on."""
        self.set(HIDE_SIZE="no")
        self.assertNotIn("hide-size", self.parse("[messages]\nhide-size = true\n"))

    def test_config(self) -> None:
        """It may name the file, unless the command line does."""
        self.path.write_text("[messages]\nsize = 5\n")
        self.set(CONFIG=str(self.path))
        parsed = tap.Options()
        parsed.parseOptions([])
        self.assertEqual(parsed.keywords["size"], 5)
        self.set(CONFIG="/nowhere")
        self.assertEqual(self.parse("[messages]\nsize = 6\n").keywords["size"], 6)
        parsed = tap.Options()
        error = self.assertRaises(usage.UsageError, parsed.parseOptions, [])
        self.assertIn("'/nowhere' can't be read: No such file or directory", str(error))
        self.set(CONFIG="credential:toml")
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, [])
        self.assertTrue(str(error).startswith("SMTPSERVER_CONFIG: credential:toml needs"))

    def test_errors(self) -> None:
        """An error names the variable."""
        for variables, reason in (
            ({"SIZE": "5x"}, "SMTPSERVER_SIZE: '5x' is not a size such as 50M"),
            (
                {"SUBMISSION": "yes"},
                "SMTPSERVER_SUBMISSION: needs --cert and --key, or --self-signed",
            ),
            ({"SISE": "5"}, "there is no environment variable 'SMTPSERVER_SISE'"),
        ):
            self.set(**variables)
            error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, [])
            self.assertEqual(str(error).partition(";")[0], reason)
