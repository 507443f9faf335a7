"""Calling the user's code: hooks that answer at once, and those that take their time."""

from twisted_smtpserver.hooks.calling import (
    Hook,
    attribute,
    defaultHook,
    findHook,
    invoke,
    isDefault,
    resultOf,
)
from twisted_smtpserver.hooks.threads import blocking

__all__ = [
    "Hook",
    "attribute",
    "blocking",
    "defaultHook",
    "findHook",
    "invoke",
    "isDefault",
    "resultOf",
]
