"""
LOGIN: name and password in clear, one after the other. It was never standardized, yet many
clients know nothing else.
"""

from __future__ import annotations

from twisted_smtpserver.sasl.mechanism import Mechanism
from twisted_smtpserver.sasl.names import decodeName, decodePassword
from twisted_smtpserver.sasl.steps import MALFORMED, Done, Step


class Login(Mechanism):
    """An initial response is the user name; it saves the first of the two challenges."""

    name = "LOGIN"

    def _open(self) -> Step:
        # Some clients compare the prompts, so these two must be what everybody sends.
        return self.challenge(b"Username:", self._first)

    def _first(self, response: bytes) -> Step:
        username = decodeName(response)
        if username is None:
            return MALFORMED
        self._username = username
        return self.challenge(b"Password:", self._password)

    def _password(self, response: bytes) -> Step:
        password = decodePassword(response)
        if password is None:
            return MALFORMED
        return Done(
            self.context.credentials(
                self.name, self._username, password=password, authcid=self._username
            )
        )
