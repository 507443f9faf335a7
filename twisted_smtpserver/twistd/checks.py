"""Flags that contradict each other, or need a certificate, a login or a file."""

from __future__ import annotations

import os
from typing import Any

from twisted_smtpserver import options as library
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.twistd.flags import LISTENERS
from twisted_smtpserver.twistd.inbox import checkInbox
from twisted_smtpserver.twistd.logins import (
    SCRAM,
    checkLogins,
    hasLogins,
    passwordFiles,
    userFiles,
)
from twisted_smtpserver.twistd.needs import checkNeeds
from twisted_smtpserver.twistd.policies import checkPolicies
from twisted_smtpserver.twistd.stores import STORES, checkStores
from twisted_smtpserver.twistd.tables import checkTables
from twisted_smtpserver.twistd.worker import SHAREABLE

#: Flags that need a certificate of ours.
_NEED_CERTIFICATE = (
    "listen-tls",
    "secure",
    "submission",
    "tls-required",
    "request-cert",
    "sni-options",
)

#: Flags that need a login.
NEED_LOGIN = (
    *("submission", "auth-optional", "allow-insecure-auth", "auth-methods"),
    *("sender-matches-login", "senders"),
)

#: Flags that say where messages go. An inbox may be combined with one of them.
STORE_FLAGS = {"maildir", "discard", "handler", *STORES}

#: AUTH is offered only with one of these flags.
_OFFERS_LOGIN = {"cert", "key", "self-signed", "secured", "allow-insecure-auth"}

#: Methods that ``--auth`` can't check: twisted.cred has nothing for tokens or for SCRAM.
_UNCHECKABLE = {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2"}


def checkFlags(config: Any) -> None:
    """
    Check the flags of a listener, as far as that needs no look into a file.

    :param config: its :class:`~twisted_smtpserver.twistd.commandline.Options`.
    :raises ConfigurationError: if two flags contradict each other, or one needs another.
    """
    _checkHandlers(config)
    _checkListeners(config)
    _checkWorkers(config)
    _checkTLS(config)
    _checkSubmission(config)
    checkLogins(config)
    checkTables(config, config.canLook)
    _checkAuth(config)
    for name, special in LISTENERS.items():
        if name in config or not special:
            _checkKeywords(config, config.keywords | special)


def _checkHandlers(config: Any) -> None:
    if len(STORE_FLAGS & set(config)) > 1:
        *flags, last = [f"--{name}" for name in ("maildir", "discard", "handler", *STORES)]
        raise ConfigurationError(f"{', '.join(flags)} and {last}: choose one of them")


def _checkListeners(config: Any) -> None:
    given = [text for name in ("port", *LISTENERS) for text in config.get(name, ())]
    if "host" in config and given and not any(map(str.isdigit, given)):
        raise ConfigurationError("--host: needs a port given by number")


def _checkWorkers(config: Any) -> None:
    if config.get("workers", 1) == 1:
        return
    if "inbox" in config:
        raise ConfigurationError("--workers: can't be combined with --inbox")
    if config.chroot:
        raise ConfigurationError("--workers: can't be combined with twistd's --chroot")
    for name in LISTENERS:
        for text in config.get(name, ()):
            kind = text.partition(":")[0]
            if not (kind.isdigit() or kind in SHAREABLE):
                raise ConfigurationError(
                    f"--{name}: {kind}: endpoints can't be shared by --workers, only "
                    + ", ".join(SHAREABLE)
                )


def _checkTLS(config: Any) -> None:
    if {"cert", "key", "self-signed"} & set(config):
        return
    for name in _NEED_CERTIFICATE:
        upstream = "secured" in config and name in ("submission", "tls-required")
        if name in config and not upstream:
            raise ConfigurationError(f"--{name}: needs --cert and --key, or --self-signed")


def _checkSubmission(config: Any) -> None:
    if "submission" not in config:
        return
    for name in ("auth-optional", "listen-lmtp", "lmtp"):
        if name in config:
            raise ConfigurationError(f"--submission and --{name} contradict each other")
    if _isAuthDisabled(config):
        raise ConfigurationError("--submission: needs AUTH, which is disabled")


def _isAuthDisabled(config: Any) -> bool:
    return "AUTH" in map(str.upper, config.keywords.get("disabledCommands", ()))


def _checkAuth(config: Any) -> None:
    if not hasLogins(config):
        return
    if config.canLook:
        for path in [*(each.filename for each in passwordFiles(config)), *userFiles(config)]:
            if not os.path.isfile(path):
                raise ConfigurationError(f"--auth: there is no file {path!r}")
    if _isAuthDisabled(config) or {"auth-optional", "xclient-from"} & set(config):
        return  # mail can come without AUTH
    if not _OFFERS_LOGIN & set(config):
        raise ConfigurationError(
            "--auth: needs --cert and --key, --self-signed, --secured or --allow-insecure-auth"
        )
    methods = set(map(str.upper, config.keywords.get("authMethods", library.Options.authMethods)))
    uncheckable = _UNCHECKABLE if "request-cert" in config else _UNCHECKABLE | {"EXTERNAL"}
    if userFiles(config):
        uncheckable -= SCRAM
    if methods <= uncheckable and "handler" not in config:
        raise ConfigurationError(
            "--auth-methods: nobody could log in; --auth can check PLAIN, LOGIN and CRAM-MD5, "
            "and EXTERNAL with --request-cert"
        )


def _checkKeywords(config: Any, keywords: dict[str, Any]) -> None:
    for check in (checkNeeds, checkPolicies, checkStores, checkInbox):
        check(config)
    library.makeOptions(keywords)
