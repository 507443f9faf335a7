"""How to deploy, followed word by word: on a bare system, from nothing to mail that is sent."""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.project.test_docs import blocks
from tests.support import inside
from tests.support.certificates import makeCertificate
from tests.support.examples import DOCS, EXAMPLES
from tests.support.services import need
from twisted_smtpserver.users import passwd

PAGE = DOCS / "howto" / "deploy.rst"
DEPLOY = EXAMPLES / "deploy"

#: How long all of it may take, in seconds.
LIMIT = 300

#: The page's sections whose commands are run.
FIRST, LAST = "Install it\n---", "Mail programs that find it by themselves\n---"

# A root of our own: the programs are the system's, and all else is new. The namespaces end with the
# first process, and all mounts and processes with them.
_ENTER = """
set -e
root=$1
mount --bind "$root" "$root"
mount --bind /usr "$root/usr"
mount -o remount,ro,bind "$root/usr"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind "$2" "$root/wheels"
exec chroot "$root" /usr/bin/python3 -B /inside.py
"""

# Of RUN; here the folder is there already.
_MOUNT = re.compile(r"^--mount=\S+ +")

# systemctl, to be found first: it only notes what it was asked for.
_SYSTEMCTL = '#!/bin/sh\necho "$@" >> /run/systemctl\n'

_ACCOUNTS = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
    "group": "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "gshadow": "root:*::\nnogroup:*::\n",
    "hosts": "127.0.0.1 localhost mail.example.org autoconfig.example.org\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
}


class BareRoot:
    """
    A system without anything but its programs.

    :param folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (
            "usr",
            "dev",
            "proc",
            "wheels",
            "root",
            "opt",
            "run/bin",
            "var/lib",
            "var/log",
        ):
            (folder / name).mkdir(parents=True)
        (folder / "var/lib/nginx").mkdir()
        (folder / "var/log/nginx").mkdir()
        (folder / "tmp").mkdir(mode=0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            (folder / name).symlink_to(f"usr/{name}")
        (folder / "etc/systemd/system").mkdir(parents=True)
        for name, text in _ACCOUNTS.items():
            self.write(f"etc/{name}", text)
        for name in ("ssl", "nginx", "alternatives", "ld.so.cache", "login.defs"):
            path = Path("/etc", name)
            if path.is_dir():
                shutil.copytree(path, folder / "etc" / name, symlinks=True, ignore=_noKeys)
            elif path.exists():
                shutil.copy(path, folder / "etc" / name)
        for path in (folder / "etc/nginx/sites-enabled").iterdir():
            path.unlink()
        self.write("run/bin/systemctl", _SYSTEMCTL).chmod(0o755)
        shutil.copy(inside.__file__, folder / "inside.py")

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, wheels: Path, asked: object) -> subprocess.CompletedProcess[str]:
        """Follow the page inside, without a network."""
        return subprocess.run(
            [
                *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh"),
                *("-c", _ENTER, "sh", str(self.folder), str(wheels)),
            ],
            input=json.dumps(asked),
            env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )


def _noKeys(folder: str, names: list[str]) -> list[str]:
    return ["private"] if "private" in names else []


def configurations() -> dict[str, str]:
    """The files that the page shows, by where it puts them."""
    text = PAGE.read_text(encoding="utf-8")
    places = {
        "submission.socket": "/etc/systemd/system",
        "submissions.socket": "/etc/systemd/system",
        "smtpserver.service": "/etc/systemd/system",
        "smtpserver.toml": "/etc/smtpserver/smtpserver.toml",
        "msmtprc": "/root/.msmtprc",
        "config-v1.1.xml": "/var/www/autoconfig/mail",
        "nginx-autoconfig.conf": "/etc/nginx/conf.d/autoconfig.conf",
    }
    found = {}
    for name, place in places.items():
        assert f":file:`{place}`" in text and f"../examples/deploy/{name}\n" in text, name
        path = place if "." in place.rpartition("/")[2] and name != "msmtprc" else f"{place}/{name}"
        found[(place if name == "msmtprc" else path).lstrip("/")] = (DEPLOY / name).read_text()
    return found


@functools.cache
def makeWheels() -> Path:
    """What ``pip install`` finds: the wheel of this checkout, and what it needs."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder / "venv")], check=True)
    pip, wheels = str(folder / "venv/bin/pip"), folder / "wheels"
    what = f"{DOCS.parent}[config,passwords]"
    command = [pip, "wheel", "--quiet", "--wheel-dir", str(wheels), what]
    subprocess.run(command, check=True, timeout=LIMIT)
    return wheels


