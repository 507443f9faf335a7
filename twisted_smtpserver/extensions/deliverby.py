"""DELIVERBY (RFC 2852): a message that must arrive by a certain time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.session import Session

#: The longest time there is, in seconds: nine digits (RFC 2852 §4).
MAX_TIME = 999_999_999

_VALUE = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Deadline:
    """
    What BY says (RFC 2852 §4), as found in ``address.values["BY"]``.

    :ivar seconds: the message must be delivered within this many seconds from now; 0 or negative if
        that time is over.
    :ivar mode: what to do if it isn't: ``"N"`` to notify the sender and go on trying, ``"R"`` to
        return the message.
    :ivar trace: whether the sender wants a report from each server that passes it on.
    """

    seconds: int
    mode: str
    trace: bool = False


class DeliverBy(Extension):
    """
    RFC 2852: MAIL's ``BY=``.

    Off by default: a server that takes such a message has to act when its time is over.

    :param minimum: the shortest time, in seconds, that is accepted for a message to be returned
        otherwise; EHLO announces it. ``None`` for none.
    :raises ConfigurationError: if it has more than nine digits, or is negative.
    """

    keyword = "DELIVERBY"

    def __init__(self, minimum: int | None = None) -> None:
        if minimum is not None and not 0 <= minimum <= MAX_TIME:
            raise ConfigurationError(f"DELIVERBY: {minimum} is not in 0..{MAX_TIME}")
        self._minimum = minimum
        self.mailParameters: dict[str, ParameterParser] = {"BY": self._parse}

    def advertise(self, session: Session) -> str | None:
        """The shortest time, if there is one."""
        return "" if self._minimum is None else str(self._minimum)

    def _parse(self, value: str | bool) -> Deadline:
        found = _VALUE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            raise Rejection("BY needs seconds and a mode, as in 120;R or -60;NT")
        deadline = Deadline(int(found[1]), found[2].upper(), bool(found[3]))
        if deadline.mode == "R":
            if deadline.seconds <= 0:
                raise Rejection("BY: with mode R the time must be positive")
            if self._minimum is not None and deadline.seconds < self._minimum:
                # RFC 2852 §4: valid, but more than the server can promise.
                text = f"BY: with mode R the time must be at least {self._minimum}"
                raise Rejection(text, code=555, enhanced="5.5.4")
        return deadline
