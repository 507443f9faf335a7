"""The PostgreSQL that the tests share."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

import psycopg

from tests.support.services import Postgres, once
from twisted_smtpserver.stores.postgres.__main__ import main


@once
def startPostgres() -> Postgres:
    """Start it, with the tables."""
    postgres = Postgres()
    postgres.begin()
    assert command(postgres, "migrate") == (0, "mail: version 1\n")
    return postgres


def emptyDatabase() -> Postgres:
    """Start it if need be, maybe again; there is no message in it."""
    postgres = startPostgres()
    if not postgres.isRunning:  # a test has killed it
        postgres.begin()
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("TRUNCATE mail CASCADE")
    return postgres


def command(postgres: Postgres, *words: str) -> tuple[int, str]:
    """Run ``python -m twisted_smtpserver.stores.postgres``. Its status and its output."""
    with redirect_stdout(StringIO()) as output:
        status = main(["--dsn", postgres.dsn, *words])
    return status, output.getvalue()
