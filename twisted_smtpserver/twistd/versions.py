"""``--version``: the versions that a bug report should name."""

from __future__ import annotations

import platform
from importlib.metadata import version

from twisted_smtpserver.tls.context import opensslVersion


def describeVersions() -> str:
    """Say the versions, one in a line: ours, Twisted's, OpenSSL's, pyOpenSSL's, Python's."""
    from twisted_smtpserver import __version__, isCompiled

    return (
        f"twisted_smtpserver {__version__} ({'compiled' if isCompiled else 'not compiled'})\n"
        f"Twisted {version('Twisted')}\n"
        f"{opensslVersion()}\n"
        f"pyOpenSSL {version('pyOpenSSL')}\n"
        f"Python {platform.python_version()} ({platform.python_implementation()})\n"
    )
