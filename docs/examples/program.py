"""The tutorial's handler in a program of its own."""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# mypy: disable-error-code="arg-type, list-item, misc"

import sys

from inbox import Inbox
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogBeginner, textFileLogObserver

from twisted_smtpserver import SMTPServerFactory, SMTPService

globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
factory = SMTPServerFactory(Inbox(), name="mx.example.com", size=10 * 2**20)
service = SMTPService([("tcp:2525:interface=127.0.0.1", factory)])
try:
    service.startService()
except CannotListenError as error:
    sys.exit(str(error))
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
