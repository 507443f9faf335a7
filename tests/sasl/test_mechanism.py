"""Tests for :mod:`twisted_smtpserver.sasl.mechanism` and :mod:`twisted_smtpserver.sasl.steps`."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import (
    Ask,
    Challenge,
    Credentials,
    Done,
    Failed,
    FakeSecrets,
    Mechanism,
    Reason,
    SaslContext,
    ScramQuery,
    ScramSecret,
    Step,
)

CONTEXT = SaslContext("mx.example.com")
MALFORMED = Failed(Reason.MALFORMED)
SECRET = ScramSecret(b"salt", 4096, b"k" * 32, b"v" * 32)


class Echo(Mechanism):
    """Challenges with what it gets, asks when it gets a question mark, ends on a full stop."""

    name = "ECHO"

    def _first(self, response: bytes) -> Step:
        if response == b"?":
            return self.ask(ScramQuery("jo", self.name), self._got)
        if response == b".":
            return Done(Credentials(self.name, "jo"))
        return self.challenge(response, self._first)

    def _got(self, secret: ScramSecret | None) -> Step:
        return self.challenge(b"none" if secret is None else secret.salt, self._first)


class SaslContextTests(SynchronousTestCase):
    """What a mechanism is told."""

    def test_reprShowsNoKey(self) -> None:
        """The key behind the fake salts and the channel's octets aren't in the repr."""
        fakes = FakeSecrets(b"hush" * 8)
        context = SaslContext("mx", channelBinding=b"hush-binding", fakes=fakes)
        self.assertNotIn("hush", repr(context))
        self.assertIn("mx", repr(context))

    def test_bindingData(self) -> None:
        """The channel's octets come from a value or from a function, or there are none."""
        self.assertIsNone(CONTEXT.bindingData())
        self.assertEqual(SaslContext("mx", channelBinding=b"x").bindingData(), b"x")
        self.assertEqual(SaslContext("mx", channelBinding=lambda: b"y").bindingData(), b"y")
        self.assertIsNone(SaslContext("mx", channelBinding=lambda: None).bindingData())

    def test_isFrozen(self) -> None:
        """A mechanism can't change what the others are told."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            CONTEXT.peerIdentity = "root"  # type: ignore[misc]

    def test_defaults(self) -> None:
        """All connections of a process share one key; randomness and time are the system's."""
        self.assertEqual(CONTEXT.fakes, SaslContext("other").fakes)
        self.assertEqual(len(CONTEXT.fakes.key), 32)
        self.assertNotEqual(CONTEXT.random(16), CONTEXT.random(16))
        self.assertGreater(CONTEXT.clock(), 1.7e9)


class MechanismTests(SynchronousTestCase):
    """How any exchange goes on and ends."""

    def test_asksForFirstResponse(self) -> None:
        """Without an initial response there is an empty challenge; an empty one is a response."""
        self.assertEqual(Echo(CONTEXT).step(None), Challenge(b""))
        mechanism = Echo(CONTEXT)
        self.assertEqual(mechanism.step(b""), Challenge(b""))
        self.assertEqual(mechanism.step(b"x"), Challenge(b"x"))

    def test_missingResponseIsForTheBeginning(self) -> None:
        """``None`` later on is malformed and ends the exchange."""
        for first in (None, b"x"):
            with self.subTest(first=first):
                mechanism = Echo(CONTEXT)
                mechanism.step(first)
                self.assertEqual(mechanism.step(None), MALFORMED)
                self.assertEqual(mechanism.step(b"x"), MALFORMED)

    def test_boundsResponses(self) -> None:
        """12288 octets are taken, one more isn't."""
        mechanism = Echo(CONTEXT)
        self.assertEqual(mechanism.step(b"x" * 12288), Challenge(b"x" * 12288))
        self.assertEqual(mechanism.step(b"x" * 12289), MALFORMED)
        self.assertEqual(mechanism.step(b"x"), MALFORMED)

    def test_staysDone(self) -> None:
        """After success nothing more is taken."""
        mechanism = Echo(CONTEXT)
        self.assertIsInstance(mechanism.step(b"."), Done)
        self.assertEqual(mechanism.step(b"."), MALFORMED)
        self.assertEqual(mechanism.step(b"x"), MALFORMED)

    def test_answers(self) -> None:
        """An answer goes to whoever asked, once."""
        for value, challenge in ((SECRET, b"salt"), (None, b"none")):
            with self.subTest(value=value):
                mechanism = Echo(CONTEXT)
                self.assertEqual(mechanism.step(b"?"), Ask(ScramQuery("jo", "ECHO")))
                self.assertEqual(mechanism.answer(value), Challenge(challenge))
                with self.assertRaises(RuntimeError):
                    mechanism.answer(value)

    def test_refusesAnswersUnasked(self) -> None:
        """An answer before any question, and one after the client spoke out of turn, is a bug."""
        mechanism = Echo(CONTEXT)
        with self.assertRaises(RuntimeError):
            mechanism.answer(None)
        mechanism.step(b"?")
        self.assertEqual(mechanism.step(b"x"), MALFORMED)
        with self.assertRaises(RuntimeError):
            mechanism.answer(SECRET)

    def test_refusesAnswersOfWrongType(self) -> None:
        """What is no secret is a bug that doesn't show the value and leaves the question open."""
        mechanism = Echo(CONTEXT)
        mechanism.step(b"?")
        for value in ("hush", False, {"storedKey": "hush"}):
            with self.subTest(value=value):
                with self.assertRaises(TypeError) as caught:
                    mechanism.answer(cast("Any", value))
                self.assertNotIn("hush", str(caught.exception))
        self.assertEqual(mechanism.answer(None), Challenge(b"none"))

    def test_hasNoErrorChallenge(self) -> None:
        """By default a refusal isn't explained, and asking for the explanation is a bug."""
        self.assertIs(Echo.usesErrorChallenge, False)
        with self.assertRaises(TypeError):
            Echo(CONTEXT).errorChallenge({})

    def test_abstract(self) -> None:
        """A mechanism that takes no response can't be made."""
        with self.assertRaises(TypeError):
            cast("Any", Mechanism)(CONTEXT)

    def test_doneShowsNoSecret(self) -> None:
        """A logged step shows neither secret nor final data."""
        step = Done(Credentials("PLAIN", "jo", password="hush"), b"hush")
        self.assertNotIn("hush", repr(step))
