"""Users, senders and recipients by files."""

from twisted_smtpserver import Chain, Maildir
from twisted_smtpserver.handlers.policies import RateLimit, SenderMatchesLogin
from twisted_smtpserver.tables import Recipients, Senders
from twisted_smtpserver.users import Htpasswd


def makeHandler() -> Chain:
    return Chain(
        Htpasswd("users"),
        RateLimit(messages=200, seconds=3600),
        SenderMatchesLogin(Senders("senders")),
        Recipients(Maildir("mail"), "recipients", relayForUsers=False),
    )
