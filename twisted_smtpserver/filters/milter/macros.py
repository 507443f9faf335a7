"""
Macros: values for a milter besides the commands, named and grouped as Postfix does by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.x509.oid import NameOID

from twisted_smtpserver.filters.milter.symbols import Agreement, Command
from twisted_smtpserver.session import Address, Session

_Values = dict[str, "str | None"]

#: The macro ``v``, which milters show in their logs.
_VERSION = "twisted_smtpserver"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the values are made from."""

    session: Session
    hostName: str
    sender: Address | None
    recipient: Address | None


def macrosFor(
    stage: Command,
    session: Session,
    agreement: Agreement,
    hostName: str,
    address: Address | None = None,
) -> dict[str, str]:
    """
    Make the macros for a command.

    :param stage: the command.
    :param session: the client's session.
    :param agreement: has the macros that the milter asked for, if it did.
    :param hostName: our own name.
    :param address: the sender or the recipient that the command names.
    :returns: values by names, without braces; names whose value isn't known are left out.
    """
    sender = address if stage is Command.MAIL else session.envelope.mailFrom
    recipient = address if stage is Command.RCPT else None
    known = _Known(session, hostName, sender, recipient)
    makers = _DEFAULTS[stage] if stage not in agreement.macros else _ALL
    values: _Values = {}
    for make in makers:
        values |= make(known)
    wanted = agreement.macros.get(stage, values.keys())
    return {name: value for name, value in values.items() if value and name in wanted}


def _connection(known: _Known) -> _Values:
    session = known.session
    return {
        "j": known.hostName,
        "daemon_name": known.hostName,
        "daemon_addr": session.localAddress,
        "daemon_port": _number(session.localPort),
        "if_name": known.hostName,
        "if_addr": session.localAddress,
        "v": _VERSION,
        "_": f"{session.clientHostname} [{session.remoteAddress or 'unknown'}]",
    }


def _hello(known: _Known) -> _Values:
    tls = known.session.tls
    if tls is None:
        return {}
    values: _Values = {
        "tls_version": tls.version,
        "cipher": tls.cipher,
        "cipher_bits": _number(tls.cipherBits),
    }
    if tls.authorized and tls.peerCertificate is not None:
        values["cert_subject"] = _commonName(tls.peerCertificate.subject)
        values["cert_issuer"] = _commonName(tls.peerCertificate.issuer)
    return values


def _commonName(name: Any) -> str | None:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else None


def _mail(known: _Known) -> _Values:
    values: _Values = {"mail_mailer": "smtp", **_named("mail", known.sender)}
    session = known.session
    if session.user is not None:
        values["auth_type"] = session.authMethod
        values["auth_authen"] = _userName(session.user)
        # As in Postfix: the author that the client names with AUTH= (RFC 4954 §5).
        values["auth_author"] = known.sender.values.get("AUTH") if known.sender else None
    return values


def _securityLayer(known: _Known) -> _Values:
    # Sendmail has this macro, Postfix doesn't. None of our mechanisms has a security layer.
    return {"auth_ssf": None if known.session.user is None else "0"}


def _rcpt(known: _Known) -> _Values:
    return {"rcpt_mailer": "local", **_named("rcpt", known.recipient)}


def _named(kind: str, address: Address | None) -> _Values:
    if address is None:
        return {}
    return {f"{kind}_host": address.domain, f"{kind}_addr": address.address}


def _transaction(known: _Known) -> _Values:
    return {"i": known.session.envelope.id}


def _client(known: _Known) -> _Values:
    session = known.session
    return {
        "client_addr": session.remoteAddress,
        "client_port": _number(session.remotePort),
        "client_name": session.clientHostname,
        "client_ptr": session.clientHostname,
        "client_resolve": "OK" if not session.clientHostname.startswith("[") else "FAIL",
    }


def _userName(user: object) -> str:
    return user.decode("utf-8", "replace") if isinstance(user, bytes) else str(user)


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)


_DEFAULTS: dict[Command, tuple[Callable[[_Known], _Values], ...]] = {
    Command.CONNECT: (_connection,),
    Command.HELLO: (_hello,),
    Command.MAIL: (_transaction, _mail),
    Command.RCPT: (_transaction, _rcpt),
    Command.DATA: (_transaction,),
    Command.END_OF_HEADER: (_transaction,),
    Command.END_OF_MESSAGE: (_transaction,),
}
#: A milter may ask for any macro at any stage.
_ALL = (_connection, _client, _hello, _transaction, _mail, _rcpt, _securityLayer)
