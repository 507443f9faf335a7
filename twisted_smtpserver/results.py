"""
What a hook may return, and what it means in replies.

:class:`Accepted` is the one class here that users need; the rest turns the results of ``onData``
into replies, one for the message or one for each recipient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isasyncgen, isawaitable, iscoroutine, isgenerator

from twisted_smtpserver import replies
from twisted_smtpserver.errors import checkCode
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    Returned by ``onMailFrom``, ``onRcptTo`` and ``onData`` to choose the words of the acceptance.

    :ivar text: the text of the reply; the usual one if empty.
    :ivar enhanced: the enhanced status code (RFC 3463), ``"2.3.6"`` for example.
    :ivar code: 250; for a recipient also 251, "will forward" (RFC 5321 §3.4).
    :raises ValueError: if a code has a wrong form.
    """

    text: str = ""
    enhanced: str | None = None
    code: int = 250

    def __post_init__(self) -> None:
        checkCode(self.code, self.enhanced, allowed="2")

    def toReply(self, stage: Reply) -> Reply:
        """
        :param stage: the stage's usual reply; it fills in what is left open.
        :returns: the reply.
        """
        return Reply(self.code, self.enhanced or stage.enhanced, self.text or stage.lines[0])


# Text that begins like a reply: a hook that returns it means more than the words of an acceptance.
_LIKE_A_CODE = re.compile(r"\s*[2-5][0-9][0-9](?:[\s-]|$)")


def acceptance(result: object, stage: Reply) -> Reply:
    """
    The positive reply for a hook's result.

    :param result: ``None``, a text or an :class:`Accepted`.
    :param stage: the stage's usual reply.
    :raises ValueError: for text that begins with a reply code: ``return "550 no"`` would accept.
    :raises TypeError: for anything else; both are bugs in the handler.
    """
    if result is None:
        return stage
    if isinstance(result, str):
        if _LIKE_A_CODE.match(result):
            raise ValueError(
                f"a hook returned {result[:3]}…, which accepts: raise Rejection to refuse"
            )
        return Reply(stage.code, stage.enhanced, result or stage.lines[0])
    if isinstance(result, Accepted):
        if result.code not in (250, stage.code, 251 if stage is replies.RECIPIENT_OK else 250):
            raise TypeError(f"{result.code} can't answer this command")
        return result.toReply(stage)
    if iscoroutine(result):
        result.close()  # or Python complains of it once more
    kind = type(result).__name__
    raise TypeError(f"a hook returned {kind}: {_cureFor(result)}")


def _cureFor(result: object) -> str:
    """What to do about a result that means nothing."""
    if isawaitable(result):
        return "await it, or return it from a function that isn't async"
    if isgenerator(result) or isasyncgen(result):
        return "there is a yield in it, so none of it was run; make it an async def and use await"
    if isinstance(result, BaseException):
        return "raise it"
    if isinstance(result, (bool, int, tuple)):
        return "raise Rejection(text, code) to refuse; to accept, return None, a str or Accepted"
    return "return None, a str or Accepted"


Refuse = Callable[[BaseException], Reply]


def messageReply(result: object, recipients: Sequence[Address], refuse: Refuse) -> Reply:
    """
    The final reply for a message, where it is one for all recipients (RFC 5321 §4.2.5).

    :param result: as for :func:`messageReplies`.
    :raises TypeError: (or ValueError) also if the results differ.
    """
    if result is None:  # as nearly always
        return replies.MESSAGE_ACCEPTED
    if isinstance(result, str) or not isinstance(result, (Mapping, Sequence)):
        return _one(result, refuse)
    answers = set(messageReplies(result, recipients, refuse))
    if len(answers) != 1:
        raise ValueError("the results differ, and SMTP has one reply for all recipients")
    return answers.pop()


def messageReplies(result: object, recipients: Sequence[Address], refuse: Refuse) -> list[Reply]:
    """
    The final replies for a message where each recipient gets one (RFC 2033 §4.2).

    :param result: one value for all; a list in the order of the recipients; or a dict by address,
        object or string, with a value for each of them.
    :param recipients: those that were accepted.
    :param refuse: turns a returned exception into a reply.
    :returns: as many replies as there are recipients.
    :raises TypeError: (or ValueError) if the results don't match the recipients.
    """
    if isinstance(result, Mapping):
        return [_one(value, refuse) for value in _byAddress(result, recipients)]
    if isinstance(result, Sequence) and not isinstance(result, str):
        if len(result) != len(recipients):
            raise ValueError(f"{len(result)} results for {len(recipients)} recipients")
        return [_one(value, refuse) for value in result]
    return [_one(result, refuse)] * len(recipients)


def perRecipientBlock(answers: list[Reply]) -> list[Reply]:
    """
    The replies for a client with PRDR (draft-hall-prdr-00 §4.4, §4.5).

    For one recipient, or a message refused to all in the same words, that is a single reply as
    ever. Otherwise 353, the reply of each recipient, and one for the message: accepted if it is for
    anybody; refused for a while, if it is so for anybody; else refused.

    :param answers: the recipients' replies, in order.
    """
    if len(answers) == 1 or (answers[0].code >= 400 and len(set(answers)) == 1):
        return answers[:1]
    if all(answer.isPositive for answer in answers):
        overall = replies.MESSAGE_ACCEPTED
    elif any(answer.isPositive for answer in answers):
        overall = replies.ACCEPTED_FOR_SOME
    else:
        overall = next((answer for answer in answers if answer.code < 500), answers[0])
    return [replies.REPLIES_FOLLOW, *answers, overall]


def _byAddress(result: Mapping[object, object], recipients: Sequence[Address]) -> list[object]:
    keys = [address if address in result else address.address for address in recipients]
    # Nobody may be told 250 by omission: a handler that forgot a recipient has lost the mail.
    if set(keys) != set(result):
        raise ValueError(
            "a dict of results has a value for each of envelope.rcptTo, and for nobody else: this "
            f"one has {len(set(keys) & set(result))} of {len(set(keys))} recipients, and "
            f"{len(set(result) - set(keys))} that are none"
        )
    return [result[key] for key in keys]


def _one(value: object, refuse: Refuse) -> Reply:
    if isinstance(value, BaseException):
        return refuse(value)
    return acceptance(value, replies.MESSAGE_ACCEPTED)
