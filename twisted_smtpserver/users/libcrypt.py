"""
sha512-crypt by the system's libcrypt.

Python's own module for it is gone, and libraries in Python keep other threads waiting as long
as it takes. A call by ctypes doesn't.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache

__all__ = ["sha512crypt"]

# Of glibc up to version 1 of the library, from then on, and of musl, which has it in itself.
_NAMES = ("libcrypt.so.1", "libcrypt.so.2", None)

# More than any version of "struct crypt_data" has.
_STATE_OCTETS = 2**18

# From the specification of sha512-crypt.
_KNOWN_PASSWORD = b"Hello world!"
_KNOWN_HASH = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS"
    "35inz1"
)


@lru_cache(maxsize=1)
def sha512crypt() -> Callable[[bytes, str], str]:
    """
    :returns: a function from a password and a hash, or the beginning of one, to the hash.
    :raises ValueError: if the system has none that works.
    """
    for name in _NAMES:
        crypt = _load(name)
        if crypt is not None and crypt(_KNOWN_PASSWORD, _KNOWN_HASH) == _KNOWN_HASH:
            return crypt
    raise ValueError("sha512-crypt needs the system's libcrypt (Debian: libcrypt1)")


def _load(name: str | None) -> Callable[[bytes, str], str] | None:
    try:
        function = ctypes.CDLL(name).crypt_r
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)

    def crypt(password: bytes, setting: str) -> str:
        state = ctypes.create_string_buffer(_STATE_OCTETS)
        made: bytes | None = function(password, setting.encode("ascii"), state)
        return made.decode("ascii") if made is not None else ""

    return crypt
