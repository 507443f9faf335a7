"""PostgresStore, with a real PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from twisted.trial.unittest import TestCase

from tests.stores.suite import StoreSuite
from tests.support.services import Postgres, once
from twisted_smtpserver.stores.postgres import PostgresStore, claim
from twisted_smtpserver.stores.postgres.__main__ import main


@once
def startPostgres() -> Postgres:
    postgres = Postgres()
    postgres.begin()
    assert main(["--dsn", postgres.dsn, "migrate"]) == 0
    return postgres


class SuiteTests(StoreSuite, TestCase):
    """All that must be true of a store."""

    async def startService(self) -> int:
        """It runs for all tests, unless one has killed it."""
        self.postgres = startPostgres()
        if not self.postgres.isRunning:
            self.postgres.begin()
        with psycopg.connect(self.postgres.dsn) as connection:
            if not self.isSecondStart:
                connection.execute("TRUNCATE mail CASCADE")
        self.isSecondStart = True
        return self.postgres.port

    isSecondStart = False

    async def killService(self) -> None:
        """Kill -9, where that is the point; otherwise the next test goes on with it."""
        if self._testMethodName in ("test_killed", "test_restarted"):
            self.postgres.kill()

    async def received(self) -> list[bytes]:
        """The messages, from the queue."""
        with psycopg.connect(self.postgres.dsn) as connection:
            rows = connection.execute(
                "SELECT string_agg(octets, '' ORDER BY n) FROM mail_body GROUP BY mail_id"
            )
            return [row[0] for row in rows]

    def makeStore(self, port: int) -> Any:
        """By way of the relay."""
        return PostgresStore(self.postgres.dsnAt(port), deadline=self.deadline)
