"""
The HTML of strangers, made harmless.

It isn't cleaned: browsers read HTML in more ways than any cleaner knows. It is served separately,
in a sandbox without scripts, forms and an origin, with a policy that lets it load nothing but the
pictures of its own message. Only what connects to other hosts in spite of that is taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from twisted_smtpserver.inbox.answers import Answer

#: Links open in a new tab. Nothing else may be set by a <base>: the policy sees to that.
_HEAD = (
    '<!doctype html><meta charset="utf-8"><base target="_blank">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<style>:root{color-scheme:light;background:#fff}"
    "body{margin:16px;font:15px/1.5 system-ui,sans-serif;overflow-wrap:break-word}"
    "img{max-width:100%;height:auto}</style>\n"
)

# Browsers look names up, and connect, for <link rel=preconnect> and for frames before they ask the
# policy. A tag can be written in no other way than this one (HTML §13.2.5.6 to 13.2.5.8).
_CONNECTING = re.compile(
    r"<(?=(?:link|iframe|frame|frameset|fencedframe|portal|object|embed)[\s/>])", re.IGNORECASE
)

#: About how many characters are searched in one slice, and the most of them.
_SLICE = 16 * 1024
_LONGEST_SLICE = 4 * _SLICE

_CID = re.compile(r"cid:([^\s\"'<>()&\\]{1,250})", re.IGNORECASE)


def showHTML(html: str, identifier: str, host: str, isRemote: bool) -> Answer:
    """
    Answer with a message's HTML. It takes a while, and belongs into a thread.

    :param html: as it is in the message.
    :param identifier: the message's id.
    :param host: our own, as the browser calls it, with the port.
    :param isRemote: whether pictures, styles and fonts of other hosts may be loaded.
    """
    pictures = f"/view/{identifier}/cid/"
    body = "".join(_disarm(piece, pictures) for piece in _slices(html))
    return Answer(
        (_HEAD + body).encode("utf-8", "replace"),
        "text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": policy(host + pictures, isRemote),
            "X-DNS-Prefetch-Control": "off",
        },
    )


def _slices(html: str) -> Iterator[str]:
    """
    Pieces that begin with a ``<``, which is where nothing is cut in two; or long after one, where
    that would be a link to a picture at most. A regular expression keeps all other threads waiting;
    so none has much to do.
    """
    start = 0
    while start < len(html):
        end = html.find("<", start + _SLICE, start + _LONGEST_SLICE)
        end = end if end >= 0 else min(start + _LONGEST_SLICE, len(html))
        yield html[start:end]
        start = end


def _disarm(html: str, pictures: str) -> str:
    html = _CONNECTING.sub("<x-", html)
    return _CID.sub(lambda match: pictures + quote(match[1], safe="@.-_"), html)


def policy(pictures: str, isRemote: bool) -> str:
    """
    What the HTML may do.

    :param pictures: where its own pictures are: host, port and path.
    :param isRemote: as for :func:`showHTML`.
    """
    if pictures.startswith("["):  # policies know no addresses of IPv6; the gate is there still
        pictures = "'self'"
    others = " http: https:" if isRemote else ""
    return (
        f"default-src 'none'; img-src {pictures} data:{others}; style-src 'unsafe-inline'{others};"
        f" font-src data:{others}; base-uri 'none'; form-action 'none'; frame-ancestors 'self';"
        " sandbox allow-popups allow-popups-to-escape-sandbox"
    )
