"""
A consumer to be killed: ``consumer.py DSN TABLE``. It prints a line when it has begun with a
message, and one when that is acknowledged.
"""

from __future__ import annotations

import sys

from twisted_smtpserver.stores.postgres import claim


def main(dsn: str, table: str) -> None:
    """Consume until killed."""
    for mail in claim(dsn, table=table, visibility=2):
        say("begun", mail.parsed["subject"] if mail.parsed else "")
        content = mail.read()
        assert len(content) == mail.size
        mail.acknowledge()
        say("done", mail.parsed["subject"] if mail.parsed else "")


def say(*words: str) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
