"""
Who sent a message, as filters have reported it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from contextvars import ContextVar

from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.filters.header import Field
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.session import Session
from twisted_smtpserver.wire.authresults import (
    Authentication,
    AuthenticationResult,
    joined,
    normalName,
    parseAuthservId,
)
from twisted_smtpserver.wire.text import escape

__all__ = ["Authentication", "AuthenticationResult", "RequireAuthentication", "Trust"]

_log = Logger()

_FIELD = "Authentication-Results"
_KEY = _FIELD.lower().encode()

#: The most reports that a message may come with; if there are more, all are removed.
MAX_REPORTS = 20

#: The enhanced code for the method that failed (RFC 7372 §3).
_DETAILS = {"dkim": "7.20", "spf": "7.23"}
_SEVERAL = "7.26"


# Some readers take a bare CR for a line end, and what follows for a field.
_BARE_CR = re.compile(rb"\r(?!\n)")

# The message from which forged reports have been removed, and the names that are safe in it. What a
# Filtered hands on to another one runs in its context; what anything else calls doesn't.
_Checked = tuple[str, frozenset[str]]
_checked: ContextVar[_Checked] = ContextVar("checked", default=("", frozenset()))


class Trust:
    """
    Tells reports of our own filters from reports that somebody else wrote.

    :param authservId: the name in our reports (RFC 8601 §2.5); by default this machine's.
    """

    def __init__(self, authservId: str | None = None) -> None:
        self.authservId = normalName(authservId or socket.gethostname())
        self._names = frozenset({self.authservId})

    def removeForged(self, message: Message) -> None:
        """
        Remove the reports under our name that a message came with, wherever they stand (RFC 8601
        §5), and those under a name that can't be read.

        :param message: before any filter has seen it. The reports that an outer Filtered with our
            name has let its filters add stay.
        """
        if not message.mayHave(_KEY) or self.authservId in _checkedNames(message):
            return
        header = message.header
        if len(header.all(_FIELD)) > MAX_REPORTS:
            header.remove(lambda field: field.isCalled(_FIELD))
        header.remove(lambda field: self._isOurs(field) or _hidesReport(field))
        if not message.isHeaderEnded:
            # Some readers skip a line that is no field, and read on: an empty line stops them.
            header.changed = True

    def handOn(self, message: Message) -> _Checked:
        """
        Let another Filtered, which the store may be, keep our reports.

        :param message: without forged reports.
        :returns: what to give to :meth:`handedOn` when the store is done.
        """
        before = _checked.get()
        identifier = message.envelope.id
        names = before[1] | self._names if before[0] == identifier else self._names
        _checked.set((identifier, names))
        return before

    def handedOn(self, before: _Checked) -> None:
        """The store is done."""
        _checked.set(before)

    def _isOurs(self, field: Field) -> bool:
        return field.isCalled(_FIELD) and parseAuthservId(field.value) in (self.authservId, None)

    def readResults(self, message: Message) -> None:
        """
        Read the reports that our filters have added into ``envelope.authentication``.

        :param message: without forged reports.
        """
        fields = [field.value for field in message.header if self._isOurs(field)]
        if fields:
            message.envelope.authentication = joined(fields)


def _checkedNames(message: Message) -> frozenset[str]:
    identifier, names = _checked.get()
    return names if identifier == message.envelope.id else frozenset()


def _hidesReport(field: Field) -> bool:
    return _KEY in field.raw.lower() and _BARE_CR.search(field.raw) is not None


class RequireAuthentication:
    """
    Refuses messages whose sender isn't authenticated: ``RequireAuthentication("dmarc")``, behind
    the milter that checks it. One of the methods must have passed.

    The refusal is 550 with 5.7.26 (5.7.20 for DKIM alone, 5.7.23 for SPF alone; RFC 7372 §3); 451
    if a method has no result just now (``temperror``). If no filter has reported anything, the
    message is refused with 451, too, and the log says what is missing.

    Sessions with a login aren't judged: users' programs sign nothing.

    :param methods: ``"dmarc"``, ``"dkim"``, ``"spf"``, ``"arc"``.
    :param results: the results that are enough. With ``("pass", "none")``, for ``"dmarc"``, domains
        that publish no policy may send.
    :raises ConfigurationError: if no method is named.
    """

    def __init__(self, *methods: str, results: Collection[str] = ("pass",)) -> None:
        if not methods:
            raise ConfigurationError('RequireAuthentication needs a method such as "dmarc"')
        self._methods = tuple(method.lower() for method in methods)
        self._results = frozenset(results)

    def __repr__(self) -> str:
        return f"<RequireAuthentication {', '.join(self._methods)}>"

    def onMessage(self, message: Message, session: Session) -> None:
        """Refuse a message whose sender isn't authenticated: 550 5.7.26."""
        if session.user is not None:
            return
        authentication = message.envelope.authentication
        found = [each for method in self._methods for each in authentication.all(method)]
        if any(each.result in self._results for each in found):
            return
        if not authentication.results:
            self._nothingReported(message)
        detail = _DETAILS.get(self._methods[0], _SEVERAL) if len(self._methods) == 1 else _SEVERAL
        names = " or ".join(map(str.upper, self._methods))
        if any(each.result == "temperror" for each in found):
            raise _refusal(f"{names} can't be checked now", 451, f"4.{detail}")
        raise _refusal(f"Sender isn't authenticated by {names}", 550, f"5.{detail}")

    def _nothingReported(self, message: Message) -> None:
        _log.error(
            "Message {id} isn't accepted: no filter before {filter} reported who sent it. Add"
            " one, and give it the authserv-id of Filtered(authservId=…). Reports in the message:"
            " {found}",
            id=message.envelope.id,
            filter=self,
            found=escape(", ".join(message.header.all(_FIELD)) or "none"),
        )
        raise _refusal("Sender can't be checked now, try again later", 451, "4.7.26")


def _refusal(text: str, code: int, enhanced: str) -> Rejection:
    return Rejection(text, code, enhanced, policy="authentication")
