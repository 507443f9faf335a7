"""Refusals on purpose, as in Mailpit: to see what a program does with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.errors import AuthenticationFailed, Rejection

_TEXT = "Refused on purpose, by a chaos trigger of the inbox"


@dataclass(frozen=True)
class Trigger:
    """
    How often a command is refused, and how.

    :ivar code: the reply code, 400 to 559.
    :ivar probability: in percent.
    """

    code: int
    probability: int = 0

    def toJSON(self) -> dict[str, int]:
        """The form that the API has."""
        return {"ErrorCode": self.code, "Probability": self.probability}


_CALM = {"Sender": Trigger(451), "Recipient": Trigger(451), "Authentication": Trigger(535)}


class Chaos:
    """
    The triggers.

    :param draw: gives a number from 0 to 99.
    """

    def __init__(self, draw: Callable[[], int] = lambda: random.randrange(100)) -> None:
        self._draw = draw
        self._triggers = dict(_CALM)

    def toJSON(self) -> dict[str, dict[str, int]]:
        """The triggers, in the form that the API has."""
        return {name: trigger.toJSON() for name, trigger in self._triggers.items()}

    def set(self, wanted: Any) -> None:
        """
        Set all triggers. Those that aren't named are off.

        :param wanted: in the form that the API has.
        :raises ValueError: if it isn't; then nothing is changed.
        """
        if not isinstance(wanted, dict):
            raise ValueError('the triggers must be an object such as {"Recipient": {…}}')
        self._triggers = {name: _read(name, wanted.get(name), calm) for name, calm in _CALM.items()}

    def sender(self) -> None:
        """
        MAIL came.

        :raises Rejection: by chance.
        """
        self._strike("Sender", Rejection)

    def recipient(self) -> None:
        """
        RCPT came.

        :raises Rejection: by chance.
        """
        self._strike("Recipient", Rejection)

    def login(self) -> None:
        """
        Somebody logs in.

        :raises AuthenticationFailed: by chance.
        """
        self._strike("Authentication", AuthenticationFailed)

    def _strike(self, name: str, kind: type[Rejection]) -> None:
        trigger = self._triggers[name]
        if trigger.probability and self._draw() < trigger.probability:
            raise kind(_TEXT, code=trigger.code)


def _read(name: str, wanted: Any, calm: Trigger) -> Trigger:
    if wanted is None:
        return calm
    if not isinstance(wanted, dict):
        raise ValueError(f'{name} must be an object such as {{"ErrorCode": 451, "Probability": 5}}')
    code = wanted.get("ErrorCode") or calm.code
    probability = wanted.get("Probability", 0)
    if type(code) is not int or not 400 <= code <= 559 or code // 10 % 10 > 5:
        raise ValueError(
            f"{name}: ErrorCode must be a reply code such as 451 or 550 (RFC 5321 §4.2)"
        )
    if type(probability) is not int or not 0 <= probability <= 100:
        raise ValueError(f"{name}: Probability must be a whole number from 0 to 100")
    return Trigger(code, probability)
