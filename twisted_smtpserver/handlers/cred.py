"""Logins by twisted.cred: a Portal, or its checkers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from zope.interface import Interface, implementer

from twisted_smtpserver.auth.credentials import Credentials
from twisted_smtpserver.auth.passwordfile import indexed
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

    :param authorities: one :class:`~twisted.cred.portal.Portal`, or checkers. Those that take such
        credentials are asked in turn until one knows the user. A Portal's realm is asked for
        :class:`ISMTPUser`, with the session as the mind; the avatar is logged out when the
        connection is gone.
    :param inThread: whether the checkers block, as those of ``twistd --auth`` do, and must be asked
        in the reactor's thread pool. A :class:`~twisted.cred.checkers.FilePasswordDB` always is,
        and reads its file only when it has changed. If it can't be read that is no failed login:
        the client gets 454, and comes again.
    :raises ConfigurationError: if there is neither.
    """

    def __init__(self, *authorities: Any, inThread: bool = False) -> None:
        self._realm: Any = None
        self._inThread = inThread
        self._logouts: WeakKeyDictionary[Session, Callable[[], object]] = WeakKeyDictionary()
        if len(authorities) == 1 and isinstance(authorities[0], Portal):
            self._realm = authorities[0].realm
            # One checker may serve several interfaces.
            checkers = tuple(dict.fromkeys(authorities[0].checkers.values()))
        elif authorities and all(ICredentialsChecker.providedBy(a) for a in authorities):
            checkers = authorities
        else:
            raise ConfigurationError("CredHandler needs one Portal, or checkers")
        self._checkers = tuple(map(indexed, checkers))

    async def onAuth(self, credentials: Credentials, session: Session) -> Authenticated | None:
        """See :meth:`~twisted_smtpserver.interfaces.IAuthHandler.onAuth`."""
        if credentials.accessToken is not None:
            return None  # twisted.cred has no interface for tokens
        avatarId = await self._identify(credentials.forCred())
        if avatarId is None:
            return None
        if self._realm is None:
            return Authenticated(avatarId.decode("utf-8"))
        _, avatar, logout = await maybeDeferred(
            self._realm.requestAvatar, avatarId, session, ISMTPUser
        )
        self._logouts[session] = logout
        return Authenticated(avatar)

    def onClose(self, session: Session) -> None:
        """Log the avatar out."""
        logout = self._logouts.pop(session, None)
        if logout is not None:
            logout()

    async def _identify(self, presented: Any) -> bytes | None:
        for checker in self._checkers:
            if not any(i.providedBy(presented) for i in checker.credentialInterfaces):
                continue
            try:
                avatarId = await self._ask(checker, presented)
            except LoginFailed:
                continue
            if isinstance(avatarId, str):
                avatarId = avatarId.encode("utf-8")
            # cred's avatar id for anonymous is an empty tuple. Nothing but text or bytes is a user.
            if isinstance(avatarId, bytes) and avatarId:
                return avatarId
        return None

    def _ask(self, checker: Any, presented: Any) -> Deferred[Any]:
        isFile = isinstance(checker, FilePasswordDB)
        if not self._inThread and not isFile:
            return maybeDeferred(checker.requestAvatarId, presented)
        ask = partial(_askFile, checker) if isFile else checker.requestAvatarId
        answer: Deferred[Any] = deferToThread(ask, presented)
        # The thread's result is a Deferred that has fired. Waiting for it raises LoginFailed.
        return answer.addCallback(lambda result: result)


def checkFile(checker: FilePasswordDB) -> None:
    """
    Read a checker's file.

    :param checker: the checker.
    :raises OSError: if it can't be read.
    """
    with open(checker.filename, "rb") as file:
        file.read(1)


def _askFile(checker: FilePasswordDB, presented: Any) -> Any:
    # The checker would report an unreadable file as a wrong login. That would refuse every user for
    # good, and count as failed logins.
    checkFile(checker)
    return checker.requestAvatarId(presented)
