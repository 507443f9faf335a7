"""The filter for fail2ban in the documentation, with the real fail2ban-regex."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast
from unittest import SkipTest

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import Logger, formatEventAsClassicLogText
from twisted.trial.unittest import SynchronousTestCase

from tests.support.talk import HELLO, MAIL, RCPT
from twisted_smtpserver import Rejection
from twisted_smtpserver.testing import Client, connect, makeFactory

CONFIG = Path(__file__).parent.parent.parent / "docs" / "examples" / "config"
FILTER = CONFIG / "fail2ban-filter.conf"

INNOCENT = IPv4Address("TCP", "192.0.2.1", 40000)
GUILTY = IPv4Address("TCP", "192.0.2.66", 40000)
GUILTY6 = IPv6Address("TCP", "2001:db8::66", 40000)
FORGED = "192.0.2.99"


def tool() -> str:
    """The path of fail2ban-regex; where CI is true it has to be there."""
    path = shutil.which("fail2ban-regex")
    if path is None and not os.environ.get("CI"):
        raise SkipTest("fail2ban isn't installed")
    return path or "fail2ban-regex"


class FilterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tool = tool()
        self.lines: list[str] = []
        self.options: dict[str, Any] = {
            "logger": Logger("twisted_smtpserver", observer=cast(Any, self.keep)),
            "authFailureDelay": 0,
            "allowInsecureAuth": True,
        }

    def keep(self, event: dict[str, Any]) -> None:
        self.lines.append(formatEventAsClassicLogText(event) or "")

    def arrive(self, peer: Any, **options: Any) -> Client:
        return connect(peer=peer, **self.options, **options)

    def found(self, prefix: str = "") -> set[str]:
        """The addresses that fail2ban finds in the log."""
        path = os.path.abspath(self.mktemp())
        with open(path, "w", encoding="utf-8") as log:
            log.writelines(prefix + line for line in self.lines)
        command = [self.tool, "-o", "ip", path, str(FILTER)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return set(done.stdout.split())

    def login(self, client: Client, username: str) -> None:
        client.say(HELLO)
        client.say("AUTH PLAIN " + base64.b64encode(f"\0{username}\0x".encode()).decode())

    def test_login(self) -> None:
        """A failed login is found, by IPv4 and IPv6; one that succeeded isn't."""
        refuse = {"onAuth": lambda *arguments: None}
        for peer in (GUILTY, GUILTY6):
            self.login(self.arrive(peer, **refuse), "joe")
        innocent = self.arrive(INNOCENT, onAuth=lambda *arguments: "joe")
        self.login(innocent, "joe")
        innocent.say("QUIT")
        self.assertEqual(self.found(), {GUILTY.host, GUILTY6.host})

    def test_forgedName(self) -> None:
        """Nobody gets someone else banned by the name of a user or a hello."""
        forged = f"x> by PLAIN failed, client a [{FORGED}]:1"
        for name in (forged, f"{forged}\n", f"x\n[twisted_smtpserver#warn] ab: login as <{forged}"):
            client = self.arrive(GUILTY, onAuth=lambda *arguments: None)
            self.login(client, name)
            client.say(f"HELO [{FORGED}]")
            client.say("QUIT")
        self.assertEqual(self.found(), {GUILTY.host})

    def test_cutOff(self) -> None:
        """So are sessions that were cut off for what they did; and no others."""

        def refuse(*arguments: Any) -> None:
            raise Rejection("nobody")

        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["FOO"] * 10),
            ({"maxErrors": 3, "errorDelay": 0}, [HELLO, *[RCPT] * 3]),
            ({"onRcptTo": refuse, "maxRefusedRecipients": 2}, [HELLO, MAIL, *[RCPT] * 3]),
            ({"onAuth": refuse}, [HELLO, *["NOOP"] * 10]),
            ({}, ["GET / HTTP/1.1"]),
            ({}, [HELLO, "NOOP\nNOOP"]),
            ({"selfSigned": True}, [HELLO, "STARTTLS", "NOOP"]),
        ]
        for options, lines in cases:
            self.lines.clear()
            client = self.arrive(GUILTY, **options)
            client.pipeline(*lines)
            self.assertTrue(client.isClosed, lines)
            self.assertEqual(self.found(), {GUILTY.host}, self.lines)
        self.lines.clear()
        for lines in ([HELLO, "QUIT"], [HELLO, MAIL, RCPT, "DATA", "x", ".", "QUIT"]):
            self.arrive(INNOCENT).pipeline(*lines)
        client = self.arrive(INNOCENT)
        client.wait(301)
        self.assertTrue(client.isClosed)
        self.assertEqual(self.found(), set())

    def test_tooMany(self) -> None:
        """Nor does whoever comes when the server is full; who fills it alone is found."""
        factory = makeFactory(maxClients=3, maxClientsPerAddress=2, **self.options)
        for peer in (GUILTY, GUILTY, GUILTY, INNOCENT, IPv4Address("TCP", "192.0.2.2", 1)):
            connect(factory, peer)
        self.assertEqual(len(self.lines), 2)
        self.assertEqual(self.found(), {GUILTY.host})

    def test_workers(self) -> None:
        """The lines of a worker are found, too."""
        self.login(self.arrive(GUILTY, onAuth=lambda *arguments: None), "joe")
        self.lines = [line.replace("#warn]", "#warn, worker 12]") for line in self.lines]
        self.assertIn(", worker 12]", "".join(self.lines))
        self.assertEqual(self.found(), {GUILTY.host})

    def test_journal(self) -> None:
        """The lines are found in the journal, too, where others come before the time."""
        self.login(self.arrive(GUILTY, onAuth=lambda *arguments: None), "joe")
        self.assertEqual(self.found("Nov 21 02:51:59 mx twistd[123]: "), {GUILTY.host})
