"""
Hooks as plain functions.
"""

from __future__ import annotations

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.handlers.check import CheckedHandler, checkHook
from twisted_smtpserver.hooks import Hook
from twisted_smtpserver.interfaces import HOOKS


class FunctionHandler(CheckedHandler):
    """
    A handler whose hooks are the functions that it was given; it has no others.

    :param hooks: functions by the names of their hooks.
    :raises ConfigurationError: if there is no such hook, or it can't be called as it should be.
    """

    def __init__(self, **hooks: Hook) -> None:
        for name, function in hooks.items():
            if function is None:
                raise ConfigurationError(f"the hook {name} is not a function but None")
            checkHook(self, name, function)
            self.__dict__[name] = function

    def __repr__(self) -> str:
        return f"<FunctionHandler {' '.join(name for name in HOOKS if hasattr(self, name))}>"


def fromFunctions(**hooks: Hook) -> FunctionHandler:
    """
    Make a handler of functions: ``fromFunctions(onRcptTo=check, onData=store)``.

    :param hooks: functions by the names of their hooks, with the hooks' arguments.
    :returns: a handler that has exactly these hooks.
    :raises ConfigurationError: if there is no such hook, or it can't be called as it should be.
    """
    return FunctionHandler(**hooks)
