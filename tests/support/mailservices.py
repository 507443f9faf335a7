"""Programs that filter mail, started on unix sockets: with the documentation's configuration."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.names import dns

from tests.support.examples import EXAMPLES
from tests.support.liveserver import PATIENCE

CONFIG = EXAMPLES / "config"

#: What ClamAV is to find: nobody needs a real signature database for this.
VIRUS = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class MailService:
    """
    A program that runs as nobody, in a folder of its own.

    :param folder: where everything of it is.
    :param sockets: what it makes when it is ready.
    :param command: how it is started.
    """

    def __init__(self, folder: Path, sockets: list[Path], *command: str | Path) -> None:
        self.folder = folder
        self._arguments = (sockets, command)
        user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        with open(folder / "output", "wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **(user if os.getuid() == 0 else {}),
            )
        try:
            self._await(sockets)
        except BaseException:
            self.kill()
            raise

    def _await(self, sockets: list[Path]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not all(path.is_socket() for path in sockets):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.process.args!r} didn't start:\n{self.output}")
            time.sleep(0.02)  # there is nothing to be told by

    @property
    def output(self) -> str:
        """What it has said so far."""
        logs = [self.folder / "output", *self.folder.glob("*.log")]
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())

    def signal(self, number: int) -> None:
        """Send a signal to it, and to the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill -9."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def again(self) -> MailService:
        """Start it again, after it was killed."""
        self.kill()
        sockets, command = self._arguments
        for path in sockets:
            path.unlink(missing_ok=True)
        return MailService(self.folder, sockets, *command)

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()


def makeFolder() -> Path:
    """A folder that nobody may write to, with a short name: a socket's path is short."""
    folder = Path(tempfile.mkdtemp(prefix="mail-"))
    folder.chmod(0o777)
    return folder


def configured(folder: Path, name: str, changes: Mapping[str, str], more: str = "") -> Path:
    """
    Write one of the documentation's configuration files with other paths.

    :param changes: what is replaced, each of which must be there.
    :param more: added at the end.
    """
    text = (CONFIG / name).read_text()
    for old, new in changes.items():
        assert old in text, (name, old)
        text = text.replace(old, new)
    path = folder / Path(name).name
    path.write_text(text + more)
    return path


