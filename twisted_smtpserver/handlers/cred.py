"""Logins by twisted.cred: a Portal, or its checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from zope.interface import Interface, implementer

from twisted_smtpserver.credentials import Credentials
from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.interfaces import IAuthHandler
from twisted_smtpserver.sasl import Authenticated
from twisted_smtpserver.session import Session


class ISMTPUser(Interface):
    """
    What a Portal's realm is asked for; the avatar becomes ``session.user``.
    """


@implementer(IAuthHandler)
class CredHandler:
    """
    A stage that asks twisted.cred who may log in::

        Chain(CredHandler(FilePasswordDB("passwd")), Maildir("Maildir"))

    :param authorities: one :class:`~twisted.cred.portal.Portal`, or checkers, which are asked in
        turn until one knows the user. A Portal's realm is asked for :class:`ISMTPUser`, with the
        session as the mind.
    :raises ConfigurationError: if there is neither.
    """

    def __init__(self, *authorities: Any) -> None:
        self._portal: Portal | None = None
        self._checkers: Sequence[Any] = ()
        if len(authorities) == 1 and isinstance(authorities[0], Portal):
            self._portal = authorities[0]
        elif authorities and all(ICredentialsChecker.providedBy(a) for a in authorities):
            self._checkers = authorities
        else:
            raise ConfigurationError("CredHandler needs one Portal, or checkers")

    async def onAuth(self, credentials: Credentials, session: Session) -> Authenticated | None:
        """See :meth:`~twisted_smtpserver.interfaces.IAuthHandler.onAuth`."""
        if credentials.accessToken is not None:
            return None  # twisted.cred has no interface for tokens
        presented = credentials.forCred()
        try:
            if self._portal is not None:
                _, avatar, _ = await self._portal.login(presented, session, ISMTPUser)
                return Authenticated(avatar)
            return await self._askCheckers(presented)
        except LoginFailed:
            return None

    async def _askCheckers(self, presented: Any) -> Authenticated | None:
        for checker in self._checkers:
            if not any(i.providedBy(presented) for i in checker.credentialInterfaces):
                continue
            try:
                avatarId = await _ask(checker, presented)
            except LoginFailed:
                continue
            if avatarId:
                return Authenticated(_text(avatarId))
        return None


def _ask(checker: Any, presented: Any) -> Deferred[Any]:
    if isinstance(checker, FilePasswordDB):
        # It reads its file, and hashes if told so, before it returns: not in the reactor's thread.
        return deferToThread(checker.requestAvatarId, presented)
    return maybeDeferred(checker.requestAvatarId, presented)


def _text(avatarId: Any) -> Any:
    return avatarId.decode("utf-8") if isinstance(avatarId, bytes) else avatarId
