"""``--check-config``: what would run, in a few lines without a secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.hooks.oversights import findOversights
from twisted_smtpserver.tls.renewal import describeEnd
from twisted_smtpserver.tls.replacing import certificatesOf
from twisted_smtpserver.twistd.flags import DEFAULT_MAILDIR, FOR_EACH_LISTENER, TABLE_OF
from twisted_smtpserver.twistd.layers import LISTEN
from twisted_smtpserver.twistd.stores import STORES
from twisted_smtpserver.wire.text import escape

#: What stands in lines of its own.
_SAID = {"recipients", "maildir", "discard", "handler", "inbox", "size", "auth", *STORES, *LISTEN}

#: Methods of ``--auth`` whose argument is a file or a socket, and no password.
_SHOWN_METHODS = {"dovecot", "file", "htpasswd", "unix"}


def summarize(config: Any, factories: Sequence[Sequence[SMTPServerFactory]]) -> str:
    """
    Say what would run.

    :param config: the :class:`~twisted_smtpserver.twistd.commandline.Options`.
    :param factories: the factories of each of its listeners.
    """
    where = f" with {config.path}" if config.path else ""
    lines = [f"This is what would run{where}:"]
    for group, made in zip(config.listeners, factories, strict=True):
        lines += ["", *_listeners(group)]
        lines += [f"  {what:8}{text}" for what, text in _describe(group, made)]
    common = set(TABLE_OF) - FOR_EACH_LISTENER - _SAID
    shown = [_setting(config, name) for name in config.group.settings if name in common]
    if shown:
        lines += ["", f"For all of them: {', '.join(shown)}"]
    return "\n".join([*lines, ""])


def _listeners(group: Any) -> Iterator[str]:
    kinds = {"port": "SMTP", "listen": "SMTP", "listen-tls": "SMTP over TLS", "listen-lmtp": "LMTP"}
    given = [(kind, text) for name, kind in kinds.items() for text in group.get(name, ())]
    for kind, text in given or [("SMTP", "2525")]:
        special = "LMTP" if "lmtp" in group else kind
        if "secure" in group and kind == "SMTP":
            special = "SMTP over TLS"
        host = f" of {group.get('host', '127.0.0.1')}" if text.isdigit() else ""
        yield f"{special} on {'port ' if host else ''}{escape(text)}{host}"


def _describe(group: Any, factories: Sequence[SMTPServerFactory]) -> Iterator[tuple[str, str]]:
    factory = factories[0]
    settings = group.group.settings
    size = settings["size"].texts[-1] if "size" in settings else "50M"
    yield "mail", f"{_store(group)}; {f'at most {size}' if factory.options.size else 'of any size'}"
    yield "logins", _logins(group, factory)
    yield "to", _recipients(group)
    yield "TLS", _tls(factory)
    for text, isWarning in dict.fromkeys(map(describeEnd, certificatesOf(factories))):
        yield "WARNING" if isWarning else "", text
    others = [name for name in settings if name in FOR_EACH_LISTENER - _SAID]
    if others:
        yield "with", ", ".join(_setting(group, name) for name in others)
    warnings = [text for each in factories for text in findOversights(each.options, each.handler)]
    for text in dict.fromkeys(warnings):
        yield "WARNING", text


def _store(group: Any) -> str:
    stores = [name for name in ("maildir", "discard", "handler", *STORES) if name in group]
    if stores == ["discard"]:
        shown = "thrown away"
    elif stores:
        shown = f"goes to {_setting(group, stores[0])}"
    elif "inbox" in group:
        shown = ""
    else:
        shown = f"goes to the Maildir ./{DEFAULT_MAILDIR}"
    if "inbox" in group:
        shown += f"{', and ' if shown else ''}is shown on the page of {_setting(group, 'inbox')}"
    return shown


def _logins(group: Any, factory: SMTPServerFactory) -> str:
    options = factory.options
    if findHook(factory.handler, "onAuth") is None or "AUTH" in options.disabledCommands:
        return "none"
    settings = group.group.settings
    methods = settings["auth"].texts if "auth" in settings else ()
    checked = ", ".join(map(_method, methods)) or "the handler"
    inClear = options.allowInsecureAuth or options.secured
    when = "with TLS or without" if inClear else "with TLS only"
    need = "possible" if options.authOptional else "needed"
    return f"{need}, {when}, by {', '.join(options.authMethods)}; checked by {checked}"


def _recipients(group: Any) -> str:
    if "recipients" in group:
        return f"those in {escape(group.group.settings['recipients'].texts[-1])}"
    return "whomever the handler takes" if "handler" in group else "anybody"


def _method(text: str) -> str:
    method, _, argument = text.partition(":")
    return escape(text if method in _SHOWN_METHODS and argument else method)


def _tls(factory: SMTPServerFactory) -> str:
    options = factory.options
    if options.secured:
        return "ended upstream"
    if factory.contextFactory is None:
        return "none"
    need = ", needed before anything else" if options.tlsRequired else ""
    return f"{options.minVersion} or later{need}"


def _setting(group: Any, name: str) -> str:
    texts = ", ".join(map(_shown, group.group.settings[name].texts))
    return f"{name} {texts}".rstrip()


def _shown(text: str) -> str:
    """A value; of a URL, only what can't be secret."""
    if "://" not in text:
        return escape(text)
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "…"
    return escape(f"{parts.scheme}://{parts.hostname or ''}{port}")
