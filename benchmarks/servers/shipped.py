"""
``twistd smtpserver`` with its defaults, as it is installed: run as a program, it becomes that, with
a handler from this module that reads every message to its end.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Any

from benchmarks.servers.counting import listening
from benchmarks.servers.ours import Reading

#: Where it listens is told to the handler by this.
PORT = "BENCHMARK_PORT"


def makeHandler() -> Reading:
    """The handler; it says where the server listens as soon as it does."""
    from twisted.internet import reactor

    loop: Any = reactor
    handler = Reading()
    loop.callWhenRunning(_say, listening, int(os.environ[PORT]), "Twisted")
    loop.addSystemEventTrigger("after", "shutdown", _say, handler.counts.report)
    return handler


def _say(function: Any, *arguments: Any) -> None:
    # By then, twistd's log has taken the standard output.
    redirected, sys.stdout = sys.stdout, sys.__stdout__
    try:
        function(*arguments)
    finally:
        sys.stdout = redirected


def main() -> None:
    """Become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--log", required=True, help="a file for twistd's log")
    parser.add_argument("--max-recipients")
    given = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        os.environ[PORT] = str(free.getsockname()[1])
    command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon"]
    command += ["--pidfile=", f"--logfile={given.log}", "smtpserver"]
    command += ["--port", os.environ[PORT], "--handler", f"{__spec__.name}.makeHandler"]
    if given.certificate:
        command += ["--cert", given.certificate, "--key", given.key]
    if given.max_recipients:
        command += ["--max-recipients", given.max_recipients]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
