"""
Counts and times in Redis, for all servers that ask the same one.
"""

from __future__ import annotations

import importlib.util
import secrets
from hashlib import blake2b
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,  # noqa: A004  # Twisted's own, which addTimeout raises
    maybeDeferred,
)
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.shared import scripts
from twisted_smtpserver.shared.address import RedisAddress

_log = Logger()

#: How long an answer of Redis may take, in seconds: a client waits for it.
ANSWER_TIME = 1.0

#: How long Redis isn't asked after a failure, in seconds.
RETRY_TIME = 5.0

#: How long the connections of a server without a sign of life are counted, in seconds.
LIFE_TIME = 60.0

#: How long the connections of an address are counted after the last one came, in seconds.
CONNECTIONS_MEMORY = 7 * 86400.0


class RedisState:
    """
    What ``RateLimit``, ``Greylist`` and the options ``loginDelay`` and ``maxClientsPerAddress``
    count, in Redis: limits then hold for all servers that use it, together::

        state = RedisState("redis://127.0.0.1:6379/0")
        handler = Chain(RateLimit(messages=300, state=state), Maildir("mail"))
        SMTPServerFactory(handler, maxClientsPerAddress=20, state=state)

    It fails open. While Redis doesn't answer within a second, every method says that it doesn't
    know, and each server counts by itself; the log tells so in one line, and in another one when
    Redis is back. All keys expire, and addresses of mail are in them as digests only.

    Redis is connected to when it is first asked. Needs the extra ``redis``.

    :param url: ``redis://[user:password@]host[:port][/database]``, ``rediss://…`` for TLS with a
        verified certificate, or ``unix:///path?db=0``.
    :param password: instead of one in the URL.
    :param prefix: what all keys begin with. Servers that share nothing need different ones.
    :param connection: what to ask instead, for example what txredisapi's ``Sentinel`` makes.
    :param reactor: what bounds the wait; by default the reactor.
    :raises ConfigurationError: if the URL is invalid, or txredisapi is missing.
    """

    def __init__(
        self,
        url: str = "redis://localhost",
        *,
        password: str | None = None,
        prefix: str = "smtp:",
        connection: Any = None,
        reactor: Any = None,
    ) -> None:
        self._address = RedisAddress.parse(url, password)
        if connection is None and importlib.util.find_spec("txredisapi") is None:
            raise ConfigurationError(
                'RedisState needs txredisapi: pip install "twisted-smtpserver[redis]"'
            )
        self._prefix = prefix
        self._connection = connection
        self._reactor = reactor
        self._server = secrets.token_hex(8)
        self._isDown = False
        self._retryAt = 0.0
        self._pulse: LoopingCall | None = None
        self._refusal = ""

    def __repr__(self) -> str:
        return f"<RedisState {self._address}>"

    # -- What is counted ---------------------------------------------------------------------------

    async def count(self, key: str, seconds: float) -> int | None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.count`."""
        return await self._ask(scripts.COUNT, f"count:{key}", _milliseconds(seconds))

    async def greylist(self, key: str, delay: float, window: float, remember: float) -> bool | None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.greylist`."""
        times = map(_milliseconds, (delay, window, remember))
        known = await self._ask(scripts.GREYLIST, f"grey:{_digest(key)}", *times)
        return None if known is None else known == 1

    async def loginFailed(self, key: str, username: str, seconds: float) -> int | None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.loginFailed`."""
        return await self._ask(
            scripts.LOGIN_FAILED, f"login:{key}", _digest(username), _milliseconds(seconds)
        )

    async def loginSucceeded(self, key: str, username: str) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.loginSucceeded`."""
        await self._ask(scripts.LOGIN_SUCCEEDED, f"login:{key}", _digest(username))

    async def enter(self, key: str, limit: int) -> bool | None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.enter`."""
        self._beginPulse()
        entered = await self._ask(
            scripts.ENTER,
            f"clients:{key}",
            self._server,
            f"{self._prefix}alive:",
            limit,
            _milliseconds(CONNECTIONS_MEMORY),
            _milliseconds(LIFE_TIME),
        )
        return None if entered is None else entered == 1

    async def leave(self, key: str) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.ISharedState.leave`."""
        await self._ask(scripts.LEAVE, f"clients:{key}", self._server)

    async def close(self) -> None:
        """Tell Redis that this server's connections are gone, and disconnect."""
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None
            # When this is answered, Redis has done all earlier commands, too.
            await self._ask(scripts.GONE, f"alive:{self._server}")
        connection, self._connection = self._connection, None
        if connection is not None:
            await maybeDeferred(connection.disconnect)

    # -- Asking ------------------------------------------------------------------------------------

    def _beginPulse(self) -> None:
        """Give signs of life from now on: otherwise Redis forgets this server's connections."""
        if self._pulse is None:
            self._pulse = LoopingCall(self._live)
            self._pulse.clock = self._clock
            self._pulse.start(LIFE_TIME / 3, now=False)

    def _live(self) -> Deferred[Any]:
        key = f"alive:{self._server}"
        return Deferred.fromCoroutine(self._ask(scripts.ALIVE, key, _milliseconds(LIFE_TIME)))

    @property
    def _clock(self) -> Any:
        if self._reactor is None:
            self._reactor = theReactor()
        return self._reactor

    async def _ask(self, script: str, key: str, *arguments: object) -> int | None:
        """
        Run a script.

        :returns: its answer; ``None`` if Redis has none.
        """
        now = self._clock.seconds()
        if self._isDown:
            if now < self._retryAt:
                return None
            # Other questions don't wait until it is known whether Redis is back.
            self._retryAt = now + RETRY_TIME
        try:
            asked = self._connected().eval(script, [self._prefix + key], arguments)
            # txredisapi limits the wait for an answer, not the wait for a connection.
            answer: int = await asked.addTimeout(1.5 * ANSWER_TIME, self._clock)
        except CancelledError:
            raise  # the client left, which says nothing about Redis
        except Exception as error:  # whatever it is, mail goes on
            self._failed(error)
            return None
        if self._isDown:
            self._isDown = False
            _log.info("Redis {address} can be reached again", address=self._address)
        return answer

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = self._address.connect(ANSWER_TIME, self._refused)
        return self._connection

    def _refused(self, failure: Failure) -> None:
        """Note that the login failed: a wrong password, or no such database."""
        self._refusal = failure.getErrorMessage()

    def _failed(self, error: Exception) -> None:
        self._retryAt = self._clock.seconds() + RETRY_TIME
        why = self._refusal or ("no answer" if isinstance(error, TimeoutError) else str(error))
        if self._refusal:
            # txredisapi doesn't try again, but an operator may correct the password at Redis.
            self._connection, self._refusal = None, ""
        if self._isDown:
            return
        self._isDown = True
        _log.error(
            "Redis {address} can't be reached ({why}): until it can, each server counts by"
            " itself, and nobody is greylisted",
            address=self._address,
            why=why,
        )


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _digest(text: str) -> str:
    """A digest of a client's text: short, and not readable."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
