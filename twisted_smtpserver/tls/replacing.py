"""
New certificates for servers that run: their files are read and checked together, and then used.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.options import Options
from twisted_smtpserver.tls.certificates import KeyMismatchError, TLSSettings, pathOf
from twisted_smtpserver.tls.context import ServerContextFactory
from twisted_smtpserver.tls.renewal import Stamps, stampsOf

_log = Logger()


class Renewable(Protocol):
    """
    What has certificates: an :class:`~twisted_smtpserver.SMTPServerFactory`.
    """

    contextFactory: ServerContextFactory | None

    def prepareSecureContext(self, **changes: Any) -> Any:
        """Read the files, and check what is in them; nothing changes."""

    def useSecureContext(self, prepared: Any) -> None:
        """Use what was prepared for new connections."""


def certificatesOf(servers: Iterable[Renewable]) -> list[x509.Certificate]:
    """
    The certificates that servers use, each once, without those that are sent along with them.

    :param servers: the servers.
    """
    contexts = [context for each in servers if (context := each.contextFactory) is not None]
    return list(dict.fromkeys(c for context in contexts for c in context.certificates))


def certificateFiles(options: Iterable[Options]) -> list[str]:
    """
    The files that servers' certificates are read from, each once.

    :param options: the servers' options.
    """
    settings = [s for each in options for s in (each, *(each.sniOptions or {}).values())]
    sources = [source for each in settings for source in _sources(each)]
    paths = [path for source in sources if (path := pathOf(source)) is not None]
    return list(dict.fromkeys(paths))


def _sources(settings: Any) -> list[Any]:
    names = ("cert", "key", "ca")
    if isinstance(settings, Mapping):
        return [settings.get(name) for name in names]
    if isinstance(settings, (Options, TLSSettings)):
        return [getattr(settings, name) for name in names]
    return []  # a context factory, which has read its files itself


@dataclass(frozen=True)
class Prepared:
    """
    The result of reading certificates.

    :ivar contexts: the servers that can use them, and what they have prepared.
    :ivar errors: why the other servers can't, by text.
    :ivar stamps: the files as they were when they were read.
    """

    contexts: list[tuple[Renewable, Any]]
    errors: dict[str, ConfigurationError]
    stamps: Stamps


def prepareAll(
    servers: Iterable[Renewable], read: Callable[[Any], Mapping[str, Any]], files: Iterable[str]
) -> Prepared:
    """
    (In a thread.) Read the certificates, and make a context for each server.

    :param servers: what has certificates.
    :param read: takes a server, and returns the changes for its ``prepareSecureContext``.
    :param files: the files that are read.
    """
    stamps = stampsOf(files)
    contexts = []
    errors: list[ConfigurationError] = []
    for server in servers:
        try:
            contexts.append((server, server.prepareSecureContext(**read(server))))
        except ConfigurationError as error:
            errors.append(error)
    if stampsOf(files) != stamps:  # some may be old and some new, and one half written
        contexts, errors = [], [ConfigurationError("the files changed while they were read")]
    return Prepared(contexts, {str(error): error for error in errors}, stamps)


def useAll(prepared: Prepared, *, isWatched: bool) -> bool:
    """
    (In the reactor's thread.) Use what was prepared, and log what can't be used.

    :param prepared: what :func:`prepareAll` returned.
    :param isWatched: whether the files are read again when they change.
    :returns: whether all servers have new certificates.
    """
    for server, context in prepared.contexts:
        server.useSecureContext(context)
    for error in prepared.errors.values():  # servers often share files
        if isinstance(error, KeyMismatchError) and isWatched:
            _log.warn("Keeping the old certificates until both are new: {error}", error=error)
        else:
            _log.error(
                "Keeping the old certificates: {error}{hint}", error=error, hint=_hint(error)
            )
    return not prepared.errors


def _hint(error: ConfigurationError) -> str:
    if not str(error).endswith(os.strerror(errno.EACCES)):
        return ""
    # Root may have read it at the start.
    return f"; the user that the server runs as, uid {os.geteuid()}, has to be able to read it"
