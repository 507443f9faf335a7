"""The tutorial's handler in a program of its own."""

from inbox import Inbox
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from twisted_smtpserver import SMTPServerFactory

factory = SMTPServerFactory(Inbox(), name="mx.example.com", size=10 * 2**20)
endpoint = serverFromString(reactor, "tcp:2525:interface=127.0.0.1")
endpoint.listen(factory)
reactor.run()
