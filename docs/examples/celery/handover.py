"""
Hands mail over to Celery: the client gets its 250 when the broker has the message.

Run the server with ``twistd -n smtpserver --handler handover.HandOver``, and workers with
``celery -A handover worker``.
"""

import base64
import os

from celery import Celery

from twisted_smtpserver import Rejection, SMTPHandler, blocking

app = Celery("handover", broker=os.environ.get("BROKER", "redis://127.0.0.1/0"))
app.conf.task_ignore_result = True
app.conf.broker_transport_options = {"socket_connect_timeout": 5, "socket_timeout": 5}


@app.task
def process(content, sender, recipients):
    print(f"{len(base64.b64decode(content))} octets from {sender} to {', '.join(recipients)}")


@blocking  # publishing waits for the broker, so it gets a thread
def publish(*arguments):
    process.apply_async(arguments, retry=False)


class HandOver(SMTPHandler):
    async def onData(self, stream, session):
        content = await stream.read(limit=5 * 2**20)  # large ones belong into a store
        envelope = session.envelope
        recipients = [address.address for address in envelope.recipients]
        try:
            await publish(
                base64.b64encode(content).decode("ascii"), str(envelope.mailFrom), recipients
            )
        except process.OperationalError as error:
            raise Rejection("The queue isn't there, try again later", code=451) from error
