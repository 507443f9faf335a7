"""What hostile clients do, and what the server is like that they do it to."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted_smtpserver.sasl import scramSecret

#: What a client sends at a time, in octets.
SEGMENT = 124 * 1024

#: How many attack at the same time where one alone does little.
CROWD = 200

_HELLO = b"EHLO client.example\r\n"
_MAIL = b"MAIL FROM:<joe@example.org>\r\n"
_RCPT = b"RCPT TO:<jane@example.com>\r\n"
_MESSAGE = _MAIL + _RCPT + b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
_FIELDS = b"From: a@b.example\r\nDate: x\r\nMessage-ID: <a@b>\r\n" + b"A: b\r\n" * 1900
_MANY_FIELDS = _MAIL + _RCPT + b"DATA\r\n" + _FIELDS + b"\r\nx\r\n.\r\n"
_IDNA = ".".join(["\u03b1" * 23 + "\u30fb" * 26 + "\u3042"] * 2).encode()


def _login(mechanism: bytes, *responses: bytes) -> bytes:
    """A login whose answers don't wait for what they answer."""
    lines = (base64.b64encode(each) for each in responses)
    return b"AUTH " + mechanism + b" " + b"\r\n".join(lines) + b"\r\n"


_NONCE = b"x" * 512
_FINAL = b"c=biws,r=" + _NONCE + b",p=" + base64.b64encode(b"x" * 32)


def _withAliases(folder: Path) -> tuple[str, ...]:
    """An address that stands for as many others as one may."""
    targets = ",".join(f"user{number}@example.org" for number in range(1000))
    (folder / "recipients").write_text(f"jane@example.com {targets}\npostmaster jane@example.com\n")
    return ("--recipients", str(folder / "recipients"))


def _withUsers(folder: Path) -> tuple[str, ...]:
    """Users with SCRAM secrets."""
    (folder / "users").write_text(f"joe:{scramSecret('sesame').toString()}\n")
    auth = f"htpasswd:{folder / 'users'}"
    return (
        "--auth",
        auth,
        "--allow-insecure-auth",
        "--auth-failure-delay",
        "0",
        "--max-allowed-unauthenticated-commands",
        "1000000000",
    )


def _withTLS(folder: Path) -> tuple[str, ...]:
    port = "tcp:0:interface=127.0.0.1"
    return ("--self-signed", "--listen", port, "--listen-tls", port)


def _withMilter(folder: Path) -> tuple[str, ...]:
    return ("--milter", f"unix:{folder / 'milter'}")


def _withFilter(folder: Path) -> tuple[str, ...]:
    """Nothing waits for anything."""
    return ("--require-fields", "--discard")


def _plain(folder: Path) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Attack:
    """
    One attack.

    :ivar first: what each client says once.
    :ivar repeated: what it sends again and again.
    :ivar isUnread: whether it takes no answers.
    :ivar tls: ``starttls``, ``implicit``, or empty for none.
    :ivar piece: how many octets it sends at a time.
    :ivar clients: how many do so at the same time, unless told otherwise.
    :ivar milter: what the server's milter does; see :mod:`tests.reliability.hostile.milter`.
    :ivar makeFlags: makes the server's flags, in a folder for its files.
    """

    first: bytes = b""
    repeated: bytes = b""
    isUnread: bool = False
    tls: str = ""
    piece: int = SEGMENT
    clients: int = 1
    milter: str = ""
    makeFlags: Callable[[Path], tuple[str, ...]] = _plain

    @property
    def keeps(self) -> bool:
        """Whether messages that a client sends without a login are stored as they are."""
        return self.makeFlags in (_plain, _withTLS)


def _crowd(repeated: bytes, first: bytes = _HELLO, tls: str = "", piece: int = SEGMENT) -> Attack:
    makeFlags = _withTLS if tls else _plain
    return Attack(first, repeated, True, tls, piece, CROWD, makeFlags=makeFlags)


def _milter(does: str) -> Attack:
    return Attack(_HELLO, _MESSAGE, clients=3, milter=does, makeFlags=_withMilter)


def _scram(*responses: bytes) -> Attack:
    login = _login(b"SCRAM-SHA-256", *responses)
    return Attack(_HELLO, login, clients=3, makeFlags=_withUsers)


