"""
The tables of the inbox's database.

What can be large is in pieces: of a value SQLite makes several copies, and Python one more, each in
one go, while all other threads wait.
"""

from __future__ import annotations

import os
import sqlite3

from twisted_smtpserver.errors import ConfigurationError

#: The version of the tables. A file of another version isn't touched.
VERSION = 2

_TABLES = """
CREATE TABLE message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    read INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    subject TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    cc TEXT NOT NULL,
    bcc TEXT NOT NULL,
    replyTo TEXT NOT NULL,
    messageId TEXT NOT NULL,
    attachments INTEGER NOT NULL,
    inlines INTEGER NOT NULL,
    summary TEXT NOT NULL
);
CREATE INDEX unread ON message (read) WHERE read = 0;
CREATE TABLE body (
    seq INTEGER PRIMARY KEY,
    headers TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE TABLE part (
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    fileName TEXT NOT NULL,
    contentType TEXT NOT NULL,
    contentId TEXT NOT NULL,
    inline INTEGER NOT NULL,
    size INTEGER NOT NULL,
    checksums TEXT NOT NULL,
    PRIMARY KEY (seq, number)
);
-- Number 0 is the message as it was received; the others are its parts' contents.
CREATE TABLE piece (
    seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    octets BLOB NOT NULL,
    PRIMARY KEY (seq, number, position)
);
CREATE TABLE tag (
    seq INTEGER NOT NULL,
    name TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (seq, name)
) WITHOUT ROWID;
CREATE INDEX tagName ON tag (name);
-- Trigrams: any piece of a word is found, and languages without blanks are, too.
CREATE VIRTUAL TABLE words USING fts5 (content, tokenize = 'trigram');
"""

#: Every table that has a row for each message, and the column with its number.
KEYED = (
    *(("message", "seq"), ("body", "seq"), ("part", "seq"), ("piece", "seq"), ("tag", "seq")),
    ("words", "rowid"),
)


def openDatabase(path: str | None) -> sqlite3.Connection:
    """
    Open a database, and create its tables if it is new.

    :param path: its file; ``None`` for one that is gone when it is closed: what isn't in SQLite's
        cache is in a temporary file without a name.
    :raises ConfigurationError: if it can't be used; the text says what to do.
    """
    try:
        if path is not None:  # other users of this machine shouldn't read the mail
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(
            path or "", check_same_thread=False, isolation_level=None, timeout=0
        )
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"{path!r}: {getattr(error, 'strerror', error)}") from error
    try:
        _prepare(database, isTemporary=path is None)
    except sqlite3.Error as error:
        database.close()
        raise ConfigurationError(f"{path!r}: {_advice(error)}") from error
    return database


def _prepare(database: sqlite3.Connection, isTemporary: bool) -> None:
    # No other process may write, because the counts are in memory.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    isNew = not database.execute("SELECT 1 FROM sqlite_master").fetchone()
    if version not in (0, VERSION):
        raise sqlite3.DatabaseError("it is the inbox of another version; choose a new file")
    if version == 0 and not isNew:
        raise sqlite3.DatabaseError("it is another program's database; choose a new file")
    if isTemporary:
        database.execute("PRAGMA secure_delete = OFF")
    else:
        database.execute("PRAGMA auto_vacuum = FULL")  # deleted mail gives its disk space back
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")  # 250 means that it is on the disk
    database.execute("BEGIN IMMEDIATE")
    if isNew:
        for statement in _TABLES.split(";\n"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return "another server uses this inbox; choose another file"
    if "tokenizer" in text or "fts5" in text:
        return "this Python's SQLite has no FTS5 with trigrams; SQLite 3.34 or newer is needed"
    return text
