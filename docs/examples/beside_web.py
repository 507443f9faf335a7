"""
A web site and a mail server in one process: what comes in by mail is shown on the page.

Run it with ``twistd -ny beside_web.py``.
"""

from collections import deque
from html import escape

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import Resource
from twisted.web.server import Site

from twisted_smtpserver import SMTPHandler, SMTPServerFactory, SMTPService


class Board(Resource, SMTPHandler):
    """A notice board: a web page, and the handler of a mail server."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.notices = deque(maxlen=100)

    async def onData(self, stream, session):
        message = await stream.message(limit=2**20)
        self.notices.appendleft((str(session.envelope.mailFrom), message["Subject"] or ""))

    def render_GET(self, request):
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        items = [f"<li>{escape(who)}: {escape(what)}" for who, what in self.notices]
        return ("<!DOCTYPE html><title>Notices</title><ul>" + "\n".join(items)).encode()


def addServices(parent, web="tcp:8080:interface=127.0.0.1", mail="tcp:2525:interface=127.0.0.1"):
    board = Board()
    site = StreamServerEndpointService(serverFromString(reactor, web), Site(board))
    server = SMTPService([(mail, SMTPServerFactory(board, size=2**20))])
    for service in (site, server):
        service.setServiceParent(parent)
    return server


application = Application("notices")
addServices(application)
