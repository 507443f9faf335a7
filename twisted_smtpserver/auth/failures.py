"""Which clients failed to log in lately, and how long that puts their next refusal off."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Coroutine
from itertools import islice
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Dialogue
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.wire.ip import addressBlock

#: This many failed logins of an address aren't delayed, because people mistype. They are as many as
#: a connection has by default (``maxAuthAttempts``).
FREE_LOGIN_FAILURES = 3

#: The longest that ``loginDelay`` grows to, in seconds.
MAX_LOGIN_DELAY = 10.0

#: After this time without another one an address's failed logins are forgotten, in seconds.
LOGIN_MEMORY = 900.0

#: How many addresses with failed logins are remembered; beyond that, the one that failed longest
#: ago is forgotten.
MAX_LOGIN_ADDRESSES = 20_000

# How many addresses whose time is over one call forgets.
_FORGOTTEN_AT_ONCE = 10


class LoginFailures:
    """
    Remembers which clients failed to log in lately: how long the next refusal is put off grows with
    their failures, over all their connections.

    It is the refusal that comes late, and nobody is locked out: a user who shares an attacker's
    address, and knows his own password, notices nothing.

    :param delay: that of the first failure that has one, in seconds; it doubles with each more.
    :param maxAddresses: how many clients are remembered.
    """

    def __init__(self, delay: float, maxAddresses: int = MAX_LOGIN_ADDRESSES) -> None:
        self._delay = delay
        self._maxAddresses = maxAddresses
        # By client, who failed longest ago first: when it was, the failures, the user's name, and
        # how many of them were in a row with that name. Of names, which may be long, the hash does.
        self._clients: OrderedDict[int | str, tuple[float, int, int, int]] = OrderedDict()

    def failed(self, address: str | None, username: str, now: float) -> float:
        """
        Count a failed login.

        :param address: the client's; ``None`` on a unix socket, which isn't counted.
        :param username: whom it claimed to be.
        :param now: the time.
        :returns: how long to put the refusal off, in seconds.
        """
        if not self._delay or address is None:
            return 0
        self._forget(now)
        block, name = addressBlock(address), hash(username)
        last, count, lastName, inARow = self._clients.pop(block, (now, 0, name, 0))
        if now - last >= LOGIN_MEMORY:
            count = inARow = 0
        count += 1
        self._clients[block] = (now, count, name, inARow + 1 if name == lastName else 1)
        if len(self._clients) > self._maxAddresses:
            self._clients.popitem(last=False)
        return self.delayOf(count)

    def delayOf(self, failures: int) -> float:
        """
        How long to put the refusal off, in seconds.

        :param failures: how many there were, this one included.
        """
        doublings = failures - FREE_LOGIN_FAILURES - 1
        if doublings < 0:
            return 0
        # More doublings would be too much for a float, and make no difference.
        return min(self._delay * 2.0 ** min(doublings, 64), MAX_LOGIN_DELAY)

    def succeeded(self, address: str | None, username: str) -> None:
        """
        Forget what a user mistyped before he got it right: the last failures, as far as they were
        with his name.

        No more than that, or a user could try others' passwords all day, with a login of his own in
        between.

        :param address: as for :meth:`failed`.
        :param username: who logged in.
        """
        if not self._clients or address is None:
            return
        block = addressBlock(address)
        now, count, lastName, inARow = self._clients.get(block, (0.0, 0, 0, 0))
        if not inARow or lastName != hash(username):
            return
        if count > inARow:
            self._clients[block] = (now, count - inARow, lastName, 0)
        else:
            del self._clients[block]

    def _forget(self, now: float) -> None:
        # A few at a time: all of them could take long.
        for block, (last, *_) in tuple(islice(self._clients.items(), _FORGOTTEN_AT_ONCE)):
            if now - last < LOGIN_MEMORY:
                break
            del self._clients[block]


class LoginState(Protocol):
    """What is asked of an :class:`~twisted_smtpserver.interfaces.ISharedState`."""

    def loginFailed(self, key: str, username: str, seconds: float) -> Awaitable[int | None]:
        """Count a failed login; ``None`` if it can't be counted there."""

    def loginSucceeded(self, key: str, username: str) -> Coroutine[Deferred[None], Any, None]:
        """Forget what a user mistyped."""


class SharedLoginFailures:
    """
    Remembers failed logins as :class:`LoginFailures` does, for all servers together.

    :param delay: as for :class:`LoginFailures`.
    :param state: an :class:`~twisted_smtpserver.interfaces.ISharedState`.
    """

    def __init__(self, delay: float, state: LoginState) -> None:
        self._delay = delay
        self._state = state
        # Counts while the state doesn't know.
        self._own = LoginFailures(delay)

    def failed(self, address: str | None, username: str, now: float) -> float | Deferred[float]:
        """See :meth:`LoginFailures.failed`."""
        if not self._delay or address is None:
            return 0
        return Deferred.fromCoroutine(self._failed(address, username, now))

    async def _failed(self, address: str, username: str, now: float) -> float:
        key = str(addressBlock(address))
        count = await self._state.loginFailed(key, username, LOGIN_MEMORY)
        if count is None:
            return self._own.failed(address, username, now)
        return self._own.delayOf(count)

    def succeeded(self, address: str | None, username: str) -> None:
        """See :meth:`LoginFailures.succeeded`."""
        self._own.succeeded(address, username)
        if self._delay and address is not None:
            # Nobody waits for it.
            key = str(addressBlock(address))
            Deferred.fromCoroutine(self._state.loginSucceeded(key, username))


def answerFailure(
    dialogue: Dialogue, reply: Reply, more: float | Deferred[float], began: float
) -> Outcome:
    """
    Answer a failed login on the schedule of all of them, so that the time doesn't tell why.

    :param dialogue: the conversation.
    :param reply: the refusal; one that isn't the client's fault (4yz) comes at once.
    :param more: what :meth:`LoginFailures.failed` returned.
    :param began: when the client sent what failed, by the dialogue's clock.
    :returns: what a verb returns.
    """
    if reply.code < 500:
        return reply
    if isinstance(more, Deferred):  # other servers count, too
        answer: Deferred[Outcome] = more.addCallbacks(
            lambda known: answerFailure(dialogue, reply, known, began),
            lambda _: reply,  # canceled: nobody waits for it
        )
        return answer
    options = dialogue.options
    answers = [reply]
    if dialogue.failedLogins >= options.maxAuthAttempts:
        answers.append(replies.TOO_MANY_AUTH_FAILURES)
    # The answer comes at a multiple of this after the question. errorDelay isn't for lists: nothing
    # is delayed twice.
    interval = options.authFailureDelay
    passed = dialogue.seconds() - began
    slot = max(1, math.ceil(passed / interval)) * interval - passed if interval else 0.0
    # That much more must not be what makes the handler's time run out.
    delay = slot + min(more, max(0, options.handlerTimeout / 2 - passed - slot))
    return dialogue.later(delay, answers) if delay > 0 else answers
