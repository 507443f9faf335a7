"""Logins: hashed passwords, SCRAM secrets, bearer tokens, certificates, twisted.cred."""

import hashlib
import hmac
import secrets

from twisted.cred.portal import IRealm
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from twisted_smtpserver import Authenticated, AuthenticationFailed, Rejection, SMTPHandler
from twisted_smtpserver.handlers.cred import ISMTPUser
from twisted_smtpserver.sasl import ScramSecret, scramSecret


def hashPassword(password, salt):
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


class HashedUsers(SMTPHandler):
    """PLAIN and LOGIN: ``users`` has a salt and a hash for each name."""

    def __init__(self, users):
        self.users = users
        # Nobody's: so that an unknown user costs as much time as a wrong password.
        self.nobody = (secrets.token_bytes(16), secrets.token_bytes(64))

    async def onAuth(self, credentials, session):
        salt, right = self.users.get(credentials.username, self.nobody)
        offered = await deferToThread(hashPassword, credentials.password, salt)
        return credentials.username if hmac.compare_digest(offered, right) else None


class OwnAddress(SMTPHandler):
    """Who has logged in may send as themselves only. (A stage of a Chain.)"""

    def onMailFrom(self, address, session):
        if address.address != session.user:
            raise Rejection("That is not your address", code=550, enhanced="5.7.1")


class ScramUsers(SMTPHandler):
    """SCRAM, and PLAIN for old clients, from the same secrets: text by name."""

    def __init__(self, users):
        self.users = users

    def scramSecret(self, username, mechanism, session):
        text = self.users.get(username)
        return None if text is None else ScramSecret.fromString(text)

    def onAuth(self, credentials, session):
        if credentials.verified:  # the exchange itself has proved it
            return credentials.username
        known = self.scramSecret(credentials.username, credentials.method, session)
        if known is None:
            return None
        try:
            offered = scramSecret(credentials.password, known.salt, known.iterations)
        except ValueError:  # characters that no password can have
            return None
        matches = hmac.compare_digest(offered.storedKey, known.storedKey)
        return credentials.username if matches else None


class TokenUsers(SMTPHandler):
    """XOAUTH2 and OAUTHBEARER: ``introspect(token)`` returns a name, None, or a Deferred of it."""

    def __init__(self, introspect):
        self.introspect = introspect

    async def onAuth(self, credentials, session):
        name = await self.introspect(credentials.accessToken)
        if name is None or credentials.username not in ("", name):
            raise AuthenticationFailed(
                data={"status": "401", "schemes": "bearer", "scope": "https://mail.example/"}
            )
        return name


class CertifiedUsers(SMTPHandler):
    """EXTERNAL: who has a certificate of ours, and which mailbox is theirs."""

    def __init__(self, mailboxes):
        self.mailboxes = mailboxes

    def onAuth(self, credentials, session):
        return self.mailboxes.get(credentials.username)


class Delegates(SMTPHandler):
    """Lets some users act for others: the authorization identity of PLAIN."""

    def __init__(self, passwords, mayActFor):
        self.passwords = passwords
        self.mayActFor = mayActFor

    def onAuth(self, credentials, session):
        password = self.passwords.get(credentials.username)
        if password is None or not credentials.validatePassword(password):
            return None
        wanted = credentials.authzid or credentials.username
        if credentials.authzidDiffers and wanted not in self.mayActFor[credentials.username]:
            return None
        return Authenticated(wanted, authzid=wanted)


class User:
    """An application's own idea of a user."""

    def __init__(self, name):
        self.name = name


@implementer(IRealm)
class Realm:
    """Makes users, for a Portal."""

    def requestAvatar(self, avatarId, mind, *interfaces):
        return ISMTPUser, User(avatarId.decode()), lambda: None
