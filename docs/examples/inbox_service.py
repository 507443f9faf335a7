"""An inbox in an application of your own: ``twistd -ny inbox_service.py``."""

from twisted.application.service import Application

from twisted_smtpserver import SMTPServerFactory, SMTPService
from twisted_smtpserver.inbox import Inbox

application = Application("inbox")

inbox = Inbox(("127.0.0.1", 8025), database="inbox.db", maxMessages=1000)
inbox.setServiceParent(application)

factory = SMTPServerFactory(inbox.handler, bareNewlines="accept")
SMTPService([("tcp:2525:interface=127.0.0.1", factory)]).setServiceParent(application)
