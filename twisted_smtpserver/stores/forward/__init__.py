"""
Forward messages to another server by SMTP or LMTP, while they come in.

MAIL and RCPT are asked there while they are asked here, so what the next hop refuses, the client is
refused at the same command. The message isn't kept in between: the client gets 250 when the next
hop has said 250.

=============== ===================================================================================
file            what it has
=============== ===================================================================================
handler         :class:`Forward`, the handler
transaction     MAIL, RCPT, DATA or BDAT, at the next hop
parameters      which parameters of MAIL and RCPT can be handed on
pool            connections that are kept open; several hosts by priority
host            what a URL says
opening         greeting, EHLO, STARTTLS, AUTH
client          commands out, replies in
answers         a reply of the next hop's, and what it means for our client
dots            dot-stuffing
=============== ===================================================================================
"""

from twisted_smtpserver.stores.forward.handler import Forward

__all__ = ["Forward"]
