"""
EXTERNAL: the client is who its TLS certificate says (RFC 4422 appendix A).
"""

from __future__ import annotations

from twisted_smtpserver.sasl.mechanism import Mechanism
from twisted_smtpserver.sasl.names import decodeName
from twisted_smtpserver.sasl.steps import MALFORMED, REFUSED, Done, Step


class External(Mechanism):
    """
    The response is the ``authzid``, or empty. The user name is the certificate's; who lets it act
    as a differing ``authzid`` must look at
    :attr:`~twisted_smtpserver.sasl.credentials.Credentials.authzidDiffers`.
    """

    name = "EXTERNAL"

    def _first(self, response: bytes) -> Step:
        authzid = decodeName(response) if response else ""
        if authzid is None:
            return MALFORMED
        # A certificate's name isn't beyond doubt because an authority signed it: it has to be as
        # good as one that comes over the wire.
        identity = decodeName((self.context.peerIdentity or "").encode("utf-8", "surrogatepass"))
        if identity is None:
            return REFUSED
        return Done(
            self.context.credentials(
                self.name, identity, authcid=identity, authzid=authzid or None, verified=True
            )
        )
