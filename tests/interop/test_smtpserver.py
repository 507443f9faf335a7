"""
Beside the reference: what nodemailer's smtp-server takes for an address or a hello, and what we do.

Each line is said to both, in one dialogue each. What differs on purpose stands in a table, with the
reason, and is in the porting guide.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from typing import IO, Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.test_clients import FOLDER, need
from tests.support.liveserver import PATIENCE
from tests.support.talk import HELLO
from twisted_smtpserver import Rejection
from twisted_smtpserver.testing import connect

#: What stands behind ``MAIL FROM`` and ``RCPT TO``, the colon included.
ARGUMENTS = [
    # Where blanks may be.
    *(":<a@b.example>", ": <a@b.example>", ":   <a@b.example>", ":\t<a@b.example>"),
    *(" :<a@b.example>", " : <a@b.example>", ":<a@b.example> ", ":<a@b.example>   SIZE=1"),
    *(":< a@b.example>", ":<a@b.example >", ":<a @b.example>", ":<a b@c.example>"),
    # What is no address.
    *("", ":", ": ", ":BODY=8BITMIME", ": BODY=8BITMIME", ": SIZE=1 BODY=8BITMIME", ":SIZE=1"),
    *(":a@b.example", ": a@b.example", ":a@b.example SIZE=1", ":Joe <a@b.example>"),
    *(":<a@b.example", ":a@b.example>", ":<a@b.example>SIZE=1", ":<a@b.example>,<c@d.example>"),
    *(":<<a@b.example>>", ":<a<b@c.example>", ":<a@b.example>>", ":<", ":>", ":< >"),
    *(":<a>", ":<a@>", ":<@b.example>", ":<@>", ":<a@b@c.example>", ":<a@@b.example>"),
    *(":<>", ":<postmaster>", ":<Postmaster>", ":<postmaster@b.example>"),
    # Local parts.
    *(":<user.@b.example>", ":<.user@b.example>", ":<us..er@b.example>", ":<o'brien@b.example>"),
    *(":<a+b=c@d.example>", ":<a,b@c.example>", ":<a:b@c.example>", ":<a;b@c.example>"),
    *(":<a(b)@c.example>", ":<a[b]@c.example>", ":<a\\b@c.example>", ':<a"b@c.example>'),
    *(':<"ab"@c.example>', ':<"a b"@c.example>', ':<"a@b"@c.example>', ':<"a.@c.example>'),
    *(f":<{'a' * 64}@b.example>", f":<{'a' * 65}@b.example>", f":<{'a' * 300}@b.example>"),
    # Domains.
    *(":<a@b>", ":<a@B.Example>", ":<a@b.example.>", ":<a@.b.example>", ":<a@b..example>"),
    *(":<a@my_host>", ":<a@-b.example>", ":<a@b-.example>", ":<a@b.-example>", ":<a@b!c>"),
    *(":<a@1.2.3.4>", ":<a@[1.2.3.4]>", ":<a@[1.2.3.4>", ":<a@[1.2.3]>", ":<a@[300.1.1.1]>"),
    *(":<a@[IPv6:2001:DB8::0:1]>", ":<a@[2001:db8::1]>", ":<a@[IPv6:x]>", ":<a@[x:y]>"),
    *(":<a@xn--bcher-kva.example>", ":<a@xn--a>", ":<a@b\u00fccher.example>", ":<a@\U0001f4a9.la>"),
    # Source routes.
    *(":<@r.example:a@b.example>", ":<@r.example,@s.example:a@b.example>", ":<@r:a.@b.example>"),
    *(":<@r.example,s.example:a@b.example>", ":<@:a@b.example>", ":<@r.example:>"),
    # Beyond ASCII.
    *(":<\u00fc@b.example>", ":<u\u0308@b.example>", ":<\u4e2d.@b.example>"),
    *(f":<a{character}b@c.example>" for character in "\x01\x7f\x85\u200b\u2060\ufeff"),
    *(f":<a{character}b@c.example>" for character in "\u200d\u202e\u2066"),
]

# What is well-formed by RFC 5321 is taken, however lenient the parser; invisible characters aren't.
_ALWAYS = {
    ':<"a b"@c.example>': "RFC 5321 has quoted local parts",
    ':<"a@b"@c.example>': "RFC 5321 has quoted local parts",
    ":<a\u200db@c.example>": "invisible in a local part",
    ":<a\u202eb@c.example>": "turns the text around",
    ":<a\u2066b@c.example>": "turns the text around",
    ":<@r.example:>": "a route to nobody isn't the null path",
    ':<"ab"@c.example>': "quotes that aren't needed are no part of an address",
    ":<a@b.example>   SIZE=1": "RCPT has no such parameter",
}
LENIENT_DIFFERENCES = {
    **_ALWAYS,
    ":<a@xn--a>": "no A-label, so it stays as it is",
    ":<a@[IPv6:2001:DB8::0:1]>": "made the one form of the address, as in strict parsing",
}
STRICT_DIFFERENCES = {
    **_ALWAYS,
    **dict.fromkeys([" :<a@b.example>", " : <a@b.example>"], "RFC 5321 has no blank there"),
    **dict.fromkeys(
        [f":<a{special}b@c.example>" for special in ",:;\\"]
        + [":<a(b)@c.example>", ":<a[b]@c.example>", ':<a"b@c.example>'],
        "needs quotes",
    ),
    ":<a@1.2.3.4>": "an address literal has brackets",
    ":<a@xn--a>": "no A-label",
    ":<a@-b.example>": "a label begins with a letter or digit",
    ":<a@\U0001f4a9.la>": "no U-label",
    ":<a@[x:y]>": "RFC 5321 has literals of other kinds",
    f":<{'a' * 300}@b.example>": "RFC 5321 wants no limits where they can be avoided",
}

#: Arguments of EHLO.
HELLOS = [
    *("client.example", "localhost", "(none)", "my_laptop", "bob's-mac", "[10.0.0.1", "10.0.0.1"),
    *("[IPv6:::1]", "a..b", "-", "<a>", "b\u00fccher", "%s", "", " ", "a b", "a\x01b", "a\x7fb"),
    "a" * 255,
]

LOGIN = "AUTH PLAIN AGpvZQBzZWNyZXQ="
#: Where a login is required: what is said, and what the last line is answered there and here.
DIALOGUES = {
    "a login without a name, but for the one to act as": (
        [HELLO, "AUTH PLAIN am9lAABzZWNyZXQ="],
        235,
        501,
    ),
    "a login without a password": ([HELLO, "AUTH PLAIN AGpvZQA="], 235, 501),
    "RSET with an argument": ([HELLO, "RSET x"], 250, 501),
    "QUIT with an argument": ([HELLO, "QUIT x"], 221, 501),
    "STARTTLS before the hello": (["STARTTLS"], 220, 503),
    "RCPT before the login": ([HELLO, "RCPT TO:<jane@example.com>"], 530, 503),
    "MAIL before the login": ([HELLO, "MAIL FROM:<joe@example.org>"], 530, 530),
    "a domain beyond ASCII, without SMTPUTF8": (
        [HELLO, LOGIN, "MAIL FROM:<joe@b\u00fccher.example>"],
        250,
        550,
    ),
    "an ENVID of 101 characters": (
        [HELLO, LOGIN, f"MAIL FROM:<joe@example.org> ENVID={'x' * 101}"],
        250,
        501,
    ),
    "a parameter that nobody knows": ([HELLO, LOGIN, "MAIL FROM:<joe@example.org> FOO"], 250, 555),
    "REQUIRETLS in clear": ([HELLO, LOGIN, "MAIL FROM:<joe@example.org> REQUIRETLS"], 530, 530),
    "a command that is disabled": ([HELLO, "VRFY joe"], 500, 502),
    "a command that nobody knows": ([HELLO, "FOO"], 500, 500),
    "a second MAIL": (
        [HELLO, LOGIN, "MAIL FROM:<joe@example.org>", "MAIL FROM:<joe@example.org>"],
        503,
        503,
    ),
    "DATA without recipients": ([HELLO, LOGIN, "MAIL FROM:<joe@example.org>", "DATA"], 503, 503),
}


class Reference:
    """The reference, in a process of its own, which ends with its standard input."""

    def __init__(self) -> None:
        node = need("node")
        if not (FOLDER / "node_modules" / "smtp-server").is_dir():
            if os.environ.get("CI"):
                raise AssertionError("smtp-server isn't installed, and CI needs it")
            raise SkipTest("smtp-server isn't installed: run npm install in tests/clients")
        self._process = subprocess.Popen(
            [node, str(FOLDER / "smtpserver.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            self.stop()
            raise AssertionError("the reference didn't start")
        self.strict, self.lenient, self.login, self.proxy = json.loads(line)

    def stop(self) -> None:
        """End it, and wait for that."""
        self._process.communicate(timeout=PATIENCE)


class Dialogue:
    """A conversation with the reference."""

    def __init__(self, port: int, first: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file: IO[bytes] = self._socket.makefile("rb")
        if first:
            self._socket.sendall(first)
        else:
            self._answer()

    def say(self, line: str) -> tuple[int, str]:
        """Say a line; return code and text of the answer."""
        self._socket.sendall(line.encode() + b"\r\n")
        return self._answer()

    def _answer(self) -> tuple[int, str]:
        while True:
            line = self._file.readline()
            if line[3:4] != b"-":
                return int(line[:3]), line[4:].decode().strip()

    def rest(self) -> bytes:
        """All until the connection is closed."""
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class ReferenceTests(SynchronousTestCase):
    """The same lines to both."""

    def setUp(self) -> None:
        """Start the reference."""
        self.reference = Reference()
        self.addCleanup(self.reference.stop)

    def theirs(self, lenient: bool, before: list[str], lines: list[str]) -> list[str | None]:
        """The address that the reference's handler saw in each line, in lower case."""
        dialogue = Dialogue(self.reference.lenient if lenient else self.reference.strict)
        self.addCleanup(dialogue.close)
        for line in before:
            self.assertEqual(dialogue.say(line)[0], 250)
        seen: list[str | None] = []
        for line in lines:
            _, saw, address = dialogue.say(line)[1].partition("saw ")
            seen.append(json.loads(address).lower() if saw else None)
        return seen

    def ours(self, lenient: bool, before: list[str], lines: list[str]) -> list[str | None]:
        """Likewise for ours."""
        seen: list[str | None] = []

        def look(address, session):
            if address.address != "sender@client.example":
                seen[-1] = address.address.lower()
                raise Rejection("seen")

        for line in lines:
            client = connect(onMailFrom=look, onRcptTo=look, lenientAddressParsing=lenient)
            client.pipeline(*before)
            seen.append(None)
            client.say(line.encode())
        return seen

    def differences(self, lenient: bool) -> set[str]:
        """The arguments of which the two make something else."""
        mail = [f"MAIL FROM{text}{'' if text.isascii() else ' SMTPUTF8'}" for text in ARGUMENTS]
        rcpt = [f"RCPT TO{text}" for text in ARGUMENTS]
        sender = "MAIL FROM:<sender@client.example> SMTPUTF8"
        found = set()
        for before, lines in (([HELLO], mail), ([HELLO, sender], rcpt)):
            both = self.theirs(lenient, before, lines), self.ours(lenient, before, lines)
            found |= {text for text, a, b in zip(ARGUMENTS, *both, strict=True) if a != b}
        return found

    def test_lenient(self) -> None:
        """lenientAddressParsing takes and refuses what it does there, but for what is listed."""
        self.assertEqual(self.differences(lenient=True), set(LENIENT_DIFFERENCES))

    def test_strict(self) -> None:
        """So does strict parsing, but for what RFC 5321 says otherwise."""
        self.assertEqual(self.differences(lenient=False), set(STRICT_DIFFERENCES))

    def test_hello(self) -> None:
        """Both take any hello that is one word without controls."""
        found = {}
        for argument in HELLOS:
            dialogue = Dialogue(self.reference.strict)
            code, _ = dialogue.say(f"EHLO {argument}")
            dialogue.close()
            ours = connect().say(f"EHLO {argument}".encode()).code
            if (code == 250) is not (ours == 250):
                found[argument] = (code, ours)
        self.assertEqual(found, {})

    def test_dialogues(self) -> None:
        """What else is said to both is answered as the porting guide has it."""
        options: dict[str, Any] = {"allowInsecureAuth": True, "selfSigned": True}
        options |= {"extensions": ["DSN", "REQUIRETLS"], "disabledCommands": ["VRFY"]}
        found = {}
        for name, (lines, *_) in DIALOGUES.items():
            dialogue = Dialogue(self.reference.login)
            self.addCleanup(dialogue.close)
            client = connect(onAuth=lambda *_: "joe", **options)
            for line in lines:
                theirs, _ = dialogue.say(line)
                ours = client.say(line.encode()).code
            found[name] = (lines, theirs, ours)
        self.assertEqual(found, DIALOGUES)

    def test_badProxyHeader(self) -> None:
        """A PROXY header that is none gets a line there, and no answer here."""
        dialogue = Dialogue(self.reference.proxy, b"EHLO client.example\r\n")
        self.addCleanup(dialogue.close)
        self.assertEqual(dialogue.rest(), b"* BAD Invalid PROXY header\r\n")
        client = connect(useProxy=True)
        client.send(b"EHLO client.example\r\n")
        self.assertEqual((client.greeting, client.answers(), client.isClosed), (None, [], True))
