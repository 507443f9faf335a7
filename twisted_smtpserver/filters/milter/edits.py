"""
The changes that a milter wants in a message: collected with bounds, and made when it has accepted
the message.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from twisted_smtpserver.filters.header import foldedField
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
from twisted_smtpserver.session import Address
from twisted_smtpserver.wire.path import parseForwardPath, parseReversePath

#: The most changes of one message, and the most octets in them; a new body doesn't count.
MAX_EDITS = 200
MAX_EDIT_OCTETS = 2**18

#: The most lines of all fields that are added or changed.
MAX_EDIT_LINES = 5000

#: How many changes are made before other work gets a turn.
MAX_AT_ONCE = 20

#: A new body may have twice the octets of the message, and this many more.
SPARE_BODY = 2**20


_Small = InsertHeader | ChangeHeader | AddRecipient | RemoveRecipient | ChangeSender | Quarantine


class Edits:
    """
    The changes that a milter wants.

    :param message: the message to change.
    :param hasLeadingSpace: whether values of fields come with the space behind the colon.
    :param clock: gives other work its turns.
    """

    def __init__(self, message: Message, hasLeadingSpace: bool, clock: IReactorTime) -> None:
        self._message = message
        self._clock = clock
        self._space = b"" if hasLeadingSpace else b" "
        self._edits: list[_Small] = []
        self._octets = 0
        self._lines = 0
        self._body: Spool | None = None

    async def add(self, edit: Edit) -> None:
        """
        Add a change.

        :raises MilterError: if there are too many changes, or they are too large.
        :raises OSError: if there is no room for a body.
        """
        if isinstance(edit, ReplaceBody):
            await self._addBody(edit.octets)
            return
        self._edits.append(edit)
        if isinstance(edit, (InsertHeader, ChangeHeader)):
            self._octets += len(edit.name) + len(edit.value)
            self._lines += edit.value.count(b"\n") + edit.value.count(b"\r")
        isTooLong = self._octets > MAX_EDIT_OCTETS or self._lines > MAX_EDIT_LINES
        if isTooLong or len(self._edits) > MAX_EDITS:
            raise MilterError("it sent too many changes")

    async def _addBody(self, octets: bytes) -> None:
        if self._body is None:
            self._body = self._message.newSpool()
        if self._body.size + len(octets) > 2 * self._message.size + SPARE_BODY:
            raise MilterError("it sent a new body that is too large")
        await self._body.write(octets)

    def forget(self) -> None:
        """Forget all changes."""
        body, self._body = self._body, None
        if body is not None:
            body.close()

    async def apply(self) -> None:
        """
        Change the message, if all changes can be made.

        :raises MilterError: if one of them is invalid. Then nothing was changed.
        """
        draft = _Draft(self._message, self._space)
        for number, edit in enumerate(self._edits, 1):
            draft.make(edit)
            if not number % MAX_AT_ONCE:
                await deferLater(self._clock, 0)
        draft.commit()
        if self._body is not None:
            self._message.replaceBody(self._body)
            self._body = None


class _Draft:
    """The message with the changes, so that either all or none are made."""

    def __init__(self, message: Message, space: bytes) -> None:
        self._message = message
        self._space = space
        self._header = message.header.copy()
        self._sender = message.envelope.mailFrom
        self._recipients = list(message.envelope.rcptTo)
        self._quarantine = message.quarantine

    def make(self, edit: _Small) -> None:
        """
        Make one change.

        :raises MilterError: if the change is invalid.
        """
        if isinstance(edit, (InsertHeader, ChangeHeader)):
            self._change(edit)
        elif isinstance(edit, Quarantine):
            self._quarantine = edit.reason or "it didn't say why"
        elif isinstance(edit, ChangeSender):
            self._sender = _address(edit.address, isSender=True)
        elif isinstance(edit, AddRecipient):
            self._recipients.append(_address(edit.address))
        else:
            key = _address(edit.address).key
            self._recipients = [each for each in self._recipients if each.key != key]

    def _change(self, edit: InsertHeader | ChangeHeader) -> None:
        header = self._header
        try:
            field = foldedField(edit.name, self._space + edit.value)
        except ValueError as error:
            raise MilterError(str(error)) from None
        if isinstance(edit, ChangeHeader):
            wanted = field if edit.value.strip() else b""
            isThere = header.replace(edit.name.decode("ascii"), max(1, edit.number), wanted)
            if not isThere and wanted:
                header.insert(len(header), field)
        elif edit.index is None:
            header.insert(len(header), field)
        else:
            # Place 0 is above, place 1 below our own Received:, which the store puts in front.
            header.insert(max(0, edit.index - 1), field)

    def commit(self) -> None:
        """Change the message."""
        message = self._message
        message.header.assign(self._header)
        message.quarantine = self._quarantine
        message.envelope.mailFrom = self._sender
        message.envelope.rcptTo[:] = self._recipients


def _address(octets: bytes, isSender: bool = False) -> Address:
    path = octets if octets.startswith(b"<") else b"<" + octets + b">"
    parsed = parseReversePath(path) if isSender else parseForwardPath(path)
    if isinstance(parsed, Reply) or parsed[1]:
        raise MilterError("it sent something that is not an address")
    return Address(parsed[0])
