"""Long answers, at the pace of those who take them."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: Octets that are written at once.
PIECE = 64 * 1024


@implementer(IPushProducer)
class Pieces:
    """
    Writes an answer in pieces: of what a transport gets at once it makes copies.

    :param request: its headers are set.
    :param octets: its body.
    """

    def __init__(self, request: Any, octets: bytes) -> None:
        self._request = request
        self._octets = octets
        self._position = 0
        self._isPaused = False

    def start(self) -> None:
        """Begin; the request is finished in the end."""
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Go on."""
        self._isPaused = False
        while self._position < len(self._octets) and not self._isPaused:
            start = self._position
            self._position += PIECE
            self._request.write(self._octets[start : start + PIECE])
        if self._position >= len(self._octets):
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """The client has to take something first."""
        self._isPaused = True

    def stopProducing(self) -> None:
        """The client has left."""
        self._isPaused = True
