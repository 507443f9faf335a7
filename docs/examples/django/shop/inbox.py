from django.db import close_old_connections
from shop.models import Mail

from twisted_smtpserver import Rejection, SMTPHandler, blocking


class Inbox(SMTPHandler):
    def onRcptTo(self, address, session):
        if address.domain != "shop.example":
            raise Rejection("Relay not permitted", code=550, enhanced="5.7.1")

    async def onData(self, stream, session):
        message = await stream.message()
        body = message.get_body(("plain",))
        await store(
            sender=session.envelope.mailFrom.address,
            recipients=[address.address for address in session.envelope.rcptTo],
            subject=message["Subject"] or "",
            text="" if body is None else body.get_content(),
            content=bytes(message),
        )


@blocking  # the ORM waits for the database, so it gets a thread of its own
def store(**fields):
    close_old_connections()
    try:
        Mail.objects.create(**fields)
    finally:
        close_old_connections()
