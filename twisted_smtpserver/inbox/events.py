"""Server-sent events: what happens in the inbox, as it happens, for every page that is open."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.web.http import Request
from zope.interface import implementer

#: How many pages may listen for events.
MAX_LISTENERS = 64

#: The interval of comments, in seconds. They make proxies keep the connection.
HEARTBEAT = 20


class Events:
    """
    Those who listen.

    :param clock: the reactor.
    """

    def __init__(self, clock: Any) -> None:
        self._listeners: set[_Listener] = set()
        self._heart = LoopingCall(self._beat)
        self._heart.clock = clock

    @property
    def isFull(self) -> bool:
        """Whether nobody else can listen."""
        return len(self._listeners) >= MAX_LISTENERS

    def add(self, request: Request) -> None:
        """
        Send events to a page until it leaves.

        :param request: its headers are set; it gets a body without an end.
        """
        listener = _Listener(request)
        self._listeners.add(listener)
        request.notifyFinish().addErrback(lambda _: self._remove(listener))
        if not self._heart.running:
            self._heart.start(HEARTBEAT, now=False)

    def _remove(self, listener: _Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners and self._heart.running:
            self._heart.stop()

    def publish(self, kind: str, data: Any = None) -> None:
        """
        Tell everybody.

        :param kind: ``"new"`` with a message's row in the list; ``"read"`` with the id of one that
            was opened; ``"changed"`` if any others changed.
        :param data: what can be written as JSON.
        """
        if self._listeners:
            line = json.dumps({"Type": kind, "Data": data}).encode("ascii")
            for listener in list(self._listeners):
                listener.send(b"data: " + line + b"\n\n")

    def close(self) -> None:
        """End all streams."""
        for listener in list(self._listeners):
            self._remove(listener)
            listener.finish()

    def _beat(self) -> None:
        for listener in list(self._listeners):
            listener.send(b":\n\n")


@implementer(IPushProducer)
class _Listener:
    """
    One page. While it doesn't read, nothing is kept for it; later it is told that it missed
    something.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._isPaused = False
        self._missed = False
        request.registerProducer(self, True)
        request.write(b"retry: 1000\n\n")

    def send(self, octets: bytes) -> None:
        if self._isPaused:
            self._missed = True
        else:
            self._request.write(octets)

    def finish(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        self._isPaused = True

    def resumeProducing(self) -> None:
        self._isPaused = False
        if self._missed:
            self._missed = False
            self._request.write(b'data: {"Type": "changed", "Data": null}\n\n')

    def stopProducing(self) -> None:
        """The connection is lost; the request's ``notifyFinish`` says so, too."""
