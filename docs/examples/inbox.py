"""The tutorial's handler: mail for example.com, each message in a file."""

from twisted_smtpserver import Rejection, SMTPHandler


class Inbox(SMTPHandler):
    def onRcptTo(self, address, session):
        if address.domain not in ("example.com", None):  # None: <Postmaster>
            raise Rejection("Relay not permitted", code=550, enhanced="5.7.1")

    async def onData(self, stream, session):
        name = session.envelope.id
        await stream.saveTo(f"{name}.eml")
        return f"Message saved as {name}"
