"""
ESMTP extensions (RFC 5321 §2.2), each one object.

:class:`Extension` is the base to write one; :data:`BUILT_IN` has those that come with the library,
:data:`DEFAULT` the names of those that are on unless the options say otherwise. The others promise
something that only the handler can keep, so they are off until asked for.
"""

from __future__ import annotations

import re
from typing import Any

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.extensions.auth import Auth
from twisted_smtpserver.extensions.base import Extension, ExtensionSet, flag
from twisted_smtpserver.extensions.basic import (
    EightBitMime,
    EnhancedStatusCodes,
    Limits,
    Pipelining,
    Size,
    SmtpUtf8,
)
from twisted_smtpserver.extensions.chunking import BinaryMime, Chunking
from twisted_smtpserver.extensions.deliverby import DeliverBy
from twisted_smtpserver.extensions.dsn import DSN
from twisted_smtpserver.extensions.futurerelease import FutureRelease
from twisted_smtpserver.extensions.prdr import PRDR
from twisted_smtpserver.extensions.priority import MtPriority
from twisted_smtpserver.extensions.requiretls import RequireTLS
from twisted_smtpserver.extensions.rrvs import RRVS
from twisted_smtpserver.extensions.starttls import StartTLS
from twisted_smtpserver.extensions.xclient import XClient
from twisted_smtpserver.extensions.xforward import XForward
from twisted_smtpserver.interfaces import IExtension
from twisted_smtpserver.options import Options, unknownName

__all__ = ["BUILT_IN", "DEFAULT", "Extension", "ExtensionSet", "buildExtensions", "flag"]

#: The extensions that come with the library, by keyword, in the order in which EHLO lists them.
BUILT_IN: dict[str, type[Extension]] = {
    extension.keyword: extension
    for extension in (
        Pipelining,
        Size,
        EightBitMime,
        SmtpUtf8,
        EnhancedStatusCodes,
        Limits,
        Chunking,
        StartTLS,
        Auth,
        BinaryMime,
        DSN,
        RequireTLS,
        DeliverBy,
        MtPriority,
        RRVS,
        FutureRelease,
        PRDR,
        XClient,
        XForward,
    )
}

#: Those that are on by default.
DEFAULT = (
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "LIMITS",
    "STARTTLS",
    "AUTH",
)

#: Those that an option of their own turns on, and says for whom.
_BY_OPTION = ("XCLIENT", "XFORWARD")


def buildExtensions(options: Options, handler: object) -> ExtensionSet:
    """
    The extensions of a server.

    :param options: its options; :attr:`~twisted_smtpserver.options.Options.extensions` has names
        and objects.
    :param handler: its handler.
    :raises ConfigurationError: for a name that no extension has.
    """
    wanted: dict[str, Extension] = {
        name: BUILT_IN[name].fromOptions(options, handler)
        for name in BUILT_IN
        if name in DEFAULT or name in _BY_OPTION
    }
    for extension in options.extensions:
        if isinstance(extension, str):
            name = extension.upper()
            if name not in BUILT_IN:
                raise ConfigurationError(unknownName(name, BUILT_IN, "extension"))
            wanted[name] = BUILT_IN[name].fromOptions(options, handler)
        else:
            _check(extension)
            if wanted.get(extension.keyword) in options.extensions:
                raise ConfigurationError(f"extensions: {extension.keyword} is listed twice")
            wanted[extension.keyword] = extension
    return ExtensionSet(wanted.values(), options.hide)


def _check(extension: Any) -> None:
    """Refuse what can't work, or never would: keywords and verbs are looked up in upper case."""
    if isinstance(extension, type) or not IExtension.providedBy(extension):
        raise ConfigurationError(
            f"extensions: {extension!r} is neither a name nor an object that provides IExtension"
        )
    keywords = (extension.keyword, *extension.mailParameters, *extension.rcptParameters)
    for word in (*keywords, *extension.verbs):
        # RFC 5321 §4.1.1.1: ehlo-keyword and esmtp-keyword
        if not isinstance(word, str) or not re.fullmatch("[A-Z0-9][A-Z0-9-]*", word):
            raise ConfigurationError(
                f"extensions: {word!r} of {type(extension).__name__} is not a keyword: upper-case"
                " letters, digits and hyphens"
            )
