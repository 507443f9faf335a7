"""Calling the user's code: hooks that answer at once, and those that take their time."""

from twisted_smtpserver.hooks.calling import (
    Hook,
    blocking,
    defaultHook,
    findHook,
    invoke,
    isDefault,
    resultOf,
)

__all__ = ["Hook", "blocking", "defaultHook", "findHook", "invoke", "isDefault", "resultOf"]
