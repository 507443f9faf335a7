"""A handler that knows joe by password, SCRAM secret, token and certificate."""

from __future__ import annotations

from typing import Any

from twisted_smtpserver import AuthenticationFailed, Credentials, Session, SMTPHandler
from twisted_smtpserver.sasl import ScramSecret, scramSecret

PASSWORD = "open sesame"
TOKEN = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
SECRET = scramSecret(PASSWORD)


class Logins(SMTPHandler):
    """Accepts mail from joe."""

    def onAuth(self, credentials: Credentials, session: Session) -> Any:
        """Joe, however he shows it."""
        if credentials.username != "joe":
            return None
        if credentials.verified:
            return "joe"
        if credentials.accessToken is not None:
            if credentials.accessToken != TOKEN:
                raise AuthenticationFailed(data={"status": "invalid_token"})
            return "joe"
        return "joe" if credentials.validatePassword(PASSWORD) else None

    def scramSecret(self, username: str, mechanism: str, session: Session) -> ScramSecret | None:
        """Joe's."""
        return SECRET if username == "joe" else None
