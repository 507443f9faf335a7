"""
The attackers, in a process of their own: ``python -m tests.reliability.hostile.attackers``, with
the attack's name, how many they are, and a folder. It says when it is ready, begins when it reads
the server's ports, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

from tests.reliability.hostile import milter
from tests.reliability.hostile.attacks import ATTACKS, SEGMENT, Attack


def _segment(attack: Attack) -> bytes:
    size = SEGMENT if attack.piece > 1 else len(attack.repeated)
    return attack.repeated * max(1, size // len(attack.repeated))


class Attacker(threading.Thread):
    """One client that sends as fast as it can, and comes again when it is sent away."""

    def __init__(self, attack: Attack, port: int) -> None:
        super().__init__(daemon=True)
        self._attack = attack
        self._port = port
        self._segment = _segment(attack)

    def run(self) -> None:
        """Until the process ends."""
        while True:
            with contextlib.suppress(OSError):
                self._come()

    def _come(self) -> None:
        with contextlib.closing(self._connect()) as client:
            client.sendall(self._attack.first)
            client.settimeout(0.2)
            while True:
                with contextlib.suppress(TimeoutError):
                    self._send(client)
                with contextlib.suppress(TimeoutError):
                    if not self._attack.isUnread and not client.recv(2**20):
                        return

    def _send(self, client: socket.socket) -> None:
        for start in range(0, len(self._segment), self._attack.piece):
            client.sendall(self._segment[start : start + self._attack.piece])

    def _connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), 10)
        if self._attack.tls != "implicit":
            client.recv(4096)
        if self._attack.tls == "starttls":
            client.sendall(b"EHLO client.example\r\n")
            client.recv(4096)
            client.sendall(b"STARTTLS\r\n")
            client.recv(4096)
        if not self._attack.tls:
            return client
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(client)


def main() -> None:
    """Attack until standard input ends."""
    name, count, folder = sys.argv[1:]
    attack = ATTACKS[name]
    if attack.milter:
        milter.serve(str(Path(folder) / "milter"), attack.milter)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ports = sys.stdin.readline().split()
    for _ in range(int(count) if attack.repeated else 0):
        Attacker(attack, int(ports[-1 if attack.tls == "implicit" else 0])).start()
    sys.stdin.readline()
    os._exit(0)  # the threads don't end


if __name__ == "__main__":
    main()
