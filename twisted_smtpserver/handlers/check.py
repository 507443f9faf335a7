"""Whether hooks have names that the server knows, and take the arguments that they get."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks import isDefault
from twisted_smtpserver.interfaces import HOOKS

__all__ = ["CheckedHandler", "checkHandler", "checkHook", "descriptorsPerClient"]

_LIKE_A_HOOK = re.compile("on[A-Z]")
_PLAIN_NAMES = {name.lower(): name for name in HOOKS}

# How similar a name, such as on_rcpt, must be to a hook's name to count as a misspelt hook.
_SIMILARITY = 0.8


# Names of hooks that belong elsewhere.
_ELSEWHERE = dict.fromkeys(("onMessage", "onDataCommand"), "filters go into a Filtered")


def checkHandler(handler: object, others: Collection[str] = ()) -> None:
    """
    Check all hooks of a handler.

    :param handler: any object.
    :param others: names that it may have, too: somebody else calls these.
    :raises ConfigurationError: if it is a class; if it has a function whose name is like a hook's
        and isn't one, or a hook that can't be called as the server calls it.
    """
    if isinstance(handler, type):
        name = handler.__name__
        raise ConfigurationError(f"{name} is a class: give an instance of it, {name}()")
    for name in dir(handler):
        if name in HOOKS or (name not in others and _isLikeAHook(name)):
            value = getattr(handler, name, None)
            if name in HOOKS or callable(value):
                checkHook(handler, name, value)


def checkHook(handler: object, name: str, value: Any) -> None:
    """
    Check one hook.

    :param handler: whose it is.
    :param name: its name, or one that is like a hook's.
    :param value: the function; ``None`` for none.
    :raises ConfigurationError: as for :func:`checkHandler`.
    """
    owner = handler.__name__ if inspect.ismodule(handler) else type(handler).__name__
    if name not in HOOKS:
        raise ConfigurationError(f"{owner} has {name!r}, but there is no such hook: {_hint(name)}")
    if value is None or isDefault(value):
        return
    if not callable(value):
        raise ConfigurationError(f"the hook {name} is not a function but {value!r} (in {owner})")
    checkCall(owner, name, value, HOOKS[name][name].getSignatureInfo()["positional"])


def checkCall(owner: str, name: str, value: Callable[..., Any], expected: Sequence[str]) -> None:
    """
    Check that something can be called as it will be.

    :param owner: what has it, for the error.
    :param name: its name.
    :param value: it.
    :param expected: the names of the arguments.
    :raises ConfigurationError: if it can't.
    """
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # it is written in C
        return
    try:
        signature.bind(*expected)
    except TypeError:
        raise ConfigurationError(
            f"the hook {name} of {owner} takes {signature}, but it is called with "
            f"({', '.join(expected)})"
        ) from None


def _isLikeAHook(name: str) -> bool:
    if _LIKE_A_HOOK.match(name):
        return True
    if name.startswith("_"):
        return False
    plain = name.replace("_", "").lower()
    isOther = plain.startswith("on") or plain in _PLAIN_NAMES
    return isOther and bool(difflib.get_close_matches(plain, _PLAIN_NAMES, 1, _SIMILARITY))


def _hint(name: str) -> str:
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    plain = name.replace("_", "").lower()
    similar = difflib.get_close_matches(plain, _PLAIN_NAMES, 1)
    if similar:
        return f"did you mean {_PLAIN_NAMES[similar[0]]}?"
    return f"there are {', '.join(sorted(HOOKS))}"


class CheckedHandler:
    """A handler that checks the hooks that are assigned to it later."""

    if TYPE_CHECKING:
        # With that method, they would let any attribute be assigned.
        pass
    else:

        def __setattr__(self, name: str, value: object) -> None:
            if name in HOOKS or (callable(value) and _isLikeAHook(name)):
                checkHook(self, name, value)
            super().__setattr__(name, value)


def descriptorsPerClient(handler: object) -> int:
    """
    Count the file descriptors that a handler may hold for each client, besides the client's own.

    The default of ``maxClients`` goes by it.

    :param handler: says so by an attribute of this name.
    :returns: 0 if it has none.
    """
    descriptors = getattr(handler, "descriptorsPerClient", 0)
    return descriptors if isinstance(descriptors, int) else 0  # a mock has every attribute
