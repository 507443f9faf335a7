"""
Messages in PostgreSQL, with a queue for those who consume them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.handlers.base import SMTPHandler
from twisted_smtpserver.headers import receivedHeader, returnPathHeader
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.message.incoming import IncomingMessage
from twisted_smtpserver.session import Envelope, Session
from twisted_smtpserver.stores.base import (
    DEADLINE,
    MAX_HOPS,
    BackOff,
    Traced,
    Unavailable,
    outcomes,
    reasonOf,
    within,
)
from twisted_smtpserver.stores.postgres.record import Record
from twisted_smtpserver.stores.postgres.schema import DEFAULT_TABLE, checkTable
from twisted_smtpserver.stores.postgres.threads import Desk, Job
from twisted_smtpserver.stores.postgres.writing import Lost, Message, Writer

_log = Logger()

#: How many threads and connections a store has, unless told otherwise.
POOL_SIZE = 8

#: How often messages that were consumed long ago are looked for, in seconds.
SWEEP_INTERVAL = 3600.0


class PostgresStore(SMTPHandler):
    """
    Stores each message in PostgreSQL: its octets, envelope, header fields and parsed view, and a
    row in a queue, all in one transaction. It is answered 250 when that is durable.

    :func:`~twisted_smtpserver.stores.postgres.claim` takes messages out of the queue, in any
    program. ``python -m twisted_smtpserver.stores.postgres migrate`` makes the tables.

    ``Return-Path:`` and ``Received:`` are put before the message. A message is written down first,
    in memory up to 1 MiB and then in a file, so that slow clients keep no connection busy. If the
    connection is lost in the middle of the commit, the store asks over another one: the envelope's
    id and the content tell whether the message is there, and it is stored once.

    :param dsn: the database, as libpq takes it: ``postgresql://user@host/name``.
    :param table: the table's name, optionally with a schema before it. The other tables' names
        begin with it.
    :param password: instead of one in the DSN.
    :param poolSize: how many threads and connections there are at most.
    :param deadline: how long the database may take, in seconds; then the client gets 451.
    :param retention: messages are deleted so long after they were consumed, in seconds; ``None``
        keeps them.
    :param hostName: our name in ``Received:``; by default this machine's.
    :param maxHops: refuse a message with this many ``Received:`` fields (RFC 5321 §6.3).
    :param reactor: by default the reactor.
    :raises ConfigurationError: if the DSN or the table's name is invalid.
    """

    def __init__(
        self,
        dsn: str,
        table: str = DEFAULT_TABLE,
        *,
        password: str | None = None,
        poolSize: int = POOL_SIZE,
        deadline: float = DEADLINE,
        retention: float | None = None,
        hostName: str | None = None,
        maxHops: int = MAX_HOPS,
        reactor: Any = None,
    ) -> None:
        self._where = _whereIs(dsn)
        try:
            self._table = checkTable(table)
        except ValueError as error:
            raise ConfigurationError(f"PostgresStore: {error}") from None
        self._reactor = reactor or theReactor()
        self._writer = Writer(dsn, password, table, deadline)
        self._desk = Desk(self._writer.connect, poolSize, self._reactor)
        self._backOff = BackOff(self._reactor)
        self._deadline = deadline
        self._retention = retention
        self._nextSweep = 0.0
        self._hostName = hostName
        self._maxHops = maxHops

    def __repr__(self) -> str:
        return f"<PostgresStore {self._table} in {self._where}>"

    async def onData(self, stream: IncomingMessage, session: Session) -> str:
        """
        Store a message.

        :returns: the text for the client, which has the transaction's id.
        :raises Rejection: 451 if it can't be stored now, 452 if the database's disk is full.
        """
        envelope = session.envelope
        trace = returnPathHeader(envelope) + receivedHeader(session, hostName=self._hostName)
        record = Record.of(session)
        spool = Spool()
        with outcomes(self, envelope):
            try:
                self._backOff.check()
                await spool.fill(Traced(trace, stream, self._maxHops))
                await self._write(record, spool, envelope)
            finally:
                spool.close()
        self._sweep()
        return f"Message stored as {envelope.id}"

    def check(self) -> Deferred[None]:
        """
        Look whether messages can be stored. If not, the log says why.

        :returns: a Deferred that fires when that is known.
        """
        looked: Deferred[None] = self._desk.run(Job(), lambda connection, job: None)
        text = "{store} can't be used: {reason}; until it can, clients get 451"
        return looked.addErrback(self._tell, text)

    def ready(self) -> Deferred[None]:
        """
        Look whether messages can be stored.

        :returns: a Deferred that fails if not.
        """
        return self._desk.run(Job(), _askNothing)

    def close(self) -> None:
        """End all connections. What is stored afterwards opens new ones."""
        self._desk.close()

    async def _write(self, record: Record, spool: Spool, envelope: Envelope) -> None:
        deadline = self._reactor.seconds() + self._deadline
        try:
            try:
                await self._attempt(record, spool, envelope, deadline)
            except Lost:
                # Was it committed? Nothing is stored that is there already.
                await self._attempt(record, spool, envelope, deadline)
        except Unavailable:
            self._backOff.failed()
            raise
        self._backOff.succeeded()

    def _attempt(
        self, record: Record, spool: Spool, envelope: Envelope, deadline: float
    ) -> Deferred[None]:
        message = Message(record, spool.open(), spool.size, envelope.beginCommit)
        attempt = self._desk.run(Job(), partial(self._writer.write, message))
        seconds = max(0.0, deadline - self._reactor.seconds())
        return within(self._reactor, seconds, attempt, "PostgreSQL")

    def _sweep(self) -> None:
        """Now and then, delete what was consumed long ago. Nobody waits for it."""
        now = self._reactor.seconds()
        if self._retention is None or now < self._nextSweep:
            return
        self._nextSweep = now + SWEEP_INTERVAL
        swept = self._desk.run(Job(), partial(self._writer.expire, self._retention))
        swept.addErrback(self._tell, "{store}: old messages can't be deleted: {reason}")

    def _tell(self, failure: Failure, text: str) -> None:
        error = failure.value
        if not isinstance(error, CancelledError):  # the server stops
            assert error is not None  # it is, for static analysis only
            _log.error(text, store=self, reason=reasonOf(error))


def _askNothing(connection: Any, job: Job) -> None:
    """(In a thread.) A connection may be open, and its database gone."""
    connection.execute("SELECT 1")


def _whereIs(dsn: str) -> str:
    """The database, for the log: without user and password."""
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:  # its text may repeat the password
        raise ConfigurationError(
            "PostgresStore: the DSN isn't valid: write postgresql://USER@HOST:PORT/DATABASE"
        ) from None
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = f":{parts['port']}" if "port" in parts else ""
    return f"{parts.get('dbname') or 'the default database'} at {host}{port}"
