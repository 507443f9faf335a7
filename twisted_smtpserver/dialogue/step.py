"""What a transition of the state machine leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.states import Phase

# These have a dialogue for their first argument, which stands in a file above this one.

#: Commands by their verbs; see :data:`~twisted_smtpserver.dialogue.dialogue.Verb`.
Verbs = dict[str, Callable[[Any, bytes], Outcome]]

#: Short ways to verbs, by the first five octets of a line.
Shortcuts = dict[bytes, "Callable[[Any, bytes], Outcome | None]"]

#: A short way for several lines at once; see :func:`~twisted_smtpserver.commands.shortcuts`.
Run = Callable[[Any, bytes, int, int], tuple[int, int, Outcome]]


class Step:
    """
    :param phase: the phase that follows.
    :param admitted: the verbs that pass all gates in it.
    :param shortcuts: short ways to some of them.
    :param run: the short way for several lines at once; ``None`` if the phase has none.
    :ivar mayLackLogin: whether no MAIL was accepted yet, which waits for a login that is required.
    """

    __slots__ = ("admitted", "mayLackLogin", "phase", "run", "shortcuts")

    def __init__(
        self, phase: Phase, admitted: Verbs, shortcuts: Shortcuts, run: Run | None = None
    ) -> None:
        self.phase = phase
        self.admitted = admitted
        self.shortcuts = shortcuts
        self.run = run
        self.mayLackLogin = phase <= Phase.READY


#: Where a conversation begins: nothing may be said.
BEGINNING = Step(Phase.CONNECTED, {}, {})