class BareCase(SynchronousTestCase):
    """Each test has a root of its own."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            self.skipTest("only root can make a root")
        for program in ("unshare", "msmtp", "nginx", "openssl"):
            need(program)
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = BareRoot(self.folder / "root")

    def run_(self, asked: object) -> Any:
        """Do something inside; what came of it."""
        done = self.root.run(makeWheels(), asked)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return json.loads(done.stdout)


class DeploymentTests(BareCase):
    """The page."""

    def test_followed(self) -> None:
        """Each command works, the server is ready, and msmtp and Thunderbird's way send mail."""
        text = PAGE.read_text(encoding="utf-8")
        first, last = (text.index(title) for title in (FIRST, LAST))
        commands = [code for before, code in blocks(PAGE, "bash") if first < len(before) < last]
        self.assertEqual(len(commands), 6)
        for path, content in configurations().items():
            self.root.write(path, content)
        asked = {
            "blocks": commands,
            "typed": "open sesame",
            "url": "http://autoconfig.example.org/mail/config-v1.1.xml?emailaddress=ann@example.org",
            "user": ["ann@example.org", "open sesame", "/etc/smtpserver/fullchain.pem"],
            "maildir": "/var/lib/smtpserver/Maildir/new",
        }
        result = self.run_(asked)
        self.assertEqual(result["page"], (DEPLOY / "config-v1.1.xml").read_text())
        subjects = sorted(re.findall("^Subject: (.*)$", "".join(result["stored"]), re.MULTILINE))
        self.assertEqual(subjects, ["by 465", "by 587", "first", "second"])
        for message in result["stored"]:
            self.assertIn("Return-Path: <ann@example.org>", message)
        self.assertIn("This is what would run with", "".join(result["printed"]))
        self.assertIn("It works.", result["printed"][-1])
        self.assertNotIn("#error]", result["journal"])
        self.assertNotIn("#warn]", result["journal"])


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, each on one line."""
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    return re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE)


class ContainerTests(BareCase):
    """
    The Dockerfile, without Docker: its commands are run in a bare root, and then the server, as its
    user, with what it may write to as in the compose file, and nothing else.
    """

    def test_followed(self) -> None:
        """It is built, it is healthy, and it takes mail."""
        steps = instructions("Dockerfile")
        facts = dict(steps)
        volume = facts["VOLUME"]
        self.assertEqual(facts["EXPOSE"], "2465 2587")
        compose = (DEPLOY / "compose.yaml").read_text()
        for line in (
            'ports: ["465:2465", "587:2587"]',
            f"- mail:{volume}",
            "- ./smtpserver:/etc/smtpserver:ro",
            "read_only: true",
            "tmpfs: [/tmp]",
            "cap_drop: [ALL]",
        ):
            self.assertIn(f"    {line}\n", compose)
        health = json.loads(facts["HEALTHCHECK"].partition("CMD ")[2])
        made = makeCertificate(None, ["mail.example.org"])
        self.root.write("etc/smtpserver/fullchain.pem", made.certPEM.decode())
        self.root.write("etc/smtpserver/privkey.pem", made.keyPEM.decode())
        users = self.root.folder / "etc/smtpserver/users"
        passwd.main([str(users), "ann@example.org"], ask=lambda _: "open sesame")
        users.chmod(0o644)
        page = (DEPLOY / "config-v1.1.xml").read_text()
        result = self.run_(
            {
                "runs": [
                    re.sub(r"^--mount=\S+ +", "", what) for step, what in steps if step == "RUN"
                ],
                "user": facts["USER"],
                "volume": volume,
                "command": [*json.loads(facts["ENTRYPOINT"]), *json.loads(facts["CMD"])],
                "health": health,
                "stop": facts["STOPSIGNAL"],
                "page": page.replace(">465<", ">2465<").replace(">587<", ">2587<"),
                "sender": ["ann@example.org", "open sesame", "/etc/smtpserver/fullchain.pem"],
                "maildir": f"{volume}/Maildir/new",
            }
        )
        self.assertEqual((len(result["stored"]), result["status"]), (2, -signal.SIGTERM))
        self.assertNotEqual(result["unhealthy"], 0)


class AutoconfigTests(SynchronousTestCase):
    """Thunderbird's configuration."""

    def test_format(self) -> None:
        """It has what Thunderbird insists on, and agrees with the units."""
        root = ElementTree.fromstring((DEPLOY / "config-v1.1.xml").read_bytes())
        self.assertEqual((root.tag, root.get("version")), ("clientConfig", "1.1"))
        (provider,) = root
        self.assertEqual(provider.tag, "emailProvider")
        self.assertEqual(provider.findtext("domain"), provider.get("id"))
        ways = []
        for server in provider.iter():
            if server.tag not in ("incomingServer", "outgoingServer"):
                continue
            self.assertIn(server.get("type"), ("imap", "pop3", "smtp"))
            self.assertEqual(server.findtext("username"), "%EMAILADDRESS%")
            # For a login by PLAIN or LOGIN, which TLS protects.
            self.assertEqual(server.findtext("authentication"), "password-cleartext")
            ways.append((server.tag[:3], server.findtext("port"), server.findtext("socketType")))
        expected = [("inc", "993", "SSL"), ("out", "465", "SSL"), ("out", "587", "STARTTLS")]
        self.assertEqual(ways, expected)
        for port, name in (("465", "submissions"), ("587", "submission")):
            self.assertIn(f":{port}\n", (DEPLOY / f"{name}.socket").read_text())
