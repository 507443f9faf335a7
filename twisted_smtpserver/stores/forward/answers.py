"""A reply of the next hop's, and what it means for our client."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.stores.base import Unavailable
from twisted_smtpserver.wire.text import escape

# RFC 3463 §2, RFC 2034 §4: behind the code, on each line.
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")

# Characters of the next hop's text that go on to our client.
_MAX_TEXT = 400

# Refusals that are about us, not about the message: we said something wrong, or weren't logged in.
_ABOUT_US = frozenset({500, 502, 503, 530, 534, 535, 538})


@dataclass(frozen=True)
class Answer:
    """
    A reply of the next hop's.

    :ivar code: its code, 200 to 599.
    :ivar lines: the text of each line, without the code.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def isPositive(self) -> bool:
        """Whether it is 2yz."""
        return self.code < 300

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code of the last line; ``None`` if it has none that fits."""
        found = _ENHANCED.match(self.lines[-1])
        fits = found is not None and found[1][0] == str(self.code)[0]
        return found[1] if found is not None and fits else None

    @property
    def text(self) -> str:
        """The lines' texts without their enhanced codes, bounded."""
        return " ".join(_ENHANCED.sub("", line, count=1) for line in self.lines)[:_MAX_TEXT]

    def __str__(self) -> str:
        return escape(f"{self.code} {' '.join(self.lines)}")


def refusal(answer: Answer) -> Rejection:
    """
    The reply for our client when the next hop has refused.

    :param answer: the next hop's reply.
    :returns: a refusal with its text; 550 to 554 stay what they are, other 5yz become 554, and any
        4yz that could mean something else to our client becomes 451.
    :raises Unavailable: if the refusal is about us, or no refusal.
    """
    code = answer.code
    if not 400 <= code <= 599 or code in _ABOUT_US:
        raise Unavailable(f"it said: {answer}")
    if code < 500:
        code = code if code in (450, 451, 452) else 451
    elif not 550 <= code <= 554:
        code = 554
    return Rejection(answer.text or "Refused by the next hop", code, answer.enhanced)
