from django.db import close_old_connections
from shop.models import Mail

from twisted_smtpserver import Rejection, SMTPHandler, blocking, parseMessage


class Inbox(SMTPHandler):
    def onRcptTo(self, address, session):
        if address.domain != "shop.example":
            raise Rejection("Relay not permitted", code=550, enhanced="5.7.1")

    async def onData(self, stream, session):
        content = await stream.read(limit=10 * 2**20)
        recipients = [address.address for address in session.envelope.rcptTo]
        await store(content, str(session.envelope.mailFrom), recipients)


@blocking  # the ORM waits for the database, so it gets a thread of its own
def store(content, sender, recipients):
    mail = parseMessage(content)
    close_old_connections()
    try:
        Mail.objects.create(
            sender=sender,
            recipients=recipients,
            subject=mail.subject,
            text=mail.text,
            content=content,
        )
    finally:
        close_old_connections()
