"""The same with asyncio, several messages at a time, and what to do with one that fails."""

import asyncio
import sys

from twisted_smtpserver.stores.postgres import claim


async def handle(mail):
    """Whatever your application does with a message."""
    content = await mail.read()
    print(mail.sender, "sent", len(content), "octets", flush=True)


async def work(dsn, **options):
    """One of several workers: each has a connection, and one message at a time."""
    async for mail in claim(dsn, **options):
        try:
            await handle(mail)
        except Exception as error:
            await mail.fail(repr(error))  # again in 10 s, then in 20 s …


async def main(dsn, **options):
    """Four of them."""
    await asyncio.gather(*(work(dsn, **options) for _ in range(4)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
