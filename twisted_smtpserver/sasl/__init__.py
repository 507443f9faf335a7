"""
SASL mechanisms, the server's side (RFC 4422): octets in, steps out.

Nothing here knows SMTP, does I/O or logs. :data:`MECHANISMS` has a class for each name; an instance
of it, made with a :class:`SaslContext`, serves one exchange. See :class:`Mechanism`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted_smtpserver.sasl.crammd5 import CramMD5
from twisted_smtpserver.sasl.credentials import Authenticated, Credentials
from twisted_smtpserver.sasl.external import External
from twisted_smtpserver.sasl.login import Login
from twisted_smtpserver.sasl.mechanism import Mechanism, SaslContext
from twisted_smtpserver.sasl.oauthbearer import OAuthBearer
from twisted_smtpserver.sasl.plain import Plain
from twisted_smtpserver.sasl.scram import ScramSha256, ScramSha256Plus
from twisted_smtpserver.sasl.scramsecret import FakeSecrets, ScramSecret, scramSecret
from twisted_smtpserver.sasl.steps import (
    Ask,
    Challenge,
    Done,
    Failed,
    Reason,
    ScramQuery,
    Step,
)
from twisted_smtpserver.sasl.xoauth2 import XOAuth2

__all__ = [
    "MECHANISMS",
    "Ask",
    "Authenticated",
    "Challenge",
    "Credentials",
    "Done",
    "Failed",
    "FakeSecrets",
    "Mechanism",
    "Reason",
    "SaslContext",
    "ScramQuery",
    "ScramSecret",
    "Step",
    "scramSecret",
]

#: Every mechanism by its name, the strongest first.
MECHANISMS: Mapping[str, type[Mechanism]] = MappingProxyType(
    {
        mechanism.name: mechanism
        for mechanism in (
            ScramSha256Plus,
            ScramSha256,
            External,
            OAuthBearer,
            XOAuth2,
            Plain,
            Login,
            CramMD5,
        )
    }
)
