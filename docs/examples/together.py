"""Limits that hold for all servers that use the same Redis."""

from twisted_smtpserver import Chain, Maildir, SMTPServerFactory
from twisted_smtpserver.handlers.policies import Greylist, RateLimit
from twisted_smtpserver.shared import RedisState


def makeFactory(url="redis://127.0.0.1:6379/0", maildir="Maildir"):
    """Make a server; others with the same URL share its limits."""
    state = RedisState(url)
    handler = Chain(
        RateLimit(messages=300, recipients=3000, seconds=3600, state=state),
        Greylist(state=state),
        Maildir(maildir),
    )
    return SMTPServerFactory(handler, maxClientsPerAddress=20, state=state)
