"""MT-PRIORITY (RFC 6710): some messages go first."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser
from twisted_smtpserver.results import Accepted
from twisted_smtpserver.session import Address, Envelope, Session

_VALUE = re.compile(r"-?[1-9]|0")
_PROFILE = re.compile(r"[A-Za-z0-9._-]{1,20}")


def parsePriority(value: str | bool) -> int:
    """
    The parser of MAIL's ``MT-PRIORITY=`` (RFC 6710 §7).

    :returns: a number from -9 to 9.
    """
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
        # The code is the one that RFC 6710 §4.1 gives.
        raise Rejection("MT-PRIORITY must be a number from -9 to 9", code=501, enhanced="5.5.2")
    return int(value)


def isTrusted(session: Session) -> bool:
    """Users who have logged in may go first, and so may LMTP clients, which are ours."""
    return session.user is not None or session.lmtp


class MtPriority(Extension):
    """
    RFC 6710: MAIL's ``MT-PRIORITY=``.

    Off until asked for: the handler has to keep the order. It may change a priority further:
    ``return Accepted("3 is the new priority", enhanced="2.3.6")`` (§4.1).

    :param profile: the name of the Priority Assignment Policy, which EHLO announces:
        ``"STANAG4406"`` or another (§9.2).
    :param mayRaise: called with the session; tells whether its positive priorities count. From
        others must not (§4.1): their messages get priority 0, and the reply says so.
    :raises ConfigurationError: if the profile's name has a wrong form.
    """

    keyword = "MT-PRIORITY"

    def __init__(self, profile: str = "", mayRaise: Callable[[Session], bool] = isTrusted) -> None:
        if profile and _PROFILE.fullmatch(profile) is None:
            raise ConfigurationError(f"MT-PRIORITY: {profile!r} is not the name of a profile")
        self._profile = profile
        self._mayRaise = mayRaise
        self.mailParameters: dict[str, ParameterParser] = {"MT-PRIORITY": parsePriority}

    def advertise(self, session: Session) -> str | None:
        """The profile, if it has a name."""
        return self._profile

    def onMail(self, address: Address, envelope: Envelope, session: Session) -> Accepted | None:
        """Unknown clients don't jump the queue."""
        if address.values.get("MT-PRIORITY", 0) <= 0 or self._mayRaise(session):
            return None
        address.values["MT-PRIORITY"] = 0
        return Accepted("0 is the new priority of the message", enhanced="2.3.6")