def startRspamd(program: str, folder: Path, dnsPort: int) -> MailService:
    """rspamd; its milter is at ``milter.sock``, and it asks one name server."""
    local = folder / "local.d"
    local.mkdir()
    listening = folder / "milter.sock"
    isRoot = os.getuid() == 0
    user = "nobody" if isRoot else pwd.getpwuid(os.getuid()).pw_name
    group = "nogroup" if isRoot else grp.getgrgid(os.getgid()).gr_name
    configured(
        local,
        "rspamd/worker-proxy.inc",
        {
            "/run/rspamd/milter.sock": str(listening),
            "mode=0660": "mode=0666",
            "owner=_rspamd": f"owner={user}",
            "group=_rspamd": f"group={group}",
        },
    )
    configured(local, "rspamd/milter_headers.conf", {})
    for name, text in {
        "options.inc": f'dns {{ nameserver = ["127.0.0.1:{dnsPort}"]; timeout = 1s; }}\n'
        "local_addrs = [];\ndisable_hyperscan = true;\n"
        f'url_tld = "{local}/suffixes";\n',
        "suffixes": "com\norg\n",  # to compile all that there are takes half a minute
        "logging.inc": f'type = "file"; filename = "{folder}/rspamd.log"; level = "info";\n',
        "worker-normal.inc": "enabled = false;\n",
        "worker-controller.inc": "enabled = false;\n",
        "worker-fuzzy.inc": "enabled = false;\n",
        # What would ask the Internet.
        **{
            f"{module}.conf": "enabled = false;\n"
            for module in ("rbl", "surbl", "fuzzy_check", "asn", "phishing", "greylist", "neural")
        },
    }.items():
        (local / name).write_text(text)
    for name in ("data", "run"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
    variables = {"LOCAL_CONFDIR": folder, "DBDIR": folder / "data", "RUNDIR": folder / "run"}
    flags = [flag for item in variables.items() for flag in ("--var", f"{item[0]}={item[1]}")]
    return MailService(folder, [listening], program, "-f", "-c", "/etc/rspamd/rspamd.conf", *flags)


def startClamAV(clamd: str, milter: str, folder: Path) -> tuple[MailService, MailService]:
    """clamd with one signature of our own, and clamav-milter, which is at ``milter.sock``."""
    database = folder / "db"
    database.mkdir()
    (database / "ours.ndb").write_text(f"Ours.Test:0:*:{VIRUS.hex()}\n")
    scanner, listening = folder / "clamd.sock", folder / "milter.sock"
    config = configured(
        folder,
        "clamd.conf",
        {"/run/clamav/clamd.sock": str(scanner), "/var/lib/clamav": str(database)},
    )
    daemon = MailService(folder, [scanner], clamd, "-c", config)
    config = configured(
        folder,
        "clamav-milter.conf",
        {"/run/clamav/clamd.sock": str(scanner), "/run/clamav/milter.sock": str(listening)},
        f"TemporaryDirectory {folder}\n",
    )
    try:
        return daemon, MailService(folder, [listening], milter, "-c", config)
    except BaseException:
        daemon.stop()
        raise


def startOpenDKIM(program: str, folder: Path, key: Path, internal: str, dns: str) -> MailService:
    """
    OpenDKIM at ``opendkim.sock``.

    :param internal: whose mail it signs.
    :param dns: the records that it finds: names and texts.
    """
    listening = folder / "opendkim.sock"
    (folder / "hosts").write_text(internal + "\n")
    (folder / "dns").write_text(dns)
    config = configured(
        folder,
        "opendkim.conf",
        {
            "/run/opendkim/opendkim.sock": str(listening),
            "/etc/dkimkeys/mail.private": str(key),
            "/etc/opendkim.hosts": str(folder / "hosts"),
            "Syslog yes": "Syslog no",
            "UMask 007": "UMask 000",
        },
        f"RequireSafeKeys no\nTestDNSData file:{folder}/dns\n",
    )
    return MailService(folder, [listening], program, "-f", "-x", config)


def remove(folder: Path) -> None:
    """Remove a service's folder."""
    shutil.rmtree(folder, ignore_errors=True)


def startNameServer(records: Mapping[str, str]) -> NameServer | None:
    """
    A name server at an address of its own, on the port that programs ask which can't be told
    another one; ``None`` where only root may do that, or nobody may hide files from a program.
    """
    try:
        subprocess.run(
            ["unshare", "-rm", "true"], check=True, capture_output=True, timeout=PATIENCE
        )
        number = secrets.randbelow(2**24 - 2**16 - 2) + 2**16  # not in 127.0/16
        address = ipaddress.IPv4Address("127.0.0.0") + number
        return NameServer(records, str(address), dns.PORT)
    except (OSError, subprocess.SubprocessError):
        return None


def startOpenDMARC(program: str, folder: Path, names: NameServer | None = None) -> MailService:
    """
    OpenDMARC at ``opendmarc.sock``.

    :param names: the name server that it asks; by default, the machine's.
    """
    listening = folder / "opendmarc.sock"
    config = configured(
        folder,
        "opendmarc.conf",
        {
            "/run/opendmarc/opendmarc.sock": str(listening),
            "Syslog yes": "Syslog no",
            "UMask 007": "UMask 000",
        },
    )
    command = [program, "-f", "-c", str(config)]
    if names is not None:
        resolving = folder / "resolv.conf"
        resolving.write_text(f"nameserver {names.address}\n")
        mount = f'mount --bind {resolving} /etc/resolv.conf && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", mount, "sh", *command]
    return MailService(folder, [listening], *command)


class NameServer(threading.Thread):
    """
    A name server on loopback that knows TXT records, and says of all else that it isn't there.

    :param records: the texts by their names.
    :param address: where it listens.
    :param port: 0 for any that is free.
    :ivar port: the port.
    """

    def __init__(
        self, records: Mapping[str, str], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.records = dict(records)
        self.address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.port = int(self._socket.getsockname()[1])
        self.start()

    def run(self) -> None:
        """Answer, until an empty packet comes."""
        while True:
            octets, client = self._socket.recvfrom(4096)
            if not octets:
                return
            question = dns.Message()
            question.fromStr(octets)
            self._socket.sendto(self.answer(question), client)

    def answer(self, question: dns.Message) -> bytes:
        """The answer to a question."""
        answer = dns.Message(question.id, answer=True, recAv=True, auth=True)
        answer.queries = question.queries
        name = question.queries[0].name.name.decode()
        text = self.records.get(name.lower().rstrip("."))
        if text is None:
            answer.rCode = dns.ENAME
        elif question.queries[0].type == dns.TXT:
            pieces = [text[start : start + 255].encode() for start in range(0, len(text), 255)]
            record = dns.Record_TXT(*pieces, ttl=60)
            answer.answers = [dns.RRHeader(name, dns.TXT, payload=record, ttl=60, auth=True)]
        return answer.toStr()

    def stop(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (self.address, self.port))
        self.join(PATIENCE)
        self._socket.close()
