"""
An asyncio program that receives mail in its own event loop, until the subject is "stop".

Run it with ``python asyncio_program.py 2525``.
"""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportAttributeAccessIssue=false

import asyncio
import sys
from contextlib import suppress

from twisted.internet import asyncioreactor


async def main(port):
    asyncioreactor.install(asyncio.get_running_loop())  # before anything imports the reactor
    from twisted.internet import reactor

    from twisted_smtpserver import SMTPServerFactory, SMTPService

    mails = asyncio.Queue(maxsize=100)

    async def onData(stream, session):
        await mails.put(await stream.message())  # asyncio's own things can be awaited in hooks

    reactor.startRunning(installSignalHandlers=False)
    factory = SMTPServerFactory(onData=onData)
    server = SMTPService([(f"tcp:{port}:interface=127.0.0.1", factory)])
    server.startService()
    print(f"Waiting for mail on port {server.ports[0].getHost().port}", flush=True)
    try:
        while (mail := await mails.get())["Subject"] != "stop":
            print(mail["Subject"], flush=True)
    finally:
        await server.stopService().asFuture(asyncio.get_running_loop())
        reactor.getThreadPool().stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
