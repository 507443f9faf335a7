"""Tests for :mod:`twisted_smtpserver.sasl`: the registry, and what holds for every mechanism."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import sasl
from twisted_smtpserver.sasl import (
    MECHANISMS,
    Ask,
    Challenge,
    Done,
    Failed,
    FakeSecrets,
    Mechanism,
    SaslContext,
    ScramSecret,
)

CONTEXT = SaslContext("mx.example.com", fakes=FakeSecrets(b"k" * 32))
SECRET = ScramSecret(b"salt", 4096, b"k" * 32, b"v" * 32)

#: Pieces that get further into the grammars than random octets do.
PIECES = (
    b"n,,",
    b"y,a=jo,",
    b"p=tls-exporter,,",
    b"n=user,r=cn",
    b"c=biws,r=cn",
    b",p=" + b"A" * 43 + b"=",
    b"user=jo\x01auth=Bearer x\x01\x01",
    b"\x01auth=Bearer x\x01\x01",
    b"\x01auth=\x01\x01",
    b"\0jo\0pw",
    b"jo",
    b"jo " + b"0" * 32,
)
RESPONSES = st.lists(
    st.none() | st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=4).map(b"".join),
    max_size=6,
)


class RegistryTests(SynchronousTestCase):
    """:data:`~twisted_smtpserver.sasl.MECHANISMS`."""

    def test_names(self) -> None:
        """Each mechanism is under its own name, and there is a fixed set of them."""
        self.assertEqual(
            set(MECHANISMS),
            {
                "PLAIN",
                "LOGIN",
                "CRAM-MD5",
                "XOAUTH2",
                "OAUTHBEARER",
                "SCRAM-SHA-256",
                "SCRAM-SHA-256-PLUS",
                "EXTERNAL",
            },
        )
        for name, factory in MECHANISMS.items():
            mechanism = factory(CONTEXT)
            self.assertIsInstance(mechanism, Mechanism)
            self.assertEqual(mechanism.name, name)

    def test_errorChallenges(self) -> None:
        """The two OAuth mechanisms explain a refusal, the others don't."""
        explaining = {name for name, kind in MECHANISMS.items() if kind.usesErrorChallenge}
        self.assertEqual(explaining, {"XOAUTH2", "OAUTHBEARER"})

    def test_isReadOnly(self) -> None:
        """Nobody adds a mechanism for everybody else in the process."""
        with self.assertRaises(TypeError):
            cast("Any", MECHANISMS)["X"] = Mechanism

    def test_publicNames(self) -> None:
        """Every name in ``__all__`` exists, and there is none twice."""
        self.assertEqual(len(sasl.__all__), len(set(sasl.__all__)))
        for name in sasl.__all__:
            self.assertTrue(hasattr(sasl, name), name)

    def test_standardLibraryOnly(self) -> None:
        """The room needs nothing but the standard library and itself, and never logs or prints."""
        assert sasl.__file__
        for path in Path(sasl.__file__).parent.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                modules = []
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                elif isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                for module in modules:
                    top = module.split(".")[0]
                    self.assertTrue(
                        module.startswith("twisted_smtpserver.sasl")
                        or (top in sys.stdlib_module_names and top != "logging"),
                        f"{path.name} imports {module}",
                    )
                if isinstance(node, ast.Name):
                    self.assertNotEqual(node.id, "print", path.name)


class EveryMechanismTests(SynchronousTestCase):
    """Whatever a client sends."""

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from(sorted(MECHANISMS)), RESPONSES, st.booleans())
    def test_isTotal(self, name: str, responses: list[bytes | None], known: bool) -> None:
        """No sequence of responses raises, verifies anybody, or goes on after the end."""
        mechanism = MECHANISMS[name](
            SaslContext("mx", channelBinding=b"channel", fakes=FakeSecrets(b"k" * 32))
        )
        isOver = False
        for response in responses:
            step = mechanism.step(response)
            if isinstance(step, Ask):
                step = mechanism.answer(SECRET if known else None)
            self.assertIsInstance(step, Challenge | Done | Failed)
            if isOver:
                self.assertIsInstance(step, Failed)
            isOver = not isinstance(step, Challenge)
            if isinstance(step, Done):
                self.assertIs(step.credentials.verified, False)
                self.assertNotIn(name, ("EXTERNAL", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"))
                self.assertEqual(step.credentials.method, name)

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from(sorted(MECHANISMS)), st.sampled_from(range(40)))
    def test_endsSoon(self, name: str, which: int) -> None:
        """No client can keep an exchange going for more than five responses."""
        mechanism = MECHANISMS[name](CONTEXT)
        piece = PIECES[which % len(PIECES)]
        steps = 0
        step = mechanism.step(None)
        while not isinstance(step, Done | Failed):
            step = mechanism.answer(None) if isinstance(step, Ask) else mechanism.step(piece)
            steps += 1
        self.assertLess(steps, 6)

    def test_reprShowsNoSecret(self) -> None:
        """A mechanism or a step in a log or a traceback gives no secret away."""
        for name, responses in (
            ("PLAIN", [b"\0jo\0hush"]),
            ("LOGIN", [b"jo", b"hush"]),
            ("XOAUTH2", [b"user=jo\x01auth=Bearer hush\x01\x01"]),
            ("OAUTHBEARER", [b"n,,\x01auth=Bearer hush\x01\x01"]),
        ):
            with self.subTest(name=name):
                mechanism = MECHANISMS[name](CONTEXT)
                step = [mechanism.step(response) for response in responses][-1]
                assert isinstance(step, Done)
                for thing in (mechanism, step, step.credentials):
                    self.assertNotIn("hush", f"{thing!r} {thing}")
