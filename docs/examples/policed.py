"""The policies in a row, before a Maildir: ``--handler policed.makeHandler``."""

from policies import BlockList, Quota, Recipients

from twisted_smtpserver import Chain, Maildir


def makeHandler():
    return Chain(
        BlockList("dnsbl.example.net"),
        Quota(100),
        Recipients(["ann@example.com", "bob@example.com"]),
        Maildir("Maildir"),
    )
