"""The replies when the handler refuses, fails or takes too long."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from twisted_smtpserver import replies
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.hooks.firing import whenFired
from twisted_smtpserver.replies import Reply

#: What a hook's refusal is, where it leaves something open.
REFUSALS = {
    "onConnect": Reply(554, None, "No service for you here"),
    "onSecure": Reply(554, "5.7.0", "This TLS session is not acceptable"),
    "onHello": Reply(550, None, "Hello refused"),
    "onAuth": replies.AUTH_FAILED,
    "onMailFrom": Reply(550, "5.7.1", "Sender refused"),
    "onRcptTo": Reply(550, "5.1.1", "Recipient refused"),
    "onData": Reply(450, "4.3.0", "Message refused, try again later"),
}

#: The hooks whose refusals have an event of their own, with the command that it names.
REJECTING = {"onMailFrom": "MAIL", "onRcptTo": "RCPT"}

_T = TypeVar("_T")

_LOGIN_HOOKS = ("onAuth", "scramSecret")


class HookTimedOut(Rejection):
    """A hook took longer than ``handlerTimeout``, or its client left."""

    defaultReply = replies.HANDLER_TIMED_OUT


def incidentReply(stage: str, incident: str) -> Reply:
    """
    The client's reply to a bug: nothing but the incident's number, to ask about.

    :param stage: the hook's name; a failed login has a code of its own (RFC 4954 §6).
    :param incident: the incident's id.
    """
    code, enhanced = (454, "4.7.0") if stage in _LOGIN_HOOKS else (451, "4.3.0")
    return Reply(code, enhanced, f"Internal error, incident {incident}")


def following(result: Deferred[_T]) -> Deferred[_T]:
    """
    Follow a hook's Deferred, but no longer than its answer is waited for.

    :param result: the hook's.
    :returns: a Deferred with the same result. When it is canceled it cancels the hook's, and fails
        with :class:`HookTimedOut` at once, whatever the hook does, and however late.
    """
    isLate = False

    def cancel(answer: Deferred[_T]) -> None:
        nonlocal isLate
        isLate = True
        try:
            result.cancel()
        finally:
            answer.errback(HookTimedOut())

    def forward(value: Any) -> None:
        if not isLate:
            answer.callback(value)  # a Failure goes on as one

    answer: Deferred[_T] = Deferred(cancel)
    whenFired(result, forward)
    return answer
