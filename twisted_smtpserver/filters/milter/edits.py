"""
What a milter wants changed in a message: collected with bounds, and done when it has accepted it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_smtpserver.filters.header import Header, foldedField
from twisted_smtpserver.filters.message import Message
from twisted_smtpserver.filters.milter.symbols import (
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Edit,
    InsertHeader,
    MilterError,
    Quarantine,
    RemoveRecipient,
    ReplaceBody,
)
from twisted_smtpserver.filters.spool import Spool
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.session import Address, Envelope
from twisted_smtpserver.wire.path import parseForwardPath, parseReversePath

#: The most changes of one message, the body's apart, and the most octets in them.
MAX_EDITS = 200
MAX_EDIT_OCTETS = 2**18

#: A body may grow to twice the message, and by so many octets.
SPARE_BODY = 2**20


_Small = InsertHeader | ChangeHeader | AddRecipient | RemoveRecipient | ChangeSender | Quarantine


class Edits:
    """
    The changes that a milter wants.

    :param message: what is to be changed.
    :param hasLeadingSpace: whether values of fields come with the space behind the colon.
    """

    def __init__(self, message: Message, hasLeadingSpace: bool) -> None:
        self._message = message
        self._space = b"" if hasLeadingSpace else b" "
        self._edits: list[_Small] = []
        self._octets = 0
        self._body: Spool | None = None

    async def add(self, edit: Edit) -> None:
        """
        One more change.

        :raises MilterError: if there are too many, or they are too large.
        :raises OSError: if there is no room for a body.
        """
        if isinstance(edit, ReplaceBody):
            await self._addBody(edit.octets)
            return
        self._edits.append(edit)
        if isinstance(edit, (InsertHeader, ChangeHeader)):
            self._octets += len(edit.name) + len(edit.value)
        if len(self._edits) > MAX_EDITS or self._octets > MAX_EDIT_OCTETS:
            raise MilterError("too many changes")

    async def _addBody(self, octets: bytes) -> None:
        if self._body is None:
            self._body = self._message.newSpool()
        if self._body.size + len(octets) > 2 * self._message.size + SPARE_BODY:
            raise MilterError("a new body that is too large")
        await self._body.write(octets)

    def forget(self) -> None:
        """Nothing is changed after all."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def apply(self) -> None:
        """
        Change the message.

        :raises MilterError: if something in them makes no sense. Then nothing was changed.
        """
        for change in [self._prepared(edit) for edit in self._edits]:
            change()
        if self._body is not None:
            self._message.replaceBody(self._body)
            self._body = None

    def _prepared(self, edit: _Small) -> Callable[[], object]:
        """A change that can't fail any more, so that no half of the changes is made."""
        header, envelope = self._message.header, self._message.envelope
        if isinstance(edit, (InsertHeader, ChangeHeader)):
            field = self._field(edit)
            if isinstance(edit, ChangeHeader):
                return lambda: _changeHeader(header, edit, field)
            # Place 0 is above, place 1 below our own Received:, which the store puts in front.
            if edit.index is None:
                return lambda: header.insert(len(header), field)
            place = max(0, edit.index - 1)
            return lambda: header.insert(place, field)
        if isinstance(edit, Quarantine):
            return lambda: setattr(self._message, "quarantine", edit.reason or "it didn't say why")
        address = _address(edit.address, isinstance(edit, ChangeSender))
        if isinstance(edit, ChangeSender):
            return lambda: setattr(envelope, "mailFrom", address)
        if isinstance(edit, AddRecipient):
            return lambda: envelope.rcptTo.append(address)
        return lambda: _removeRecipient(envelope, address)

    def _field(self, edit: InsertHeader | ChangeHeader) -> bytes:
        try:
            return foldedField(edit.name, self._space + edit.value)
        except ValueError as error:
            raise MilterError(str(error)) from None


def _changeHeader(header: Header, edit: ChangeHeader, field: bytes) -> None:
    wanted = field if edit.value.strip() else b""
    isThere = header.replace(edit.name.decode("ascii"), max(1, edit.number), wanted)
    if not isThere and wanted:
        header.insert(len(header), field)


def _removeRecipient(envelope: Envelope, address: Address) -> None:
    envelope.rcptTo[:] = [each for each in envelope.rcptTo if each.key != address.key]


def _address(octets: bytes, isSender: bool) -> Address:
    path = octets if octets.startswith(b"<") else b"<" + octets + b">"
    parsed = parseReversePath(path) if isSender else parseForwardPath(path)
    if isinstance(parsed, Reply) or parsed[1]:
        raise MilterError("an address that is none")
    return Address(parsed[0])
