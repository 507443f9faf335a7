"""The samples of the page "Handler methods" of smtp-server's documentation, in its order."""

from pathlib import Path

from cryptography.x509.oid import NameOID
from twisted.logger import Logger

from twisted_smtpserver import Rejection

log = Logger()


# onConnect: reject connections from a certain address.
def onConnect(session):
    if session.remoteAddress == "192.0.2.1":
        raise Rejection("Connection not allowed", code=421)


# onSecure: look at the client's certificate. Needs requestCert=True and ca=…; with
# rejectUnauthorized=False, whoever has none gets so far, and is told.
def onSecure(session):
    certificate = session.tls.peerCertificate
    if certificate is None or not session.tls.authorized:
        raise Rejection("Client certificate required")
    [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    log.info("Client cert: {name}", name=name.value)


# onAuth: one user.
def onAuth(credentials, session):
    if credentials.username == "admin" and credentials.validatePassword("secret"):
        return credentials.username
    return None


# onMailFrom: blocked domains.
BLOCKED = ("spam.com", "blocked.net")


def onMailFrom(address, session):
    if address.domain in BLOCKED:
        raise Rejection("Domain not allowed", code=550)


# onRcptTo: local domains only.
LOCAL = ("example.com", "example.net")


def onRcptTo(address, session):
    if address.domain not in LOCAL:
        raise Rejection("Relay not permitted")


# onData: save to a file. That a message is too large needs no code: saveTo() raises
# MessageTooLarge, the client gets 552, and the file is removed.
def saver(folder):
    async def onData(stream, session):
        await stream.saveTo(Path(folder, f"{session.envelope.id}.eml"))
        return f"Message saved: {session.envelope.id}"

    return onData


# onClose: clean up.
def onClose(session):
    log.info("Connection closed: {id}", id=session.id)
    if session.user is not None:
        log.info("{user} has left", user=session.user)
