"""
``python -m twisted_smtpserver.stores.postgres``: prepares and maintains the database.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import psycopg

from twisted_smtpserver.stores.postgres import schema

DAY = 86400


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param arguments: by default those of the command line.
    :returns: the exit status.
    """
    given = _parser().parse_args(arguments)
    try:
        schema.checkTable(given.table)
        with psycopg.connect(given.dsn, autocommit=True) as connection:
            return _run(given, connection)
    except (psycopg.Error, ValueError) as error:
        _say(" ".join(f"{error}".split()), sys.stderr)
        return 1


def _run(given: argparse.Namespace, connection: psycopg.Connection[tuple[object, ...]]) -> int:
    if given.command == "migrate":
        schema.migrate(connection, given.table, _say)
    elif given.command == "expire":
        _say(f"{schema.expire(connection, given.table, given.days * DAY)} deleted")
    elif given.command == "revive":
        _say(f"{schema.revive(connection, given.table)} put back")
    else:
        for state, number in schema.count(connection, given.table).items():
            _say(f"{state} {number}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twisted_smtpserver.stores.postgres",
        description="Prepares and maintains a PostgreSQL database for messages.",
    )
    parser.add_argument(
        "--dsn",
        default="",
        help="the database, postgresql://USER@HOST/NAME [default: PGHOST and its like]",
    )
    parser.add_argument(
        "--table", default=schema.DEFAULT_TABLE, help="the table [default: %(default)s]"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="create the tables, or bring them up to date")
    commands.add_parser("status", help="say how many messages are waiting, dead and done")
    commands.add_parser("revive", help="put dead letters back into the queue")
    expire = commands.add_parser("expire", help="delete messages that were consumed long ago")
    expire.add_argument(
        "--days", type=float, default=30, help="how many days ago [default: %(default)s]"
    )
    return parser


def _say(line: str, file: object = None) -> None:
    print(line, file=file)  # type: ignore[call-overload]  # it is a command


if __name__ == "__main__":
    sys.exit(main())
