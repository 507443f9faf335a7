"""
A handler that speaks to a scanner by means of asyncio.

Run it with ``twistd --reactor=asyncio -n smtpserver --handler with_asyncio.Scanned``.
"""

import asyncio

from twisted_smtpserver import Rejection, SMTPHandler


async def scan(octets, host="127.0.0.1", port=7777):
    """Ask a scanner, which is sent a message and answers with one line."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(octets)
        writer.write_eof()
        return (await reader.readline()).decode("ascii", "replace").strip()
    finally:
        writer.close()


class Scanned(SMTPHandler):
    async def onData(self, stream, session):
        octets = await stream.read(limit=10 * 2**20)
        try:
            verdict = await asyncio.wait_for(scan(octets), timeout=5)
        except (OSError, asyncio.TimeoutError):
            raise Rejection("Try again later", code=451, enhanced="4.3.0") from None
        if verdict != "clean":
            raise Rejection("This message isn't welcome", code=550, enhanced="5.7.1")
