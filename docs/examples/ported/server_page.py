"""The samples of the page "SMTP Server" of nodemailer's documentation, in its order."""

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger

from twisted_smtpserver import AuthenticationFailed, Rejection, SMTPServerFactory

log = Logger()


# TLS from the first octet on: secure: true, key and cert.
def listenSecurely(handler, endpoint="tcp:465", key="private.key", cert="server.crt"):
    factory = SMTPServerFactory(handler, secure=True, key=key, cert=cert)
    return serverFromString(reactor, endpoint).listen(factory)


# server.on("error"): a listener's errors are its Deferred's; those of connections and of handlers
# are logged, and told to onError.
def onError(failure, session):
    log.error("SMTP server error: {error}", error=failure.getErrorMessage())


# Password-based logins.
def onAuth(credentials, session):
    if credentials.username == "alice" and credentials.validatePassword("s3cr3t"):
        return credentials.username
    raise AuthenticationFailed("Invalid username or password")


# OAuth 2, with authMethods=["XOAUTH2"].
def onAuthByToken(credentials, session):
    if credentials.accessToken != "ya29.a0Af":
        raise AuthenticationFailed(data={"status": "401", "schemes": "bearer"})
    return credentials.username


# Validating client connections.
def onConnect(session):
    if session.remoteAddress == "127.0.0.1":
        raise Rejection("Connections from localhost are not allowed")


def onClose(session):
    log.info("Connection from {address} closed", address=session.remoteAddress)


# Validating TLS information: the name that the client asked for.
def onSecure(session):
    if session.tls.serverName != "mail.example.com":
        raise Rejection("SNI mismatch")


# Validating the sender.
def onMailFrom(address, session):
    if address.domain != "example.com":
        raise Rejection("Relay denied", code=553)


# Validating recipients.
def onRcptTo(address, session):
    if address.address == "blackhole@example.com":
        raise Rejection("User unknown")


# Processing messages: into a file.
def queue(path):
    async def onData(stream, session):
        await stream.saveTo(path)
        return "Queued"

    return onData


# The SIZE extension: size=1024 * 1024 is all. A handler that wants to know can see it.
async def onDataOfLimitedSize(stream, session):
    async for _ in stream:  # raises MessageTooLarge once there is too much
        pass
    return "OK"


# LMTP, with lmtp=True: a result for each recipient.
async def onDataByRecipient(stream, session):
    await stream.read()
    return [
        Rejection(f"<{recipient}> rejected") if number % 2 else f"<{recipient}> accepted"
        for number, recipient in enumerate(session.envelope.rcptTo)
    ]
