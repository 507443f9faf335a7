"""Tests for ``python -m twisted_smtpserver.stores.postgres``, with a real PostgreSQL."""

from __future__ import annotations

import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from tests.stores.postgres.database import command, emptyDatabase
from twisted_smtpserver.stores.postgres import schema
from twisted_smtpserver.stores.postgres.__main__ import main


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.postgres = emptyDatabase()

    def test_migrate(self) -> None:
        """The tables are made once, in a schema too."""
        with psycopg.connect(self.postgres.dsn) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS site")
        for table in ("site.mail", "again"):
            got = [command(self.postgres, "--table", table, "migrate") for _ in range(2)]
            expected = [(0, f"{table}: version 1\n"), (0, f"{table}: version 1 already\n")]
            self.assertEqual(got, expected)

    def test_expire(self) -> None:
        """What was consumed long ago is deleted, many at a time; nothing else is."""
        statement = (
            "INSERT INTO mail (envelope_id, content_hash, sender, recipients, envelope, headers,"
            " size, done_at) SELECT n::text, '', '', '{}', '{}', '[]', 0,"
            " CASE WHEN n > 5 THEN now() - interval '40 days' END FROM generate_series(1, 10) n"
        )
        with psycopg.connect(self.postgres.dsn, autocommit=True) as connection:
            connection.execute(statement)
            self.assertEqual(schema.expire(connection, "mail", 86400 * 50), 0)
            self.assertEqual(schema.expire(connection, "mail", 86400 * 30, many=2), 5)
        self.assertEqual(command(self.postgres, "expire", "--days", "1"), (0, "0 deleted\n"))

    def test_newer(self) -> None:
        """Tables of a newer program are left alone."""
        self.assertEqual(command(self.postgres, "--table", "newer", "migrate")[0], 0)
        with psycopg.connect(self.postgres.dsn) as connection:
            connection.execute("INSERT INTO newer_schema VALUES (99)")
        self.assertRefused("has version 99", "--dsn", self.postgres.dsn, "--table=newer", "migrate")

    def assertRefused(self, text: str, *words: str) -> None:
        with redirect_stderr(StringIO()) as errors:
            self.assertEqual(main(words), 1)
        self.assertIn(text, errors.getvalue())
        self.assertEqual(errors.getvalue().count("\n"), 1)

    def test_refused(self) -> None:
        """What goes wrong is said in one line."""
        dsn = "postgresql://mail@127.0.0.1:1/x"
        self.assertRefused("Connection refused", "--dsn", dsn, "status")
        self.assertRefused("is not a table name", "--dsn", dsn, "--table=Mail", "status")

    def test_module(self) -> None:
        """It is a command."""
        self.patch(sys, "argv", ["postgres", "--help"])
        # It was imported already, which runpy doesn't like.
        self.patch(sys, "modules", {**sys.modules})
        del sys.modules["twisted_smtpserver.stores.postgres.__main__"]
        with redirect_stdout(StringIO()) as output, self.assertRaises(SystemExit):
            runpy.run_module("twisted_smtpserver.stores.postgres", run_name="__main__")
        self.assertIn("python -m twisted_smtpserver.stores.postgres", output.getvalue())
