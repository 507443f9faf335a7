"""Whether a server can take mail: does it listen, is its store there, are its certificates good?"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Protocol

from cryptography import x509
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.hooks.ready import askReady
from twisted_smtpserver.tls.certificates import certificateNames
from twisted_smtpserver.wire.text import escape

_log = Logger()

#: How often stores are asked whether they are ready, in seconds.
CHECK_INTERVAL = 10.0

#: How long stores may take to answer that, in seconds; then they aren't.
CHECK_TIME = 5.0

#: For how long certificates must be valid still, in seconds.
LEAST_VALIDITY = 86400.0


class Server(Protocol):
    """What is watched: an :class:`~twisted_smtpserver.SMTPService`."""

    ports: list[Any]

    def factories(self) -> list[Any]:
        """The factories that it serves."""


class StoreWatch(Service):
    """
    Asks the handlers every ten seconds whether they can take messages: those that have a method
    ``ready()``, as all stores of this library do. It raises, or its Deferred fails, if not.

    :param server: whose handlers are asked.
    :param reactor: by default the reactor.
    :param told: called with the result each time.
    :ivar isReady: the result; ``None`` before the first one.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any = None,
        told: Callable[[bool], object] | None = None,
    ) -> None:
        self.isReady: bool | None = None
        self._server = server
        self._told = told
        self._loop = LoopingCall(self._look)
        self._loop.clock = self._clock = theReactor() if reactor is None else reactor
        self._asking: Deferred[None] | None = None
        self._problem = ""

    def startService(self) -> None:
        """Look, and go on looking."""
        super().startService()
        self._loop.start(CHECK_INTERVAL)

    def stopService(self) -> None:
        """Stop checking."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._asking is not None:
            self._asking.cancel()

    def _look(self) -> Deferred[None]:
        handlers = dict.fromkeys(factory.handler for factory in self._server.factories())
        self._asking = Deferred.fromCoroutine(askReady(handlers))
        self._asking.addTimeout(CHECK_TIME, self._clock)
        return self._asking.addCallbacks(lambda _: "", _describe).addCallback(self._found)

    def _found(self, problem: str) -> None:
        self._asking = None
        if not self.running:
            return
        if problem and problem != self._problem:
            _log.error("Messages can't be stored: {problem}", event="notReady", problem=problem)
        elif self._problem and not problem:
            _log.info("Messages can be stored again", event="ready")
        self._problem = problem
        self.isReady = not problem
        if self._told is not None:
            self._told(self.isReady)

    def problems(self) -> list[str]:
        """What keeps messages from being stored, in words that tell nothing of the store."""
        if self.isReady is None:
            return ["the store wasn't looked at yet"]
        return [] if self.isReady else ["messages can't be stored; the log says why"]


def _describe(failure: Failure) -> str:
    name = type(failure.value).__name__
    text = escape(str(failure.value), 200)
    return f"{name}: {text}" if text else name


def workersProblems(states: list[float]) -> list[str]:
    """
    What keeps all workers from taking mail. As long as one can, there is nothing.

    :param states: what each says of itself: 1 if it can store messages, 2 if it can't, 0 if it
        doesn't serve.
    """
    if 1.0 in states:
        return []
    if 2.0 in states:
        return ["messages can't be stored; the log says why"]
    return ["no worker serves"]


class Readiness:
    """
    Whether a server can take mail.

    :param server: the server.
    :param problems: says what keeps messages from being stored: :meth:`StoreWatch.problems`.
    :param now: the time, in seconds since 1970.
    """

    def __init__(
        self,
        server: Server,
        problems: Callable[[], list[str]],
        now: Callable[[], datetime.datetime] | None = None,
    ) -> None:
        self._server = server
        self._problems = problems
        self._now = now or (lambda: datetime.datetime.now(datetime.timezone.utc))

    def problems(self) -> list[str]:
        """Why it can't, one reason in each line; none if it can."""
        found = [] if self._server.ports else ["it doesn't listen"]
        found += self._problems()
        now = self._now()
        for name, end in self.certificates().items():
            if (end - now).total_seconds() <= LEAST_VALIDITY:
                found.append(f"the certificate of {name} ends on {end:%Y-%m-%d at %H:%M} UTC")
        return found

    def certificates(self) -> dict[str, datetime.datetime]:
        """When each certificate ends, by its names; of several for the same names, the first."""
        ends: dict[str, datetime.datetime] = {}
        for certificate in self._certificates():
            name, end = certificateNames(certificate), certificate.not_valid_after_utc
            ends[name] = min(end, ends.get(name, end))
        return ends

    def _certificates(self) -> list[x509.Certificate]:
        contexts = [factory.contextFactory for factory in self._server.factories()]
        return [each for context in contexts if context for each in context.certificates]
