"""Warnings at the start about likely mistakes."""

from __future__ import annotations

from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.options import Options

__all__ = ["findOversights"]

#: Waits whose defaults are minutes at most: longer ones are suspect, in seconds.
_LONGEST = dict.fromkeys(
    ("handshakeTimeout", "socketTimeout", "handlerTimeout", "closeTimeout"), 3600
) | dict.fromkeys(("authFailureDelay", "loginDelay", "errorDelay", "greetingDelay"), 60)

_NOT_KEPT = (
    "The handler has no onData: messages get 250 and are thrown away. Give it one, or a store such "
    "as Maildir; or Discard(), if that is intended"
)
_NO_LOGIN = (
    "The handler has onAuth, but nobody can log in: AUTH is for TLS only, and there is no "
    "certificate. Give key and cert, or selfSigned for trying it out; allowInsecureAuth "
    "accepts passwords without TLS"
)


def findOversights(options: Options, handler: object, speaksTLS: bool = False) -> list[str]:
    """
    Look for what makes sense, and is hardly meant.

    :param options: the server's options.
    :param handler: its handler.
    :param speaksTLS: whether there is a port whose endpoint speaks TLS by itself.
    :returns: warnings, each in one line.
    """
    found = []
    if findHook(handler, "onData") is None:
        found.append(_NOT_KEPT)
    hasTLS = speaksTLS or options.hasCertificate or options.secured
    isOffered = findHook(handler, "onAuth") is not None and "AUTH" not in options.disabledCommands
    if isOffered and not (hasTLS or options.allowInsecureAuth):
        found.append(_NO_LOGIN)
    for name, longest in _LONGEST.items():
        seconds = getattr(options, name)
        if seconds >= longest:
            found.append(
                f"{name} is {seconds:g} seconds, which is {_inWords(seconds)}: times are in "
                "seconds here, not in milliseconds"
            )
    return found


def _inWords(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
