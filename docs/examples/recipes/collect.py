"""Collect mail until there are so many, and print their subjects: ``python collect.py 2525 3``."""

import queue
import sys

from twisted_smtpserver import SMTPHandler
from twisted_smtpserver.threaded import ServerThread


class Collector(SMTPHandler):
    def __init__(self):
        self.mails = queue.Queue()

    async def onData(self, stream, session):
        self.mails.put(await stream.message())  # it is taken out in another thread


def collect(port, count):
    collector = Collector()
    with ServerThread(collector, port=port) as server:
        print(f"Waiting for mail on port {server.port}", flush=True)
        for _ in range(count):
            yield collector.mails.get()


if __name__ == "__main__":
    for mail in collect(int(sys.argv[1]), int(sys.argv[2])):
        print(mail["Subject"])
