"""
Files from systemd's credentials: ``credential:NAME`` stands for the file that ``LoadCredential=``,
or ``LoadCredentialEncrypted=``, in the unit calls so.
"""

from __future__ import annotations

import os
import re

#: How such a value begins.
CREDENTIAL = "credential:"

#: Where systemd says where they are.
DIRECTORY = "CREDENTIALS_DIRECTORY"

_NAME = re.compile(r"(?!\.{1,2}$)[\w.@:+-]{1,255}", re.ASCII)


def resolveCredential(value: str) -> str:
    """
    Find a file.

    :param value: a path, or ``credential:`` with a name.
    :returns: the file's path.
    :raises ValueError: if there is no such credential.
    """
    if not value.startswith(CREDENTIAL):
        return value
    name = value.removeprefix(CREDENTIAL)
    if not _NAME.fullmatch(name):
        # Not the text: it may be a secret, put there by mistake.
        raise ValueError(
            "credential: needs a name of letters, digits, dots, hyphens and underscores"
        )
    folder = os.environ.get(DIRECTORY)
    if not folder:
        raise ValueError(
            f"{value} needs systemd's LoadCredential={name}:/PATH in the unit; "
            f"there is no ${DIRECTORY}"
        )
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        raise ValueError(
            f"{value}: there is no such credential; the unit needs LoadCredential={name}:/PATH"
        )
    return path
