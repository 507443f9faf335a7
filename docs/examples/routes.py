"""Mail for one domain stays here, tickets go to a program, all else goes on to a relay."""

from pathlib import Path

from twisted_smtpserver import Maildir
from twisted_smtpserver.stores.byrecipient import ByRecipient
from twisted_smtpserver.stores.forward import Forward
from twisted_smtpserver.stores.webhook import Webhook


def makeHandler():
    secret = Path("secret").read_text().strip()
    return ByRecipient(
        {
            "example.com": Maildir("mail"),
            "tickets@example.com": Webhook("https://tickets.example.com/mail", secret),
            "*": Forward("smtp+starttls://relay.example.net"),
        }
    )
