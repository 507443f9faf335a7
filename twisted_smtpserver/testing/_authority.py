"""A certificate authority for tests, which clients can be made to trust in one line."""

from __future__ import annotations

import atexit
import functools
import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Any

from twisted_smtpserver.errors import ConfigurationError

#: The names and addresses in the server's certificate.
NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """
    Issues the server's certificate.

    :ivar key: the server's private key, PEM.
    :ivar cert: the server's certificate, PEM.
    :ivar caFile: the path of a file with the authority's own certificate, PEM.
    :raises ConfigurationError: if trustme isn't installed.
    """

    def __init__(self) -> None:
        authority = _trustme().CA()
        issued = authority.issue_cert(*NAMES)
        self.key = issued.private_key_pem.bytes().decode("ascii")
        self.cert = b"".join(pem.bytes() for pem in issued.cert_chain_pems).decode("ascii")
        folder = tempfile.mkdtemp(prefix="smtpserver-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.caFile = str(Path(folder) / "ca.pem")
        authority.cert_pem.write_to_path(self.caFile)

    def clientContext(self) -> ssl.SSLContext:
        """Make a context for clients, which trusts this authority only."""
        return ssl.create_default_context(cafile=self.caFile)


@functools.cache
def theAuthority() -> Authority:
    """Return the authority of this process."""
    return Authority()


def _trustme() -> Any:
    """Import the package, which only TLS needs."""
    try:
        import trustme
    except ImportError:
        raise ConfigurationError(
            "TLS in tests needs trustme: pip install 'twisted-smtpserver[testing]'"
        ) from None
    return trustme
