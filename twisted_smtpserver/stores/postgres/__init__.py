"""
PostgreSQL: messages, and a queue for their consumers. Needs the extra ``postgres``.

:class:`PostgresStore` stores; :func:`claim` consumes, in any program; ``python -m
twisted_smtpserver.stores.postgres`` prepares the database.
"""

from twisted_smtpserver.stores.postgres.consumer import AsyncMail, ClaimLost, Claims, Mail, claim
from twisted_smtpserver.stores.postgres.store import PostgresStore

__all__ = ["AsyncMail", "ClaimLost", "Claims", "Mail", "PostgresStore", "claim"]
