"""Delivery by LMTP: a result for each recipient."""

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
                self.mailboxes[address].store(octets)
            except MailboxFull:
                results[address] = Rejection("Mailbox full", code=452, enhanced="4.2.2")
            else:
                results[address] = f"Stored for {address}"
        return results
