"""
Which requests are served at all.

A page of another site may make a browser ask us things, so what the browser says of that counts:
``Host`` (against DNS rebinding), ``Sec-Fetch-Site`` and ``Origin`` (against forged requests). There
is no CORS, so no other site can read an answer.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable

from twisted.web.http import Request

from twisted_smtpserver.inbox.answers import Problem

#: These paths say whether the server lives. They need no password.
OPEN_PATHS = {"/livez", "/readyz"}

#: Pictures of a message are asked for by its HTML, which is a site of its own.
_PICTURE = re.compile(r"/view/[0-9a-f]+/cid/")

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?\Z")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\Z|\[")
_SAFE_METHODS = {"GET", "HEAD"}


class Gate:
    """
    Lets requests through.

    :param hosts: the names that the page may be called by, besides ``localhost`` and addresses.
    :param password: ``"name:password"``; without a name any will do. ``None``: none is asked for.
    """

    def __init__(self, hosts: Iterable[str] = (), password: str | None = None) -> None:
        self._hosts = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        self._password = None if password is None else password.encode("utf-8")

    def check(self, request: Request, path: str) -> None:
        """
        Check a request.

        :param request: it.
        :param path: its path.
        :raises Problem: if it may not be answered.
        """
        self._checkHost(request)
        self._checkSite(request, path)
        if path not in OPEN_PATHS:
            self._checkPassword(request)

    def _checkHost(self, request: Request) -> None:
        match = _HOST.match(request.getHeader("host") or "")
        name = match[1].lower().rstrip(".") if match else ""
        # A name under an attacker's control may lead to us; an address never changes hands.
        isOurs = name in self._hosts or name.endswith(".localhost") or _ADDRESS.match(name)
        if not isOurs:
            raise Problem(
                403,
                "This inbox doesn't know itself by that host name. Use its address, or tell it the "
                "name: --inbox-host NAME",
            )

    def _checkSite(self, request: Request, path: str) -> None:
        site = request.getHeader("sec-fetch-site") or "none"
        if site not in ("same-origin", "none") and not _isHarmless(request, path):
            raise Problem(403, "Other sites can't use this inbox")
        origin = request.getHeader("origin")
        if origin is None or request.method.decode("ascii", "replace") in _SAFE_METHODS:
            return
        if origin.partition("://")[2] != request.getHeader("host"):
            raise Problem(403, "Other sites can't use this inbox")

    def _checkPassword(self, request: Request) -> None:
        if self._password is None:
            return
        given = _credentials(request)
        if b":" not in self._password:
            given = given.partition(b":")[2]
        if not hmac.compare_digest(given, self._password):
            raise Problem(
                401,
                "The inbox has a password",
                {"WWW-Authenticate": 'Basic realm="Inbox", charset="UTF-8"'},
            )


def _isHarmless(request: Request, path: str) -> bool:
    """Whether another site may make the browser ask this: a link to a page, or a picture."""
    if request.method not in (b"GET", b"HEAD"):
        return False
    isLink = (request.getHeader("sec-fetch-mode"), request.getHeader("sec-fetch-dest")) == (
        "navigate",
        "document",
    )
    return (isLink and not path.startswith("/api/")) or bool(_PICTURE.match(path))


def _credentials(request: Request) -> bytes:
    scheme, _, encoded = (request.getHeader("authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
