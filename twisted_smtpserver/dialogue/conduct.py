"""A client's conduct: counts of what it did wrong, and their limits."""

from __future__ import annotations

from twisted_smtpserver import replies
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply

#: The longest delay of the reply to an error, in seconds.
MAX_ERROR_DELAY = 10.0

#: This many recipients of a session may be refused for a while (4yz), by a greylist for example: an
#: honest client may send to a long list. Then the connection is closed.
MAX_DEFERRED_RECIPIENTS = 10_000

#: Commands that a refused client may send before the connection is closed.
MAX_UNWELCOME = 10


class Conduct:
    """
    The counters of one connection; they outlive STARTTLS and XCLIENT. Most clients do no wrong, and
    have none.

    :param options: the server's.
    :ivar failedLogins: how many logins failed.
    """

    __slots__ = (
        "_deferred",
        "_errors",
        "_options",
        "_unauthenticated",
        "_unrecognized",
        "_unwelcome",
        "failedLogins",
    )

    def __init__(self, options: Options) -> None:
        self._options = options
        self._deferred = 0
        self._errors = 0
        self._unauthenticated = 0
        self._unrecognized = 0
        self._unwelcome = 0
        self.failedLogins = 0

    def countError(self) -> float | None:
        """
        Count a refused command.

        :returns: how long to put the refusal off, in seconds; ``None`` if there were too many.
        """
        self._errors += 1
        options = self._options
        if self._errors >= options.maxErrors:
            return None
        delay = (self._errors - options.maxErrors // 2) * options.errorDelay
        # A delay must not be mistaken for a handler that takes too long.
        return min(max(delay, 0.0), MAX_ERROR_DELAY, options.handlerTimeout / 2)

    def countDeferred(self) -> bool:
        """
        Count a recipient that was refused for a while.

        :returns: whether there were too many.
        """
        self._deferred += 1
        return self._deferred >= MAX_DEFERRED_RECIPIENTS

    def countUnrecognized(self, refusal: Reply) -> Reply:
        """
        Count a line that isn't a command.

        :param refusal: the line's reply.
        :returns: the same, or 421 if there were too many.
        """
        self._unrecognized += 1
        if self._unrecognized >= self._options.maxUnrecognizedCommands:
            return replies.TOO_MANY_ERRORS
        return refusal

    def countUnauthenticated(self) -> bool:
        """
        Count a command before a login that is required.

        :returns: whether there were too many.
        """
        self._unauthenticated += 1
        most = self._options.maxAllowedUnauthenticatedCommands
        return most is not False and self._unauthenticated >= most

    def countUnwelcome(self) -> bool:
        """
        Count a command of a client whose connection was refused.

        :returns: whether there were too many.
        """
        self._unwelcome += 1
        return self._unwelcome >= MAX_UNWELCOME
