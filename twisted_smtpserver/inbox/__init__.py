"""
The developer's inbox: mail for anybody, on a page, with Mailpit's API.

Nothing else imports this; ``twistd smtpserver --inbox`` does when it is asked to.
"""

from twisted_smtpserver.inbox.service import Inbox

__all__ = ["Inbox"]
