"""
PLAIN: the password in clear (RFC 4616).
"""

from __future__ import annotations

from twisted_smtpserver.sasl.mechanism import Mechanism
from twisted_smtpserver.sasl.names import decodeName, decodePassword
from twisted_smtpserver.sasl.steps import MALFORMED, Done, Step


class Plain(Mechanism):
    """
    ``authzid NUL authcid NUL password``. The user name is the ``authcid``; who lets it act as a
    differing ``authzid`` must look at
    :attr:`~twisted_smtpserver.sasl.credentials.Credentials.authzidDiffers`.
    """

    name = "PLAIN"

    def _first(self, response: bytes) -> Step:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return MALFORMED
        authzid = decodeName(parts[0]) if parts[0] else ""
        authcid = decodeName(parts[1])
        password = decodePassword(parts[2])
        if authzid is None or authcid is None or password is None:
            return MALFORMED
        return Done(
            self.context.credentials(
                self.name, authcid, password=password, authcid=authcid, authzid=authzid or None
            )
        )
