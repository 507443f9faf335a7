"""``python -m twisted_smtpserver passwd``: adds, changes, deletes and checks users of a file."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn, TextIO

from twisted_smtpserver.sasl.names import MAX_PASSWORD, saslprep
from twisted_smtpserver.tables.watched import WatchedFile
from twisted_smtpserver.users.editing import changeFile
from twisted_smtpserver.users.schemes import SCHEMES, Scram
from twisted_smtpserver.users.table import UserTable, preparedName

__all__ = ["main"]

_DESCRIPTION = (
    "Adds a user to a file for twistd smtpserver --auth htpasswd:FILE, or changes a password. The"
    " password is asked for twice, and isn't shown. A running server sees the change within a"
    " second."
)


def main(
    arguments: Sequence[str],
    ask: Callable[[str], str] = getpass.getpass,
    stdin: TextIO | None = None,
    output: TextIO | None = None,
) -> None:
    """
    Run the command.

    :param arguments: what follows ``passwd``.
    :param ask: asks for a password without showing it.
    :param stdin: where ``--stdin`` reads; by default the standard input.
    :param output: where to say what was done; by default the standard output.
    :raises SystemExit: at the end, if something is wrong; 1 if ``--verify`` finds the password
        wrong.
    """
    said = _parser().parse_args(arguments)
    name = _checkedName(said.name)
    try:
        done = _run(said, name, ask, stdin or sys.stdin)
    except (ValueError, OSError) as error:
        _fail(_inWords(error))
    (output or sys.stdout).write(f"{done}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twisted_smtpserver passwd", description=_DESCRIPTION
    )
    parser.add_argument("file", metavar="FILE", help="the file; it is created if it doesn't exist")
    parser.add_argument("name", metavar="NAME", help="the user's name")
    parser.add_argument(
        "--scheme",
        choices=SCHEMES,
        default="argon2id",
        help="how to hash the password [%(default)s]",
    )
    parser.add_argument(
        "--scram", action="store_true", help="also store a SCRAM secret, for SCRAM-SHA-256"
    )
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="read the password from the first line of standard input",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--delete", action="store_true", help="delete the user")
    what.add_argument("--verify", action="store_true", help="check the password, change nothing")
    return parser


def _run(said: argparse.Namespace, name: str, ask: Callable[[str], str], stdin: TextIO) -> str:
    if said.delete:
        return _delete(said.file, name)
    if said.verify:
        table = _read(said.file)
        if not table.check(name, _password(ask, stdin if said.stdin else None, once=True)):
            _fail("the password is wrong, or there is no such user")
        return "The password is right."
    password = _password(ask, stdin if said.stdin else None)
    kept = [SCHEMES[said.scheme].make(password.encode("utf-8"))]
    if said.scram and said.scheme != Scram.name:
        kept.append(SCHEMES[Scram.name].make(password.encode("utf-8")))
    isNew = _set(said.file, name, kept)
    return f"The user was {'added' if isNew else 'changed'}.{_whatIsWrong(said.file)}"


def _checkedName(text: str) -> str:
    name = preparedName(text)
    if not name or ":" in name or name[0] == "#" or name != name.strip():
        _fail("a name has no colon or control character, no # in front, no blank at either end")
    return name


def _password(ask: Callable[[str], str], stdin: TextIO | None, once: bool = False) -> str:
    """
    :param stdin: where to read it; ``None`` to ask for it.
    :returns: the password, prepared by SASLprep.
    :raises ValueError: if it can't be one.
    """
    if stdin is not None:
        text = stdin.readline().rstrip("\r\n")
    else:
        text = ask("Password: ")
        if not once and ask("The same again: ") != text:
            raise ValueError("the passwords differ")
    password = saslprep(text)
    if not password:
        raise ValueError("the password is empty, or has control characters")
    if len(password.encode("utf-8")) > MAX_PASSWORD:
        raise ValueError(f"the password has more than {MAX_PASSWORD} octets")
    return password


def _whatIsWrong(path: str) -> str:
    """Why a server can't use the file, which may have other lines than the new ones."""
    try:
        _read(path)
    except ValueError as error:
        return f" But the server can't use the file: {error}"
    return ""


def _read(path: str) -> UserTable:
    return WatchedFile(path, partial(UserTable.parse, plainText=True)).load()


def _isAbout(line: str, name: str) -> bool:
    text, colon, _ = line.partition(":")
    return bool(colon) and not line.lstrip().startswith("#") and preparedName(text.strip()) == name


def _set(path: str, name: str, kept: Sequence[str]) -> bool:
    """Put a user's lines where the old ones are, or at the end."""
    isNew = False

    def edit(lines: list[str]) -> list[str]:
        nonlocal isNew
        places = [place for place, line in enumerate(lines) if _isAbout(line, name)]
        isNew = not places
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        new = [f"{name}:{each}\n" for each in kept]
        if isNew:
            return lines + new
        rest = [line for place, line in enumerate(lines) if place not in places[1:]]
        return rest[: places[0]] + new + rest[places[0] + 1 :]

    changeFile(path, edit, create=True)
    return isNew


def _delete(path: str, name: str) -> str:
    def edit(lines: list[str]) -> list[str]:
        rest = [line for line in lines if not _isAbout(line, name)]
        if len(rest) == len(lines):
            raise ValueError("there is no such user")
        return rest

    changeFile(path, edit, create=False)
    return "The user was deleted."


def _inWords(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename or 'the file')!r}: {error.strerror}"
    return str(error)


def _fail(reason: str) -> NoReturn:
    raise SystemExit(f"passwd: {reason}")
