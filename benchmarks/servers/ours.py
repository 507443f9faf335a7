"""twisted_smtpserver, with a handler that reads every message to its end."""

from __future__ import annotations

import argparse
from typing import Any

from twisted.logger import globalLogBeginner, textFileLogObserver

from benchmarks.servers.counting import Counts, listening
from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Session


class Reading:
    """Reads and counts."""

    def __init__(self) -> None:
        self.counts = Counts()

    async def onData(self, stream: IncomingMessage, session: Session) -> None:
        """See :class:`twisted_smtpserver.interfaces.IMessageHandler`."""
        octets = 0
        async for chunk in stream:
            octets += len(chunk)
        self.counts.add(octets)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--quiet", action="store_true", help="no events at all")
    parser.add_argument("--log", help="a file to write the events to, as twistd does")
    parser.add_argument("--max-recipients", type=int, default=1000)
    given = parser.parse_args()
    options: dict[str, Any] = {"name": "localhost", "maxRecipients": given.max_recipients}
    if given.certificate:
        options |= {"cert": given.certificate, "key": given.key}
    if given.quiet:
        options["logger"] = False
    # Without this Twisted would keep all events in memory, for whoever begins to log later.
    observers = [textFileLogObserver(open(given.log, "w"))] if given.log else []  # noqa: SIM115
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)

    from twisted.internet import reactor

    loop: Any = reactor
    handler = Reading()
    factory = SMTPServerFactory(handler, **options)
    port = loop.listenTCP(0, factory, backlog=511, interface="127.0.0.1")
    loop.addSystemEventTrigger("after", "shutdown", handler.counts.report)
    listening(port.getHost().port, "Twisted")
    loop.run()


if __name__ == "__main__":
    main()
