"""
A server to be killed: for each line on standard input a new process that stores into the Maildir
given as argument. It prints that process's id and its port.

All is imported once, and each process forked from there, so that the next one is up at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted_smtpserver import Maildir, SMTPServerFactory


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def serve(maildir: str) -> None:
    """Serve until killed."""
    from twisted.internet import reactor  # one for each process

    server: Any = reactor
    factory = SMTPServerFactory(Maildir(maildir), logger=False)
    port = server.listenTCP(0, factory, interface="127.0.0.1")
    say(f"{os.getpid()} {port.getHost().port}")
    server.run()


def main() -> None:
    """Fork for each line, and wait for the end of it."""
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            serve(sys.argv[1])
            os._exit(0)
        os.waitpid(child, 0)
        say("gone")


if __name__ == "__main__":
    main()
