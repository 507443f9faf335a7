"""Mailpit's API, version 1: the part of it that needs nothing but the messages."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address

from twisted_smtpserver.inbox.answers import (
    OK,
    Answer,
    Problem,
    Question,
    asFile,
    inJSON,
    inText,
    putAside,
)
from twisted_smtpserver.inbox.contents import Content
from twisted_smtpserver.inbox.desk import Desk
from twisted_smtpserver.inbox.htmlview import showHTML
from twisted_smtpserver.inbox.release import release
from twisted_smtpserver.inbox.routes import Table
from twisted_smtpserver.inbox.search import Condition, parseSearch
from twisted_smtpserver.inbox.send import makeMessage
from twisted_smtpserver.inbox.store import identifiers
from twisted_smtpserver.inbox.tags import tagsOf
from twisted_smtpserver.message.dumping import dumping
from twisted_smtpserver.message.slices import finish

T = TypeVar("T")

#: The version of Mailpit that clients are told.
VERSION = "v1.29.0+twisted_smtpserver"

_PAGE = 50

# 1 × 1 pixel, transparent: the thumbnail of an attachment that is no picture.
_BLANK = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)


class API:
    """
    Answers for ``/api/v1/`` and ``/view/``.

    :param desk: the inbox.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def table(self) -> Table:
        """Its paths."""
        one = "/api/v1/message/{id}"
        return {
            "/api/v1/messages": {
                "GET": self._list,
                "PUT": self._mark,
                "DELETE": self._delete,
            },
            "/api/v1/search": {"GET": self._search, "DELETE": self._deleteSearch},
            "/api/v1/tags": {"GET": self._tags, "PUT": self._setTags},
            "/api/v1/tags/{tag}": {"PUT": self._renameTag, "DELETE": self._deleteTag},
            "/api/v1/send": {"POST": self._send},
            "/api/v1/chaos": {"GET": self._chaos, "PUT": self._setChaos},
            "/api/v1/info": {"GET": self._info},
            "/api/v1/webui": {"GET": self._webui},
            f"{one}/headers": {"GET": self._headers},
            f"{one}/raw": {"GET": self._raw},
            f"{one}/part/{{part}}": {"GET": self._part},
            f"{one}/part/{{part}}/thumb": {"GET": self._thumb},
            f"{one}/release": {"POST": self._release},
            f"{one}/html-check": {"GET": self._missing},
            f"{one}/link-check": {"GET": self._missing},
            f"{one}/sa-check": {"GET": self._missing},
            one: {"GET": self._message},
            "/view/{id}.html": {"GET": self._html},
            "/view/{id}.txt": {"GET": self._text},
            "/view/{id}/cid/{cid}": {"GET": self._cid},
        }

    # -- Lists -------------------------------------------------------------------------------------

    async def _list(self, question: Question) -> Answer:
        return await self._page(question, Condition())

    async def _search(self, question: Question) -> Answer:
        return await self._page(question, _wantedSearch(question))

    async def _page(self, question: Question, condition: Condition) -> Answer:
        start, limit = question.number("start", 0), question.number("limit", _PAGE)
        page = partial(self._desk.store.page, condition, start, limit)
        answer: Answer = await self._desk.run(lambda: _largeJSON(page()))
        return answer

    async def _mark(self, question: Question) -> Answer:
        wanted = question.json()
        search, isRead = wanted.get("Search") or "", wanted.get("Read") or False
        if not isinstance(search, str) or not isinstance(isRead, bool):
            raise Problem(400, "Search is a text, and Read is true or false")
        condition = _wantedIds(wanted)
        if not condition.clauses and search:
            condition = _strict(parseSearch(search, question.text("tz")))
        await self._desk.run(self._desk.store.markRead, condition, isRead)
        return self._changed()

    async def _delete(self, question: Question) -> Answer:
        return await self._remove(_wantedIds(question.json()))

    async def _deleteSearch(self, question: Question) -> Answer:
        condition = _strict(_wantedSearch(question))
        if not condition.clauses:
            raise Problem(400, "The search is empty: DELETE /api/v1/messages deletes all messages")
        return await self._remove(condition)

    async def _remove(self, condition: Condition) -> Answer:
        self._desk.deleted += await self._desk.run(self._desk.store.delete, condition)
        return self._changed()

    def _changed(self) -> Answer:
        self._desk.events.publish("changed")
        return OK

    # -- Tags --------------------------------------------------------------------------------------

    async def _tags(self, question: Question) -> Answer:
        return inJSON(sorted(await self._desk.run(self._desk.store.tags), key=str.lower))

    async def _setTags(self, question: Question) -> Answer:
        wanted = question.json()
        condition, tags = _wantedIds(wanted), wanted.get("Tags") or []
        if not condition.clauses or not isinstance(tags, list):
            raise Problem(400, "IDs and Tags are lists")
        await self._desk.run(self._desk.store.setTags, condition, tagsOf(tags))
        return self._changed()

    async def _renameTag(self, question: Question) -> Answer:
        names = tagsOf([question.json().get("Name")])
        if not names:
            raise Problem(400, "Name is the new name")
        return await self._changeTag(question, names[0])

    async def _deleteTag(self, question: Question) -> Answer:
        return await self._changeTag(question, None)

    async def _changeTag(self, question: Question, new: str | None) -> Answer:
        if not await self._desk.run(self._desk.store.renameTag, question.path["tag"], new):
            raise Problem(404, "There is no such tag")
        return self._changed()

    # -- One message -------------------------------------------------------------------------------

    async def _message(self, question: Question) -> Answer:
        answer, identifier = await self._desk.run(self._wholeMessage, question.path["id"])
        if identifier:
            self._desk.events.publish("read", {"ID": identifier})
        return cast("Answer", answer)

    def _wholeMessage(self, identifier: str) -> tuple[Answer, str]:
        """(In the thread.) A message; and its id, if it was unread."""
        message, wasUnread = _found(self._desk.store.message(identifier))
        return _largeJSON(message), message["ID"] if wasUnread else ""

    async def _headers(self, question: Question) -> Answer:
        run, store = self._desk.run, self._desk.store
        headers: dict[str, list[str]] = {}
        for name, value in _found(await run(store.contents.headers, question.path["id"])):
            headers.setdefault(name, []).append(value)
        return inJSON(headers)

    async def _raw(self, question: Question) -> Answer:
        content = await self._findMessage(question)
        save = bool(question.text("dl"))
        return asFile(replace(content, contentType="message/rfc822") if save else content, save)

    async def _findMessage(self, question: Question) -> Content:
        content: Content | None = await self._desk.run(
            self._desk.store.contents.raw, question.path["id"]
        )
        return _found(content)

    async def _part(self, question: Question) -> Answer:
        return asFile(await self._findPart(question), bool(question.text("dl")))

    async def _thumb(self, question: Question) -> Answer:
        part = await self._findPart(question)
        answer = asFile(replace(part, fileName=""), save=False)
        if part.contentType.startswith("image/"):
            return asFile(part, save=False)
        return replace(answer, body=_BLANK, contentType="image/gif", content=None)

    async def _findPart(self, question: Question) -> Content:
        path = question.path
        part: Content | None = await self._desk.run(
            self._desk.store.contents.part, path["id"], path["part"]
        )
        return _found(part)

    async def _html(self, question: Question) -> Answer:
        # Never because the HTML says so, by a link to itself: only our page asks like this.
        asked = question.request.getHeader("sec-fetch-site") in ("same-origin", "none")
        isRemote = asked and bool(question.text("remote"))
        host = question.request.getHeader("host") or ""
        shown = partial(self._shownHTML, question.path["id"], host, isRemote)
        answer: Answer = await self._desk.run(shown)
        return answer

    def _shownHTML(self, identifier: str, host: str, isRemote: bool) -> Answer:
        """(In the thread.) The HTML as a browser may show it."""
        found, html = _found(self._desk.store.contents.html(identifier))
        if not html:
            raise Problem(404, "The message has no HTML")
        return putAside(showHTML(html, found, host, isRemote))

    async def _text(self, question: Question) -> Answer:
        answer: Answer = await self._desk.run(self._shownText, question.path["id"])
        return answer

    def _shownText(self, identifier: str) -> Answer:
        """(In the thread.) The text."""
        return putAside(inText(_found(self._desk.store.contents.text(identifier))))

    async def _cid(self, question: Question) -> Answer:
        run, store, path = self._desk.run, self._desk.store, question.path
        return asFile(
            _found(await run(store.contents.byContentId, path["id"], path["cid"])), save=False
        )

    async def _release(self, question: Question) -> Answer:
        run, store, relay = self._desk.run, self._desk.store, self._desk.relay
        if relay is None:
            return await self._missing(question)
        recipients = question.json().get("To")
        if not isinstance(recipients, list):
            raise Problem(400, "To is a list of addresses")
        content = await self._findMessage(question)
        sender = _found(await run(store.contents.sender, content))
        await release(relay, partial(self._desk.pieces, content), sender, recipients)
        return OK

    async def _missing(self, question: Question) -> Answer:
        raise Problem(501, "This inbox doesn't do that: it asks no other host for anything")

    # -- The inbox itself --------------------------------------------------------------------------

    async def _send(self, question: Question) -> Answer:
        raw, envelope = await self._desk.run(makeMessage, question.body())
        summary = await self._desk.add(lambda: raw, envelope)
        return inJSON({"ID": summary["ID"]})

    def _chaos(self, question: Question) -> Answer:
        return inJSON(self._desk.chaos.toJSON())

    def _setChaos(self, question: Question) -> Answer:
        try:
            self._desk.chaos.set(question.json())
        except ValueError as error:
            raise Problem(400, str(error)) from None
        return self._chaos(question)

    async def _info(self, question: Question) -> Answer:
        desk, store = self._desk, self._desk.store
        counts = await desk.run(store.counts)
        info: dict[str, Any] = {
            "Version": VERSION,
            "LatestVersion": VERSION,
            "Database": os.path.basename(store.path or "memory"),
            "DatabaseSize": counts["Octets"],
            "Messages": counts["Total"],
            "Unread": counts["Unread"],
            "Tags": await desk.run(store.tags),
            "RuntimeStats": {
                "Uptime": int(desk.uptime),
                "Memory": 0,
                "MessagesDeleted": desk.deleted,
                "SMTPAccepted": desk.accepted,
                "SMTPAcceptedSize": desk.acceptedOctets,
                "SMTPRejected": desk.rejected,
                "SMTPIgnored": 0,
            },
        }
        return inJSON(info)

    def _webui(self, question: Question) -> Answer:
        relay = ("AllowedRecipients", "BlockedRecipients", "OverrideFrom", "RecipientAllowlist")
        return inJSON(
            {
                "Label": "",
                "SMTP": self._addresses(),
                "ChaosEnabled": True,
                "DuplicatesIgnored": False,
                "HideDeleteAllButton": False,
                "SpamAssassin": False,
                "MessageRelay": {
                    **dict.fromkeys((*relay, "ReturnPath", "SMTPServer"), ""),
                    "Enabled": self._desk.relay is not None,
                    "PreserveMessageIDs": False,
                },
            }
        )

    def _addresses(self) -> list[dict[str, Any]]:
        """Where mail is to be sent, as far as that is TCP; Mailpit doesn't tell."""
        hosts = [port.getHost() for server in self._desk.servers for port in server.ports]
        return [
            {"Address": host.host, "Port": host.port}
            for host in hosts
            if isinstance(host, (IPv4Address, IPv6Address))
        ]


def _largeJSON(value: Any) -> Answer:
    return putAside(Answer(finish(dumping(value)), "application/json"))


def _found(value: T | None) -> T:
    if value is None:
        raise Problem(404, "There is no such message, or no such part of it")
    return value


def _wantedSearch(question: Question) -> Condition:
    return parseSearch(question.text("query"), question.text("tz"))


def _strict(condition: Condition) -> Condition:
    """What changes messages must not go on when it was misunderstood: it would change more."""
    if condition.problems:
        raise Problem(400, "The search wasn't understood: " + "; ".join(condition.problems))
    return condition


def _wantedIds(wanted: dict[str, Any]) -> Condition:
    """The messages with these ids; all messages if there are no ids, as in Mailpit."""
    ids = wanted.get("IDs") or []
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise Problem(400, "IDs is a list of texts")
    return identifiers(ids) if ids else Condition()
