"""Delivery by LMTP, a result for each recipient: ``--handler lmtp.makeHandler``."""

from twisted.internet.threads import deferToThread

from twisted_smtpserver import Rejection, SMTPHandler


class MailboxFull(Exception):
    """What a mailbox raises that has no room."""


class Deliver(SMTPHandler):
    """
    :param mailboxes: by address; each has a method ``store(octets)``.
    """

    def __init__(self, mailboxes):
        self.mailboxes = mailboxes

    def onRcptTo(self, address, session):
        if address.address not in self.mailboxes:
            raise Rejection("No such mailbox", code=550, enhanced="5.1.1")

    async def onData(self, stream, session):
        octets = await stream.read()
        results = {}
        for recipient in session.envelope.recipients:  # each once
            address = recipient.address
            try:
                await deferToThread(self.mailboxes[address].store, octets)
            except MailboxFull:
                results[address] = Rejection("Mailbox full", code=452, enhanced="4.2.2")
            else:
                results[address] = f"Stored for {address}"
        return results


class Mailbox:
    """In memory, to try it out: yours writes to a disk."""

    def __init__(self, room):
        self.room = room
        self.messages = []

    def store(self, octets):
        if len(self.messages) >= self.room:
            raise MailboxFull
        self.messages.append(octets)


def makeHandler():
    return Deliver({"ann@example.com": Mailbox(100), "bob@example.com": Mailbox(1)})
