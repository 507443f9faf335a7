"""
What of a conversation may be written down.

Not the answers to AUTH's challenges, and nothing else that may be a secret: a client whose AUTH was
refused may send its password as the next command. So of commands that aren't known there is only
that they came.
"""

from __future__ import annotations

import re

from twisted_smtpserver.wire.text import escape

#: The longest line of the peer's that is shown, in characters.
MAX_LINE = 500

# Commands with their arguments, and those without.
_WHOLE = frozenset({b"HELO", b"EHLO", b"LHLO", b"MAIL", b"RCPT", b"BDAT", b"XCLIENT", b"XFORWARD"})
_BARE = frozenset({b"DATA", b"RSET", b"NOOP", b"QUIT", b"VRFY", b"HELP", b"STARTTLS", b"AUTH"})

_MECHANISM = re.compile(
    rb"(?i)(PLAIN|LOGIN|EXTERNAL|CRAM-MD5|SCRAM-SHA-[0-9]+(-PLUS)?|XOAUTH2|OAUTHBEARER)\Z"
)
_LOGIN = re.compile(rb"(?i)(\bLOGIN=)\S+")
_HIDDEN = "***"


def shownCommand(line: bytes, isAnswer: bool) -> str:
    """
    What a transcript has of a line of the client's.

    :param line: without its CRLF.
    :param isAnswer: whether it is the answer to a challenge.
    """
    if isAnswer:
        return _HIDDEN
    verb, _, argument = line.partition(b" ")
    name = verb.upper()
    if name in _WHOLE:
        return escape(_LOGIN.sub(rb"\1***", line) if name == b"XCLIENT" else line, MAX_LINE)
    if name not in _BARE:
        return f"(no command that is known, {len(line)} octets)"
    shown = name.decode()
    if not argument:
        return shown
    mechanism, _, _ = argument.partition(b" ")
    if name == b"AUTH" and _MECHANISM.match(mechanism):
        shown += f" {mechanism.decode().upper()}"
        argument = argument[len(mechanism) :].strip()
    return f"{shown} {_HIDDEN}" if argument else shown


def shownReply(line: bytes) -> str:
    """
    What a transcript has of a line of ours.

    :param line: without its CRLF. A challenge is as secret as its answer.
    """
    return f"334 {_HIDDEN}" if line[:3] == b"334" else escape(line, MAX_LINE)
