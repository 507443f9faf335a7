"""The samples of the page "Callbacks" of bun-smtp's documentation, in its order."""

from twisted.logger import Logger

from twisted_smtpserver import Rejection

log = Logger()


# onConnect: block an address.
def onConnect(session):
    if session.remoteAddress == "1.2.3.4":
        raise Rejection("Blocked", code=421)


# onSecure, with requestCert=True: what was negotiated.
def onSecure(session):
    tls = session.tls
    log.info("{version} {cipher} {client}", version=tls.version, cipher=tls.cipher, client=tls)


# onAuth: validatePassword() serves PLAIN, LOGIN and CRAM-MD5 alike.
def onAuth(credentials, session):
    return credentials.username if credentials.validatePassword("secret") else None


# onMailFrom: senders of a domain. The parameters as sent are in address.args, typed ones in
# address.values.
def onMailFrom(address, session):
    if address.domain == "blocked.example":
        raise Rejection("Sender not allowed")
    if address.values.get("SIZE", 0) > 2**20:
        raise Rejection("Only small messages today", code=452, enhanced="4.3.1")


# onRcptTo: known recipients.
KNOWN = ("alice@example.com", "bob@example.com")


def onRcptTo(address, session):
    if address.address not in KNOWN:
        raise Rejection("No such user", code=550)


# onData: chunk by chunk, or all at once.
class Store:
    def __init__(self):
        self.bodies = []

    async def onData(self, stream, session):
        chunks = [chunk async for chunk in stream]
        self.bodies.append(b"".join(chunks))  # or: await stream.read()


# Size limit: sizeExceeded and byteLength are true while the octets come in.
async def onDataOfLimitedSize(stream, session):
    try:
        async for _ in stream:
            pass
    finally:
        log.info("{n} octets, too large: {x}", n=stream.byteLength, x=stream.sizeExceeded)


# LMTP responses by recipient.
async def onDataByRecipient(stream, session):
    await stream.read()
    return {
        recipient: Rejection("Mailbox full", code=452)
        if recipient.address == "bad@example.com"
        else "Message accepted"
        for recipient in session.envelope.rcptTo
    }


# onClose.
def onClose(session):
    log.info("{id} closed after {n} messages", id=session.id, n=session.messages)
