"""A Postfix of its own, in a temporary folder; and one that hands everything on to one place."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

# What each Postfix needs that isn't the machine's.
_COMMON = """\
compatibility_level = 3.6
config_directory = {folder}/config
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}/log
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_dns_support_level = disabled
"""

_MAIN = """\
myhostname = client.example
mydestination =
default_transport = {transport}
smtp_tls_security_level = {tls}
lmtp_destination_recipient_limit = 50
minimal_backoff_time = 2s
queue_run_delay = 2s
"""

_MASTER = """\
pickup    unix  n  -  n  1    1  pickup
cleanup   unix  n  -  n  -    0  cleanup
qmgr      unix  n  -  n  300  1  qmgr
rewrite   unix  -  -  n  -    -  trivial-rewrite
bounce    unix  -  -  n  -    0  bounce
defer     unix  -  -  n  -    0  bounce
trace     unix  -  -  n  -    0  bounce
proxymap  unix  -  -  n  -    -  proxymap
smtp      unix  -  -  n  -    -  smtp
lmtp      unix  -  -  n  -    -  lmtp
error     unix  -  -  n  -    -  error
retry     unix  -  -  n  -    -  error
scache    unix  -  -  n  -    1  scache
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
postlog   unix-dgram n - n - 1  postlogd
"""


class OwnPostfix:
    """
    Postfix in a folder of its own.

    :param program: the path of ``postfix``.
    :param prefix: how the folder's name begins.
    :ivar folder: it; what it writes goes there, too.
    """

    def __init__(self, program: str, prefix: str) -> None:
        self._program = program
        # Not below a test's own folder: Postfix's user has to be let in.
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self.folder.chmod(0o755)
        for name in ("config", "queue", "data", "log"):
            (self.folder / name).mkdir(mode=0o755)
        shutil.chown(self.folder / "data", "postfix")

    def configure(self, main: str, master: str) -> None:
        """
        Write the configuration.

        :param main: main.cf, but for the folders and the network.
        :param master: master.cf.
        """
        common = _COMMON.format(folder=self.folder)
        (self.folder / "config" / "main.cf").write_text(common + main)
        (self.folder / "config" / "master.cf").write_text(master)

    def run(self, command: str) -> None:
        """Run one of the program's commands."""
        done = subprocess.run(
            [self._program, "-c", str(self.folder / "config"), command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log

    @property
    def log(self) -> str:
        """What Postfix has logged."""
        path = self.folder / "log" / "maillog"
        return path.read_text() if path.exists() else ""


class Postfix(OwnPostfix):
    """
    Postfix, started.

    :param program: the path of ``postfix``.
    :param transport: where it delivers to, ``"lmtp:inet:127.0.0.1:24"`` for example.
    :param tls: its ``smtp_tls_security_level``.
    """

    def __init__(self, program: str, transport: str, tls: str = "none") -> None:
        super().__init__(program, "postfix-")
        self.configure(_MAIN.format(transport=transport, tls=tls), _MASTER)
        self.run("start")

    def send(self, sender: str, recipients: list[str], message: bytes) -> None:
        """Put a message into the queue."""
        subprocess.run(
            [
                "/usr/sbin/sendmail",
                "-i",
                "-C",
                str(self.folder / "config"),
                "-f",
                sender,
                *recipients,
            ],
            input=message,
            timeout=60,
            check=True,
            env={**os.environ, "MAIL_CONFIG": str(self.folder / "config")},
        )

    def stop(self) -> None:
        """Stop it, and remove what it wrote."""
        self.run("abort")
        shutil.rmtree(self.folder, ignore_errors=True)
