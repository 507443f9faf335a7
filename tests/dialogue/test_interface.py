"""IDialogue: what our own extensions use, and users' extensions may."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.examples import load
from tests.support.talk import HELLO, codes, talk
from twisted_smtpserver import Rejection, extensions
from twisted_smtpserver.interfaces import IDialogue
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import Client

PACKAGE = Path(extensions.__file__).parent.parent


def used(path: Path) -> set[str]:
    """What a file uses of a dialogue."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("dialogue", "self._dialogue")
    }


class InterfaceTests(SynchronousTestCase):
    """The interface and the class agree."""

    def test_verified(self) -> None:
        """A dialogue provides what the interface says."""
        self.assertTrue(verifyObject(IDialogue, talk(Phase.READY).protocol.dialogue))

    def test_ownExtensions(self) -> None:
        """Our own extensions, and what AUTH is made of, use these names and no others."""
        files = [*(PACKAGE / "extensions").glob("*.py"), *(PACKAGE / "auth").glob("*.py")]
        found = set().union(*map(used, files))
        self.assertEqual(found - set(IDialogue.names()), set())
        self.assertEqual(set(IDialogue.names()) - found, {"phase"})


class ConversingTests(SynchronousTestCase):
    """The example of an extension that needs more than a line."""

    def greeted(self, **options: Any) -> Client:
        extension = load("conversing").Conversing(b"swordfish")
        return talk(Phase.READY, extensions=[extension], **options)

    def test_challenge(self) -> None:
        """A challenge is answered by the next line, whatever that looks like."""
        client = self.greeted()
        self.assertEqual(client.say("XSECRET").code, 334)
        self.assertEqual(client.say("swordfish").code, 250)
        self.assertTrue(client.session.data["knowsTheWord"])
        self.assertEqual(client.say("XSECRET").code, 334)
        client.send(b"QUIT\r\n")
        self.assertEqual(client.answers(), [])
        client.wait(1)
        self.assertEqual(codes(client.answers()), [550])
        self.assertFalse(client.isClosed)

    def test_octets(self) -> None:
        """Octets are taken as they are, in any pieces; what follows is a command."""
        octets = b"XNOTE 8\r\nQUIT\r\nxyNOOP\r\n"
        for cut in range(len(octets)):
            client = self.greeted()
            client.send(octets[:cut])
            client.send(octets[cut:])
            self.assertEqual(codes(client.answers()), [250, 250])
            self.assertEqual(client.session.data["note"], b"QUIT\r\nxy")

    def test_badNumbers(self) -> None:
        """A number that is none, or too large, ends the connection."""
        for number in ("", "x", "-1", "0", "4097", "9" * 20, "1 2"):
            client = self.greeted()
            client.send(f"XNOTE {number}\r\nNOOP\r\n".encode())
            self.assertEqual(codes(client.answers()), [501], number)
            self.assertTrue(client.isClosed)

    def test_restart(self) -> None:
        """The client begins anew, and the handler is asked about it once more."""
        calls: list[object] = []
        client = self.greeted(onConnect=calls.append)
        self.assertEqual(client.say("XAGAIN").code, 220)
        self.assertIs(client.protocol.dialogue.phase, Phase.GREETED)
        self.assertEqual(len(calls), 2)
        self.assertEqual(client.say(HELLO).code, 250)

    def test_restartRefused(self) -> None:
        """It may be refused then."""

        def onConnect(session: Any) -> None:
            if session.data.setdefault("seen", 0):
                raise Rejection("Once is enough")
            session.data["seen"] += 1

        client = self.greeted(onConnect=onConnect)
        self.assertEqual(client.say("XAGAIN").code, 554)
        self.assertEqual(client.say("NOOP").code, 503)
