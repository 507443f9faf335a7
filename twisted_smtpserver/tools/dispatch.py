"""Finds the command that ``python -m twisted_smtpserver`` is given, if it is given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["COMMANDS", "findCommand"]

Command = Callable[[Sequence[str]], None]


def _passwd(arguments: Sequence[str]) -> None:
    from twisted_smtpserver.users import passwd  # which no other command needs

    passwd.main(arguments)


#: The commands by their names, and what each is for.
COMMANDS: dict[str, tuple[Command, str]] = {
    "passwd": (_passwd, "add, change, delete and check users of a file for --auth htpasswd:FILE"),
}


def findCommand(arguments: Sequence[str]) -> Command | None:
    """
    :param arguments: the command line's.
    :returns: what takes the arguments behind the first one; ``None`` if that names no command.
    """
    found = COMMANDS.get(arguments[0]) if arguments else None
    return None if found is None else found[0]
