"""Tests for the options."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from typing import Any

from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import options
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.options import OPTION_NAMES, Options, makeOptions, unknownName

CERTIFIED: dict[str, Any] = {"key": "key.pem", "cert": "cert.pem"}
NUMBERS = {
    "handshakeTimeout": (0.001, 0),
    "size": (0, -1),
    "maxAuthAttempts": (1, 0),
    "authFailureDelay": (0, -0.1),
    "loginDelay": (0, -0.1),
    "maxClients": (1, 0),
    "maxClientsPerAddress": (1, 0),
    "maxRecipients": (1, 0),
    "maxRefusedRecipients": (1, 0),
    "maxMessages": (1, 0),
    "maxCommandLength": (512, 511),
    "maxAllowedUnauthenticatedCommands": (1, 0),
    "maxUnrecognizedCommands": (1, 0),
    "maxJunkCommands": (1, 0),
    "maxErrors": (1, 0),
    "errorDelay": (0, -0.1),
    "minDataRate": (0, -1),
    "maxSessionTime": (0.5, 0),
    "socketTimeout": (0.5, 0),
    "handlerTimeout": (0.5, 0),
    "closeTimeout": (0, -1),
    "greetingDelay": (0, -1),
}


class OptionsTests(SynchronousTestCase):
    """What makes no sense is refused, in words that name the option."""

    def assertRefused(self, pattern: str, **keywords: Any) -> None:
        with self.assertRaisesRegex(ConfigurationError, pattern):
            makeOptions(keywords)

    def test_defaults(self) -> None:
        """The defaults of what is a number, a time or a switch."""
        made = Options()
        table: dict[str, Any] = {
            "secure": False,
            "secured": False,
            "tlsRequired": False,
            "handshakeTimeout": 30,
            "minVersion": "TLSv1.2",
            "requestCert": False,
            "rejectUnauthorized": True,
            "size": 0,
            "hideSize": False,
            "authMethods": ("PLAIN", "LOGIN"),
            "authOptional": False,
            "allowInsecureAuth": False,
            "maxAuthAttempts": 3,
            "authFailureDelay": 1,
            "loginDelay": 1,
            "disabledCommands": frozenset(),
            "hide": frozenset(),
            "disableReverseLookup": False,
            "maxClients": None,
            "maxClientsPerAddress": None,
            "maxRecipients": 1000,
            "maxRefusedRecipients": 100,
            "maxMessages": 100_000,
            "maxCommandLength": 2048,
            "bareNewlines": "reject",
            "lmtp": False,
            "maxAllowedUnauthenticatedCommands": 10,
            "maxUnrecognizedCommands": 10,
            "maxJunkCommands": 1_000_000,
            "maxErrors": 100,
            "errorDelay": 0.1,
            "minDataRate": 32,
            "maxSessionTime": 21600,
            "useProxy": False,
            "useXClient": False,
            "useXForward": False,
            "socketTimeout": 300,
            "handlerTimeout": 300,
            "closeTimeout": 30,
            "greetingDelay": 0,
            "noDelay": True,
            "lenientAddressParsing": False,
            "heloResponse": "%s Nice to meet you, %s",
            "banner": "",
            "selfSigned": False,
        }
        self.assertEqual({name: getattr(made, name) for name in table}, table)
        self.assertTrue(made.name)

    def test_documented(self) -> None:
        """Every option is described, and nothing else is."""
        described = re.findall(r":ivar (\w+):", inspect.getdoc(Options) or "")
        self.assertEqual(set(described), OPTION_NAMES)
        self.assertEqual(len(described), len(OPTION_NAMES))

    def test_numbers(self) -> None:
        """Each number has a least value."""
        self.assertEqual(set(NUMBERS), set(options._LEAST))
        for name, (good, bad) in NUMBERS.items():
            self.assertEqual(getattr(makeOptions({name: good}), name), good)
            wrong: Any
            for wrong in (bad, "5", [], True, float("nan"), float("inf")):
                self.assertRefused(
                    f"^{name}: .* is not a (whole )?number of at least", **{name: wrong}
                )

    def test_wholeNumbers(self) -> None:
        """Octets and counts are whole numbers; times needn't be."""
        for name in ("size", "maxRecipients", "maxCommandLength", "maxClients"):
            self.assertRefused(f"^{name}: 1000.5 is not a whole number", **{name: 1000.5})

    def test_noLimit(self) -> None:
        """Two limits can be left out, each in its own way."""
        self.assertIsNone(makeOptions({"maxClients": None}).maxClients)
        name = "maxAllowedUnauthenticatedCommands"
        self.assertIs(getattr(makeOptions({name: False}), name), False)
        self.assertRefused("maxClients", maxClients=False)
        self.assertRefused(name, **{name: None})

    def test_names(self) -> None:
        """Commands, keywords and mechanisms may be written in any case."""
        made = Options(disabledCommands=["vrfy"], hide={"size"}, authMethods=["plain"])
        self.assertEqual(made.disabledCommands, {"VRFY"})
        self.assertEqual(made.hide, {"SIZE"})
        self.assertEqual(made.authMethods, ("PLAIN",))

    def test_namesThatAreNone(self) -> None:
        """A single text is not a list of names; nor is anything else."""
        for name in ("disabledCommands", "hide", "authMethods"):
            for wrong in ("VRFY", b"VRFY", None, 5, ["VRFY", 5]):
                self.assertRefused(f"^{name}: .* is not a list of names", **{name: wrong})
        for wrong in ("DSN", None):
            self.assertRefused("^extensions: .* is not a list", extensions=wrong)

    def test_bareNewlines(self) -> None:
        """There are three ways to treat them."""
        for mode in ("reject", "normalize", "accept"):
            self.assertEqual(makeOptions({"bareNewlines": mode}).bareNewlines, mode)
        self.assertRefused("^bareNewlines: 'allow' is not one of reject", bareNewlines="allow")

    def test_switches(self) -> None:
        """What is on or off is True or False: "no" would count as yes."""
        for name in ("allowInsecureAuth", "authOptional", "lmtp", "noDelay", "hideSize", "secure"):
            for wrong in ("no", 1, None):
                self.assertRefused(f"^{name}: .* is neither True nor False", **{name: wrong})

    def test_withoutTLS(self) -> None:
        """What is about TLS is refused where there is none: someone counts on it."""
        keywords: dict[str, Any]
        for keywords in (
            {"requestCert": True},
            {"minVersion": "TLSv1.3"},
            {"ca": "ca.pem"},
            {"sniOptions": {"a.example": {}}},
        ):
            self.assertRefused("needs tls, key and cert, or selfSigned", **keywords)
        self.assertRefused("^minVersion: 'TLSv1' is not one of", minVersion="TLSv1")
        self.assertRefused("^sniOptions: is not a mapping", sniOptions=[1], selfSigned=True)

    def test_scram(self) -> None:
        """SCRAM's numbers have bounds."""
        for wrong in (4095, 10**8, "x", None):
            self.assertRefused("^scramIterations: ", scramIterations=wrong)
        for key in (b"short", "x" * 16):
            self.assertRefused("^scramSaltKey: ", scramSaltKey=key)

    def test_resolver(self) -> None:
        """A resolver can be asked for names."""
        self.assertRefused("^resolver: ", resolver=5)

    def test_theReferencesNames(self) -> None:
        """hidePIPELINING is written differently here, and the text says how."""
        error = self.assertRaises(ConfigurationError, makeOptions, {"hidePIPELINING": True})
        self.assertIn("hide=['PIPELINING']", str(error))

    def test_texts(self) -> None:
        """What goes into replies is ASCII text, and the name is one word."""
        for name in ("name", "banner", "heloResponse", "authRequiredMessage"):
            for wrong in ("Grüße", None, b"x"):
                self.assertRefused(f"^{name}: .* is not printable ASCII text", **{name: wrong})
        for wrong in ("", "a b", "a\r\nb", "a\x7f"):
            self.assertRefused("^name: ", name=wrong)

    def test_networks(self) -> None:
        """Networks are parsed once; what isn't one is refused."""
        for name in ("useProxy", "useXClient", "useXForward", "ignoredHosts"):
            self.assertRefused(f"^{name}: ", **{name: ["nonsense"]})
        made = Options(
            useProxy=True,
            useXClient=["192.0.2.1"],
            useXForward=["192.0.2.2"],
            ignoredHosts=["192.0.2.3"],
        )
        self.assertIn("198.51.100.1", made.proxyNetworks)
        self.assertIn("192.0.2.1", made.xClientNetworks)
        self.assertIn("192.0.2.2", made.xForwardNetworks)
        self.assertIn("192.0.2.3", made.ignoredNetworks)

    def test_hasCertificate(self) -> None:
        """There are three sources of a certificate."""
        self.assertFalse(Options().hasCertificate)
        for source in ({"tls": CertificateOptions()}, CERTIFIED, {"selfSigned": True}):
            self.assertTrue(makeOptions(source).hasCertificate)

    def test_tls(self) -> None:
        """Combinations that contradict each other, or lack something."""
        self.assertRefused("choose one", tls=object(), **CERTIFIED)
        self.assertRefused("choose one", tls=object(), selfSigned=True)
        self.assertRefused("choose one", selfSigned=True, **CERTIFIED)
        self.assertRefused("^key and cert", key="key.pem")
        self.assertRefused("^key and cert", cert="cert.pem")
        self.assertRefused("^secure and secured", secure=True, secured=True)
        self.assertRefused("^secure: implicit TLS needs", secure=True)
        self.assertRefused("^tlsRequired: needs", tlsRequired=True)
        self.assertRefused("^secured: TLS ends upstream", secured=True, selfSigned=True)
        for good in ({"secured": True}, {"selfSigned": True}):
            self.assertTrue(makeOptions({"tlsRequired": True, **good}).tlsRequired)
        self.assertTrue(makeOptions({"secure": True, **CERTIFIED}).secure)

    def test_frozen(self) -> None:
        """Options don't change."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            Options().size = 5  # type: ignore[misc]

    def test_repr(self) -> None:
        """No key, passphrase or path is in the repr."""
        made = Options(**CERTIFIED, passphrase="s3cret", ca="ca.pem", sniOptions={"s3cret": 1})
        self.assertNotRegex(repr(made), r"pem|s3cret")


class UnknownNameTests(SynchronousTestCase):
    """A misspelled name says which one was meant."""

    def test_misspelled(self) -> None:
        """The nearest name is proposed, whatever its case."""
        table = {
            "maxRecipient": "maxRecipients",
            "sockettimeout": "socketTimeout",
            "SIZE": "size",
            "LMTP": "lmtp",
        }
        for wrong, meant in table.items():
            with self.assertRaisesRegex(
                ConfigurationError, f"^there is no option '{wrong}'; did you mean '{meant}'"
            ):
                makeOptions({wrong: 1})

    def test_reference(self) -> None:
        """Options of the reference's that there aren't say what to do instead."""
        table = {
            "hideDSN": "DSN is off; extensions=['DSN']",
            "hideREQUIRETLS": "REQUIRETLS is off; extensions=['REQUIRETLS']",
            "rejectOversized": "leave it out, a message over size is always refused",
            "needsUpgrade": "bun-smtp's is tlsRequired=True",
            "SNICallback": "give a context factory with it, tls=",
            "allowHalfOpen": "endpoint",
        }
        for name, cure in table.items():
            with self.assertRaisesRegex(ConfigurationError, f"^there is no option '{name}': .*"):
                makeOptions({name: True})
            self.assertIn(cure, unknownName(name, OPTION_NAMES, "option or hook"))
        with self.assertRaisesRegex(ConfigurationError, r"did you mean hide=\['STARTTLS'\]"):
            makeOptions({"hideSTARTTLS": True})

    def test_noLimit(self) -> None:
        """What the reference takes for no limit, or for everyone, says how that is written here."""
        table = {
            "size": (False, "; 0 is no limit"),
            "minDataRate": (None, "; 0 is no limit"),
            "maxAllowedUnauthenticatedCommands": (0, "; False is no limit"),
            "maxClients": (math.inf, "at least 1"),
            "useProxy": (["*"], "; True is for everyone"),
        }
        for name, (value, text) in table.items():
            with self.assertRaisesRegex(ConfigurationError, f"^{name}: .*{text}$"):
                makeOptions({name: value})

    def test_noIdea(self) -> None:
        """Where nothing is near, nothing is proposed."""
        self.assertEqual(unknownName("zzz", ["size"], "option"), "there is no option 'zzz'")
