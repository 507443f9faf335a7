"""
ESMTP extensions (RFC 5321 §2.2), each one object.

:class:`Extension` is the base to write one; :data:`BUILT_IN` has those that come with the library,
:data:`DEFAULT` the names of those that are on unless the options say otherwise. The others promise
something that only the handler can keep, so they are off until asked for.
"""

from __future__ import annotations

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
from twisted_smtpserver.extensions.starttls import StartTLS
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


def buildExtensions(options: Options, handler: object) -> ExtensionSet:
    """
    The extensions of a server.

    :param options: its options; :attr:`~twisted_smtpserver.options.Options.extensions` has names
        and objects.
    :param handler: its handler.
    :raises ConfigurationError: for a name that no extension has.
    """
    wanted: dict[str, Extension] = {
        name: BUILT_IN[name].fromOptions(options, handler) for name in BUILT_IN if name in DEFAULT
    }
    for extension in options.extensions:
        if isinstance(extension, str):
            name = extension.upper()
            if name not in BUILT_IN:
                raise ConfigurationError(unknownName(name, BUILT_IN, "extension"))
            wanted[name] = BUILT_IN[name].fromOptions(options, handler)
        else:
            wanted[extension.keyword] = extension
    return ExtensionSet(wanted.values())
