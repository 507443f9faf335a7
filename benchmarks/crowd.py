"""
``python -m benchmarks.crowd``: many clients at once, and how many of them are refused or late.

The embedded factory and the command as it is shipped stand side by side.
"""

from __future__ import annotations

import argparse
import resource
import select
import socket
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.certificates import makeFiles
from benchmarks.peers import PEERS, Server

#: Who isn't greeted in this time is late, in seconds.
LATE = 1.0

#: How long is waited for those who are late, in seconds.
PATIENCE = 10.0

#: The servers that are asked.
NAMES = ("ours", "ours-twistd")


def arrive(port: int, clients: int) -> tuple[int, int, float]:
    """
    Let clients come at once.

    :returns: how many were refused, how many late, and when the last one was greeted, in seconds.
    """
    began = time.monotonic()
    waiting: dict[int, socket.socket] = {}
    poll = select.epoll()
    for _ in range(clients):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        waiting[client.fileno()] = client
        poll.register(client, select.EPOLLIN)
    refused = late = 0
    last = 0.0
    while waiting and (left := began + PATIENCE - time.monotonic()) > 0:
        for number, _ in poll.poll(left):
            client = waiting.pop(number)
            try:
                isGreeted = client.recv(4096).startswith(b"220")
            except OSError:
                isGreeted = False
            seconds = time.monotonic() - began
            refused += not isGreeted
            late += isGreeted and seconds > LATE
            last = max(last, seconds)
            client.close()
    for client in waiting.values():
        client.close()
    poll.close()
    return refused, late + len(waiting), last


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status: 1 if anybody was refused or late."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd")
    parser.add_argument("clients", type=int, nargs="*", default=[200, 1000])
    given = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(hard, 2 * max(given.clients) + 400)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    failed = 0
    print(f"{'Server':<44} {'clients':>8} {'refused':>8} {'late':>5} {'last ms':>8}")
    with tempfile.TemporaryDirectory() as folder:
        files = makeFiles(Path(folder))
        for name in NAMES:
            for clients in given.clients:
                with Server(PEERS[name], files) as server:
                    refused, late, last = arrive(server.port, clients)
                failed += refused + late
                title = PEERS[name].title
                print(f"{title:<44} {clients:>8} {refused:>8} {late:>5} {last * 1000:>8.0f}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