_ONE_BY_ONE: dict[str, Attack] = {
    "none": Attack(),
    "noop": Attack(_HELLO, b"NOOP\r\n"),
    "ehlo": Attack(b"", b"EHLO a\r\n"),
    "rset": Attack(_HELLO, b"RSET\r\n"),
    "help": Attack(_HELLO, b"HELP\r\n"),
    "help-unread": Attack(_HELLO, b"HELP\r\n", isUnread=True),
    "unknown": Attack(_HELLO, b"XYZZY\r\n"),
    "empty-lines": Attack(_HELLO, b"\r\n"),
    "no-newline": Attack(_HELLO, b"x" * 4096),
    "idna-ehlo": Attack(b"", b"EHLO " + _IDNA + b"\r\n"),
    "idna-mail": Attack(_HELLO, b"MAIL FROM:<a@" + _IDNA + b"> SMTPUTF8\r\nRSET\r\n"),
    "idna-rcpt": Attack(
        _HELLO + b"MAIL FROM:<a@b.example> SMTPUTF8\r\n", b"RCPT TO:<a@" + _IDNA + b">\r\n"
    ),
    "rcpt": Attack(_HELLO + _MAIL, _RCPT),
    "transactions": Attack(_HELLO, _MAIL + _RCPT + b"RSET\r\n"),
    "chunks-0": Attack(_HELLO + _MAIL + _RCPT, b"BDAT 0\r\n"),
    "chunks-1": Attack(_HELLO + _MAIL + _RCPT, b"BDAT 1\r\nx"),
    "dots": Attack(_HELLO + _MAIL + _RCPT + b"DATA\r\n", b"..\r\n"),
    "newlines": Attack(_HELLO + _MAIL + _RCPT + b"DATA\r\n", b"\r\n"),
    "messages": Attack(_HELLO, _MAIL + _RCPT + b"DATA\r\n\r\nx\r\n.\r\n"),
    "discarded": Attack(_HELLO, _MESSAGE, makeFlags=_withFilter),
    "fields": Attack(_HELLO, _MANY_FIELDS, makeFlags=_withFilter),
    "aliases": Attack(_HELLO, _MAIL + _RCPT * 10 + b"RSET\r\n", makeFlags=_withAliases),
    "scram-nonce": _scram(b"n,,n=joe,r=" + _NONCE, _FINAL),
    "scram-nobody": _scram(b"n,,n=\xef\xb7\xba,r=x", _FINAL),
    "scram-binding": _scram(b"p=tls-exporter,,n=joe,r=x", b"c=,r=x,p="),
    "scram-huge": _scram(b"n,,n=joe,r=" + b"x" * 8000),
    "scram-steps": _scram(b"n,,n=joe,r=x", *[b""] * 1000),
    "password": Attack(_HELLO, _login(b"PLAIN", b"\0joe\0" + b"x" * 100_000), makeFlags=_withUsers),
    "wrong-password": Attack(
        _HELLO, _login(b"PLAIN", b"\0joe\0" + b"x" * 1000), clients=20, makeFlags=_withUsers
    ),
}

_CROWDS: dict[str, Attack] = {
    "crowd-help": _crowd(b"HELP\r\n"),
    "crowd-ehlo": _crowd(b"EHLO a\r\n"),
    "crowd-noop": _crowd(b"NOOP\r\n"),
    "crowd-vrfy": _crowd(b"VRFY joe\r\n"),
    "crowd-bdat": _crowd(b"BDAT 1\r\nx", _HELLO + _MAIL + _RCPT),
    "crowd-starttls": _crowd(b"HELP\r\n", tls="starttls"),
    "crowd-implicit": _crowd(b"HELP\r\n", tls="implicit"),
    "crowd-records": dataclasses.replace(
        _crowd(b"NOOP\r\n", tls="implicit", piece=1), isUnread=False
    ),
}

_MILTERS: dict[str, Attack] = {
    f"milter-{does}": _milter(does)
    for does in (
        *(
            "good",
            "discard",
            "garbage",
            "noise",
            "silent",
            "octets",
            "large",
            "progress",
            "early-progress",
        ),
        *("fields", "many-fields", "forbidden", "breaks", "body", "closing"),
    )
}

#: All attacks, by name.
ATTACKS: dict[str, Attack] = _ONE_BY_ONE | _CROWDS | _MILTERS
