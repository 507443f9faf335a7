"""The files of users, senders and recipients that ``twistd smtpserver`` has flags for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.session import Address, Session

#: The flags that name such a file.
TABLES = ("recipients", "senders")

#: The word for no delimiter: a flag's value can't be empty.
NONE = "none"


class TableFile(Service):
    """
    Reads a file when the service starts: the user that ``twistd --uid`` becomes must be able to
    read it, and in ``--chroot`` it is another file.

    :param flag: the name of the flag that names the file.
    :param load: reads it.
    """

    def __init__(self, flag: str, load: Callable[[], object]) -> None:
        self._flag = flag
        self._load = load

    def startService(self) -> None:
        """
        Read the file.

        :raises ConfigurationError: if it can't be read or used.
        """
        super().startService()
        try:
            self._load()
        except ConfigurationError as error:
            raise ConfigurationError(f"--{self._flag}: {error}") from None


def checkTables(given: Mapping[str, Any], isFileThere: bool = True) -> None:
    """
    Check the files.

    :param given: the values of the flags that were given, by name.
    :param isFileThere: whether the files can be looked for already.
    :raises ConfigurationError: if a file is missing.
    """
    for name in TABLES:
        if isFileThere and name in given and not os.path.isfile(given[name]):
            raise ConfigurationError(f"--{name}: there is no file {given[name]!r}")


class RecipientGate(TableFile):
    """
    The stage that refuses unknown recipients early.

    :param recipients: a :class:`~twisted_smtpserver.tables.Recipients`, whose file is read here.
    """

    def __init__(self, recipients: Any) -> None:
        super().__init__("recipients", recipients.load)
        self._gate = recipients.gate

    def onRcptTo(self, address: Address, session: Session) -> Any:
        """Refuse an unknown recipient: 550 5.1.1."""
        return self._gate.onRcptTo(address, session)


def makeRecipients(given: Mapping[str, Any], handler: object) -> tuple[object, list[RecipientGate]]:
    """
    Put the file of recipients before a handler.

    :param given: the values of the flags that were given, by name.
    :param handler: the handler that stores.
    :returns: the handler to use, and the stages that go before it.
    """
    if "recipients" not in given:
        return handler, []
    from twisted_smtpserver.tables import Recipients  # only where it is used

    delimiter = given.get("recipient-delimiter", "+")
    recipients = Recipients(
        handler,
        given["recipients"],
        delimiter="" if delimiter == NONE else delimiter,
        relayForUsers="relay-for-users" in given,
        later=True,
    )
    return recipients, [RecipientGate(recipients)]
