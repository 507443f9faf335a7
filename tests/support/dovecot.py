"""A Dovecot of its own, in a temporary folder, that takes mail by LMTP and checks passwords."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.services import PATIENCE, freePort, isListening, killGroup, until

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = lmtp
mail_fsync = never
ssl = no
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_plugins = quota
passdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {folder}/users
}}
plugin {{
  quota = maildir:User quota
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
auth_failure_delay = 0
service auth {{
  chroot =
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {folder}/lmtp.sock {{
    mode = 0666
  }}
}}
"""


class Dovecot:
    """
    Dovecot with a mailbox for each of some users.

    :param program: the path of ``dovecot``.
    :param users: names, and the quota rule of each (``""`` for none), ``"*:storage=1K"`` for one.
    :param passwords: the passwords of some of them.
    :ivar port: where it speaks LMTP.
    :ivar socket: the path of the unix socket where it does, too.
    :ivar auth: the path of its socket for authentication clients.
    """

    def __init__(
        self, program: str, users: dict[str, str], passwords: Mapping[str, str] | None = None
    ) -> None:
        self._program = program
        self._users = users
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.folder.chmod(0o755)
        self.port = freePort()
        self.socket = str(self.folder / "lmtp.sock")
        self.auth = str(self.folder / "auth")
        (self.folder / "conf").write_text(_CONFIG.format(folder=self.folder, port=self.port))
        lines = []
        for name, rule in users.items():
            home = self.folder / "home" / name
            home.mkdir(parents=True)
            shutil.chown(home, "nobody", "nogroup")
            extra = f"userdb_quota_rule={rule}" if rule else ""
            password = (passwords or {}).get(name, "")
            secret = f"{{PLAIN}}{password}" if password else ""
            lines.append(f"{name}:{secret}:65534:65534::{home}::{extra}\n")
        (self.folder / "users").write_text("".join(lines))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [self._program, "-F", "-c", str(self.folder / "conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process = self._process

        def isUp() -> bool:
            assert process.poll() is None, f"it ended:\n{self.log}"
            return isListening(self.port)

        until(isUp, "Dovecot doesn't start")

    @property
    def isRunning(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def kill(self) -> None:
        """Kill it and all that it has started."""
        process, self._process = self._process, None
        assert process is not None
        killGroup(process.pid)
        process.wait(PATIENCE)

    def send(self, number: int) -> None:
        """Send a signal to it and to all that it has started."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def remove(self) -> None:
        """Kill it if need be, and remove what it wrote."""
        if self.isRunning:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def messages(self, *names: str) -> list[bytes]:
        """The messages of some users, or of all of them, in no order."""
        return [
            path.read_bytes()
            for name in names or self._users
            for path in (self.folder / "home" / name).glob("Maildir/*/*")
            if path.parent.name in ("new", "cur")
        ]
