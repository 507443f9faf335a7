"""The tutorial's handler in a program of its own."""

import sys

from inbox import Inbox
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import globalLogBeginner, textFileLogObserver

from twisted_smtpserver import SMTPServerFactory

globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
factory = SMTPServerFactory(Inbox(), name="mx.example.com", size=10 * 2**20)
endpoint = serverFromString(reactor, "tcp:2525:interface=127.0.0.1")
endpoint.listen(factory)
reactor.run()
