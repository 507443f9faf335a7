"""
What a supervisor reads from files for its workers, which may not be allowed to read them: by the
flag's name, and the file's path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted_smtpserver.options import Options
from twisted_smtpserver.tls.certificates import FileContent

#: What was read, by the flag's name and the file's path.
Handed = dict[str, dict[str, Any]]

#: The options that name files of a certificate; a name's own in ``sniOptions`` are called the same.
CERTIFICATE_FILES = ("cert", "key", "ca")


def certificateOptions(options: Options) -> dict[str, Any]:
    """
    The options about certificates that are set, by name.

    :param options: a factory's.
    """
    given = {name: getattr(options, name) for name in (*CERTIFICATE_FILES, "sniOptions")}
    return {name: value for name, value in given.items() if value is not None}


def handedCertificates(options: Iterable[Options]) -> Handed:
    """
    Gather the certificates and keys.

    :param options: the factories' options, with what was in the files.
    """
    found: Handed = {}
    for each in options:
        names: Iterable[Mapping[str, Any]] = (each.sniOptions or {}).values()
        for files in ({name: getattr(each, name) for name in CERTIFICATE_FILES}, *names):
            for name, content in files.items():
                if isinstance(content, FileContent):
                    # Text outside of the PEM may be in any encoding; latin-1 reads them all.
                    found.setdefault(name, {})[content.path] = content.decode("latin-1")
    return found


def joined(*parts: Handed) -> Handed:
    """
    Put together what was gathered.

    :param parts: what the functions above returned.
    """
    whole: Handed = {}
    for part in parts:
        for name, files in part.items():
            whole.setdefault(name, {}).update(files)
    return whole
