"""
Mail in an SQLite database: ``twistd -n smtpserver --handler sqlite_store.makeStore``.

The client gets its 250 when the transaction is on the disk, never before.
"""

import sqlite3
import threading
import time

from twisted_smtpserver import SMTPHandler, blocking

SCHEMA = """
    CREATE TABLE IF NOT EXISTS mail (
        id TEXT PRIMARY KEY,
        received REAL NOT NULL,
        sender TEXT NOT NULL,
        content BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS recipient (
        mail TEXT NOT NULL REFERENCES mail (id),
        address TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS recipient_address ON recipient (address);
"""


class SQLiteStore(SMTPHandler):
    def __init__(self, path):
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {SCHEMA}")
        self.lock = threading.Lock()  # one connection, several threads

    async def onData(self, stream, session):
        content = await stream.read(limit=20 * 2**20)
        envelope = session.envelope
        await blocking(self.store)(
            envelope.id,
            str(envelope.mailFrom),
            [address.address for address in envelope.recipients],
            content,
        )

    def store(self, key, sender, recipients, content):
        with self.lock, self.database:  # all of it, or nothing
            self.database.execute(
                "INSERT INTO mail VALUES (?, ?, ?, ?)", (key, time.time(), sender, content)
            )
            self.database.executemany(
                "INSERT INTO recipient VALUES (?, ?)", [(key, address) for address in recipients]
            )


def makeStore():
    return SQLiteStore("mail.sqlite3")
