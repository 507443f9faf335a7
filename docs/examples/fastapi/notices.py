"""
A notice board: what comes in by mail is shown by the API, out of one process and one event loop.

Run it with ``uvicorn notices:app``.
"""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportAttributeAccessIssue=false

import asyncio
import os
from collections import deque
from contextlib import asynccontextmanager

from fastapi import FastAPI
from twisted.internet import asyncioreactor

from twisted_smtpserver import SMTPHandler

notices: deque = deque(maxlen=100)
changed = asyncio.Condition()


class Board(SMTPHandler):
    async def onData(self, stream, session):
        message = await stream.message(limit=2**20)
        notices.appendleft({"from": str(session.envelope.mailFrom), "what": message["Subject"]})
        async with changed:  # hooks are tasks of the loop: whatever asyncio has can be awaited
            changed.notify_all()


@asynccontextmanager
async def mailServer(app):
    """Run Twisted's reactor on the application's event loop, and a mail server on the reactor."""
    asyncioreactor.install(asyncio.get_running_loop())
    from twisted.internet import reactor

    from twisted_smtpserver import SMTPServerFactory, SMTPService

    reactor.startRunning(installSignalHandlers=False)
    port = os.environ.get("SMTP_PORT", "2525")
    server = SMTPService([(f"tcp:{port}:interface=127.0.0.1", SMTPServerFactory(Board()))])
    server.startService()
    app.state.mail = server.ports[0].getHost()
    yield
    await server.stopService().asFuture(asyncio.get_running_loop())
    reactor.getThreadPool().stop()


app = FastAPI(lifespan=mailServer)


@app.get("/")
async def page():
    return list(notices)


@app.get("/next")
async def following():
    """Wait for the next notice."""
    async with changed:
        await changed.wait()
    return notices[0]
