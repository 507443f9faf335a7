"""A message's row in the database, without its octets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.stores.postgres.schema import PIECE_SIZE


@dataclass(frozen=True)
class Record:
    """
    A row of the table.

    :ivar envelopeId: the transaction's id.
    :ivar sender: the reverse-path.
    :ivar recipients: the forward-paths, each once.
    :ivar envelope: all else, in JSON.
    """

    envelopeId: str
    sender: str
    recipients: list[str]
    envelope: str

    @classmethod
    def of(cls, session: Session) -> Record:
        """
        :param session: the session, in a transaction.
        """
        envelope = session.envelope
        return cls(
            envelopeId=storable(envelope.id),
            sender=storable(str(envelope.mailFrom or "")),
            recipients=[storable(str(address)) for address in envelope.recipients],
            envelope=inJSON(_session(session) | _envelope(envelope)),
        )


def _session(session: Session) -> dict[str, Any]:
    tls = session.tls
    user = session.user
    return {
        "remoteAddress": session.remoteAddress,
        "remotePort": session.remotePort,
        "clientHostname": session.clientHostname,
        "hostNameAppearsAs": session.hostNameAppearsAs,
        "transmissionType": session.transmissionType,
        "sessionId": session.id,
        "tls": None if tls is None else tls.version,
        "user": user.decode("utf-8", "replace") if isinstance(user, bytes) else _text(user),
    }


def _envelope(envelope: Envelope) -> dict[str, Any]:
    dsn = envelope.dsn
    return {
        "bodyType": envelope.bodyType,
        "smtpUtf8": envelope.smtpUtf8,
        "requireTLS": envelope.requireTLS,
        "ret": dsn and dsn.ret,
        "envid": dsn and dsn.envid,
        "recipients": [_recipient(address) for address in envelope.recipients],
    }


def _recipient(address: Address) -> dict[str, Any]:
    dsn = address.dsn
    return {
        "address": address.address,
        "args": address.args,
        "notify": list(dsn.notify) if dsn else [],
        "orcpt": dsn and dsn.orcpt,
    }


def _text(user: Any) -> str | None:
    """The user as text; an application's own object isn't stored."""
    return user if isinstance(user, str) else None


def storable(text: str) -> str:
    """
    Text that PostgreSQL accepts: without NUL, and without what UTF-8 can't encode.

    :param text: any text.
    """
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def inJSON(value: Any) -> str:
    """
    A value in JSON that PostgreSQL accepts.

    :param value: dicts, lists, texts, numbers …
    """
    return json.dumps(_storable(value), ensure_ascii=False)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(str(key)): _storable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(inner) for inner in value]
    return value


def digest(content: IO[bytes]) -> bytes:
    """
    What tells a message's content from any other.

    :param content: read from its beginning.
    """
    content.seek(0)
    sha256 = hashlib.sha256()
    for piece in pieces(content):
        sha256.update(piece)
    return sha256.digest()


def pieces(content: IO[bytes]) -> Iterator[bytes]:
    """
    The rows of a message's octets: at least one.

    :param content: read from where it stands.
    """
    piece = content.read(PIECE_SIZE)
    yield piece
    while piece := content.read(PIECE_SIZE):
        yield piece
