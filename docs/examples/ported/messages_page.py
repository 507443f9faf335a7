"""The samples of the page "Message handling" of smtp-server's documentation, in its order."""

from pathlib import Path

from twisted.logger import Logger

from twisted_smtpserver import Rejection, SMTPHandler

log = Logger()


# Accept all senders: have no onMailFrom.
class Everybody(SMTPHandler):
    pass


# Ask a database for the recipient; its answer may be a Deferred.
class KnownRecipients(SMTPHandler):
    def __init__(self, database):
        self.database = database

    async def onRcptTo(self, address, session):
        if not await self.database.mailboxExists(address.address):
            raise Rejection("Mailbox does not exist", code=550)


# Save to a file, and tell the client its id.
class Files(SMTPHandler):
    def __init__(self, folder):
        self.folder = Path(folder)

    async def onData(self, stream, session):
        name = session.envelope.id
        await stream.saveTo(self.folder / f"{name}.eml")
        return f"Message queued as {name}"


# What can be known of a message.
class Report(SMTPHandler):
    def onConnect(self, session):
        session.data["customData"] = "set by an earlier hook"

    def onData(self, stream, session):
        envelope = session.envelope
        facts = {
            "Session ID": session.id,
            "Client IP": session.remoteAddress,
            "Client hostname": session.clientHostname,
            "Authenticated user": session.user,
            "Secure connection": session.secure,
            "Transmission type": session.transmissionType,
            "From": str(envelope.mailFrom),
            "To": [recipient.address for recipient in envelope.rcptTo],
            "Size": envelope.mailFrom and envelope.mailFrom.args.get("SIZE"),
            "Body type": envelope.bodyType,
            "UTF-8": envelope.smtpUtf8,
            "Require TLS": envelope.requireTLS,  # with extensions=["REQUIRETLS"]
            "Custom data": session.data["customData"],
        }
        if envelope.dsn is not None:  # with extensions=["DSN"]
            facts |= {"DSN RET": envelope.dsn.ret, "DSN ENVID": envelope.dsn.envid}
        log.info("{facts}", facts=facts)
        self.facts = facts


# Refuse a message: before the first read the client doesn't even send it; what is left unread
# needs no code.
class Refuser(SMTPHandler):
    reasons = {
        "full": ("Mailbox full", 452, "4.2.2"),
        "spam": ("Message rejected as spam", 550, "5.7.1"),
        "virus": ("Message contains virus", 554, "5.7.1"),
        "error": ("Server error, please try again", 451, "4.3.0"),
    }

    def onData(self, stream, session):
        raise Rejection(*self.reasons[session.envelope.rcptTo[0].local])


# The complete example. Use it with size=10 * 2**20.
class Complete(SMTPHandler):
    def __init__(self, database):
        self.database = database

    def onMailFrom(self, address, session):
        if "spam" in address.address:
            raise Rejection("Sender rejected", code=550)

    async def onRcptTo(self, address, session):
        if not await self.database.mailboxExists(address.address):
            raise Rejection("Mailbox not found", code=550)

    async def onData(self, stream, session):
        message = await stream.message()  # an email.message.EmailMessage
        identifier = await self.database.saveMessage(message, session)
        return f"Message queued as {identifier}"
