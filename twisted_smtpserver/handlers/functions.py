"""
Hooks as plain functions.
"""

from __future__ import annotations

import difflib

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks import Hook
from twisted_smtpserver.interfaces import HOOKS


class FunctionHandler:
    """
    A handler whose hooks are the functions that it was given; it has no others.

    :param hooks: functions by the names of their hooks.
    :raises ConfigurationError: if there is no such hook, or it can't be called.
    """

    def __init__(self, **hooks: Hook) -> None:
        for name, function in hooks.items():
            if name not in HOOKS:
                similar = difflib.get_close_matches(name, HOOKS, 1)
                hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(HOOKS)}"
                raise ConfigurationError(f"there is no hook {name!r}: {hint}")
            if not callable(function):
                raise ConfigurationError(f"the hook {name} is no function but {function!r}")
        self.__dict__.update(hooks)

    def __repr__(self) -> str:
        return f"<FunctionHandler {' '.join(name for name in HOOKS if hasattr(self, name))}>"


def fromFunctions(**hooks: Hook) -> FunctionHandler:
    """
    Make a handler of functions: ``fromFunctions(onRcptTo=check, onData=store)``.

    :param hooks: functions by the names of their hooks, with the hooks' arguments.
    :returns: a handler that has exactly these hooks.
    :raises ConfigurationError: if there is no such hook, or it can't be called.
    """
    return FunctionHandler(**hooks)
