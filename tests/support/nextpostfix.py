"""A Postfix of its own that takes mail by SMTP, and keeps it in its queue."""

from __future__ import annotations

import contextlib
import os
import shutil

from tests.support.certificates import Certified
from tests.support.postfix import OwnPostfix
from tests.support.services import freePort, killGroup

_MAIN = """\
myhostname = next.example
mydestination =
relay_domains = store.example
relay_recipient_maps = static:ok
smtpd_recipient_restrictions =
  check_recipient_access inline:{{ nobody@store.example=REJECT, later@store.example=DEFER }},
  permit_mynetworks, reject
mynetworks = 127.0.0.0/8
defer_transports = smtp, relay
smtpd_tls_security_level = may
smtpd_tls_cert_file = {folder}/config/cert.pem
smtpd_tls_key_file = {folder}/config/key.pem
smtpd_client_connection_count_limit = 0
message_size_limit = 40000000
local_recipient_maps =
local_header_rewrite_clients =
queue_minfree = 0
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n  -  n  -    0  cleanup
qmgr      unix  n  -  n  300  1  qmgr
rewrite   unix  -  -  n  -    -  trivial-rewrite
bounce    unix  -  -  n  -    0  bounce
defer     unix  -  -  n  -    0  bounce
trace     unix  -  -  n  -    0  bounce
proxymap  unix  -  -  n  -    -  proxymap
anvil     unix  -  -  n  -    1  anvil
smtp      unix  -  -  n  -    -  smtp
relay     unix  -  -  n  -    -  smtp
error     unix  -  -  n  -    -  error
retry     unix  -  -  n  -    -  error
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
postlog   unix-dgram n - n - 1  postlogd
"""


class NextPostfix(OwnPostfix):
    """
    Postfix as the next hop. What it accepts stays in its queue.

    :param program: the path of ``postfix``.
    :param certified: its key and certificate.
    :ivar port: where it listens on 127.0.0.1.
    :ivar isRunning: whether it was started, and not killed since.
    """

    def __init__(self, program: str, certified: Certified) -> None:
        super().__init__(program, "nextpostfix-")
        self.port = freePort()
        self.isRunning = False
        config = self.folder / "config"
        self.configure(_MAIN.format(folder=self.folder), _MASTER.format(port=self.port))
        (config / "cert.pem").write_bytes(certified.certPEM)
        (config / "key.pem").write_bytes(certified.keyPEM)

    def start(self) -> None:
        """Start it: when this returns it listens."""
        # Files that a killed process hadn't named by then were never accepted, and postsuper takes
        # offense at their names.
        for path in (self.folder / "queue" / "incoming").glob("**/*.*"):
            path.unlink()
        self.run("start")
        self.isRunning = True

    def setFull(self, isFull: bool) -> None:
        """Have no disk space, as far as it knows, or have some."""
        path = self.folder / "config" / "main.cf"
        text = path.read_text().partition("queue_minfree")[0]
        path.write_text(text + f"queue_minfree = {10**17 if isFull else 0}\n")
        self.run("reload")

    def kill(self) -> None:
        """Kill it and all that it has started."""
        self.isRunning = False
        pid = int((self.folder / "queue" / "pid" / "master.pid").read_text())
        killGroup(os.getpgid(pid))

    def remove(self) -> None:
        """Kill it if need be, and remove what it wrote."""
        if self.isRunning:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def messages(self) -> list[bytes]:
        """The messages in its queue, in no order."""
        found: dict[str, bytes] = {}
        for folder in ("incoming", "active", "deferred"):  # in which they move
            for path in (self.folder / "queue" / folder).rglob("*"):
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    if path.stat().st_mode & 0o100:  # Postfix's mark: it is complete
                        found[path.name] = _content(path.read_bytes())
        return list(found.values())


def _content(file: bytes) -> bytes:
    """
    The message in a queue file: records of a type, a length in groups of seven bits, and data.
    """
    lines = []
    place = 0
    while place < len(file):
        kind = file[place : place + 1]
        length = shift = 0
        while True:
            place += 1
            length |= (file[place] & 0x7F) << shift
            shift += 7
            if not file[place] & 0x80:
                break
        data = file[place + 1 : place + 1 + length]
        place += 1 + length
        if kind == b"N":  # a line
            lines.append(data + b"\n")
        elif kind == b"L":  # a piece of one
            lines.append(data)
    return b"".join(lines)
