"""Keeps the attachments of each message as files."""

import os

from twisted.internet.threads import deferToThread

from twisted_smtpserver import Rejection, SMTPHandler


class Attachments(SMTPHandler):
    def __init__(self, folder="attachments"):
        self.folder = folder

    async def onData(self, stream, session):
        mail = await stream.parsed()
        if not mail.attachments:
            raise Rejection("Send an attachment", code=554, enhanced="5.6.0")
        folder = os.path.join(self.folder, session.envelope.id)
        await deferToThread(save, folder, mail.attachments)
        sender = mail.from_[0].address if mail.from_ else "nobody"
        print(f"{sender} writes {mail.subject!r}: {len(mail.attachments)} attachments")
        return f"{len(mail.attachments)} attachments saved"


def save(folder, attachments):
    os.makedirs(folder)
    for number, attachment in enumerate(attachments, 1):
        path = os.path.join(folder, f"{number}-{attachment.name or 'unnamed'}")
        with open(path, "xb") as file:
            file.write(attachment.content)


def makeHandler():
    return Attachments()
