"""Faults on demand: a server refuses, delays its answers, or drops the connection."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Literal

from twisted_smtpserver.errors import ConfigurationError, Rejection

#: Where a fault can happen: before the greeting, at a command, before the content of a message is
#: asked for ("data"), or when all of it has come ("message").
Stage = Literal["connect", "hello", "auth", "mail", "rcpt", "data", "message"]

STAGES: tuple[Stage, ...] = ("connect", "hello", "auth", "mail", "rcpt", "data", "message")

#: A step of :meth:`Faults.script`: ``None`` is no fault, a code refuses, "drop" closes, and a float
#: is a delay in seconds.
Step = int | float | str | Rejection | None

#: The texts of refusals, by the first digit of the code.
_TEXTS = {4: "Try again later", 5: "Refused for this test"}

DROP = "drop"


@dataclass(eq=False)
class Fault:
    """
    A fault.

    :ivar stage: where it happens.
    :ivar action: what happens: a :class:`~twisted_smtpserver.Rejection` is the answer, a number of
        seconds delays it, ``"drop"`` closes the connection without one, ``None`` is nothing.
    :ivar to: only for this recipient. (At "data" and "message": if it is one of them.)
    :ivar sender: only for this sender.
    :ivar times: how often at most; ``None`` for always.
    :ivar rate: how probable it is each time, from 0 to 1.
    :ivar hits: how often it has happened.
    """

    stage: Stage
    action: Rejection | float | str | None
    to: str | None = None
    sender: str | None = None
    times: int | None = None
    rate: float = 1.0
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ConfigurationError(f"at: {self.stage!r} isn't one of {', '.join(STAGES)}")
        if not 0 <= self.rate <= 1:
            raise ConfigurationError(f"rate: {self.rate!r} isn't between 0 and 1")
        if self.to is not None and self.stage not in ("rcpt", "data", "message"):
            raise ConfigurationError(f"to: no recipient is known yet at {self.stage!r}")
        if self.sender is not None and self.stage in ("connect", "hello", "auth"):
            raise ConfigurationError(f"sender: none is known yet at {self.stage!r}")

    def concerns(self, stage: Stage, sender: str | None, recipients: list[str]) -> bool:
        """Whether the fault may happen here."""
        return (
            self.stage == stage
            and (self.times is None or self.hits < self.times)
            and (self.to is None or self.to in recipients)
            and (self.sender is None or self.sender == sender)
        )


class Faults:
    """
    The faults of a server. Tests add them, the server's thread asks for them.

    :param seed: makes random faults the same in each run.
    """

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Add a fault from now on. Faults that were added first happen first."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def script(self, stage: Stage, steps: tuple[Step, ...]) -> list[Fault]:
        """Let faults happen one after the other."""
        return [self.add(Fault(stage, makeAction(step), times=1)) for step in steps]

    def next(self, stage: Stage, sender: str | None, recipients: list[str]) -> list[Fault]:
        """
        Choose the faults of this moment: delays, and at most one other fault behind them.

        :param sender: the sender, where it is known.
        :param recipients: the recipients that are concerned.
        """
        happening: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                if fault.concerns(stage, sender, recipients) and self._random.random() < fault.rate:
                    fault.hits += 1
                    happening.append(fault)
                    if not isinstance(fault.action, float):
                        break
        return happening


def makeAction(step: Step) -> Rejection | float | str | None:
    """
    Make a fault of a script's step.

    :param step: the step.
    :raises ConfigurationError: if it isn't one of those that :data:`Step` allows.
    """
    if step is None or step == DROP or isinstance(step, (Rejection, float)):
        return step
    if isinstance(step, int):
        return refusal(step)
    raise ConfigurationError(
        f"{step!r} isn't None, a reply code, a number of seconds with a decimal point, or 'drop'"
    )


def refusal(code: int, text: str | None = None, enhanced: str | None = None) -> Rejection:
    """
    Make a refusal.

    :param code: from 400 to 559, as in ``550``.
    """
    return Rejection(text or _TEXTS.get(code // 100, "Refused"), code=code, enhanced=enhanced)
