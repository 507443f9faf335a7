"""A message of the standard library's whose texts are made when they are read."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any, NamedTuple

# Octets of which a text is made before anybody reads it.
_SMALL = 64 * 1024


class LateText(NamedTuple):
    """
    Octets that nobody has read yet.

    :ivar octets: those of the message, which all of its parts share.
    :ivar start: where they begin.
    :ivar end: where they end.
    """

    octets: bytes
    start: int
    end: int

    def read(self) -> str:
        """The text, as the library has it: octets above ASCII as surrogates."""
        octets, text = self.octets, ""
        for start in range(self.start, self.end, _SMALL):
            piece = octets[start : min(start + _SMALL, self.end)]
            # In place: the interpreter makes the only reference's string longer. To decode all at
            # once would take twice the memory if there are surrogates.
            text += piece.decode("ascii", "surrogateescape")
        return text


def textOf(octets: bytes, start: int, end: int) -> Any:
    """
    A piece of a message, for an attribute that is :class:`_Late`.

    :param octets: the message's.
    :param start: where it begins.
    :param end: where it ends; nothing is there if that is before.
    :returns: a text if it is small.
    """
    text = LateText(octets, start, max(start, end))
    return text.read() if end - start <= _SMALL else text


class _Late:
    """An attribute whose text is made when it is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, message: Any, owner: type | None = None) -> Any:
        attributes = vars(message)
        value = attributes[self._name]
        if isinstance(value, LateText):
            value = attributes[self._name] = value.read()
        return value

    def __set__(self, message: Any, value: Any) -> None:
        vars(message)[self._name] = value


class LateMessage(EmailMessage):
    """A message, or a part of one, that is otherwise like any of the library's."""

    _payload = _Late()
    preamble = _Late()
    epilogue = _Late()

    def setText(self, octets: bytes, start: int, end: int) -> None:
        """
        Set the payload.

        :param octets: the message's.
        :param start: where it begins.
        :param end: where it ends.
        """
        self._payload = textOf(octets, start, end)

    def is_multipart(self) -> bool:
        """Whether there are parts; the text isn't made for that."""
        return isinstance(vars(self)["_payload"], list)
