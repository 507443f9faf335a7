"""How many connections a client has."""

from __future__ import annotations

from twisted_smtpserver.wire.ip import addressBlock


class ClientCounts:
    """
    Counts connections by address; for IPv6 by /64, which is the least that one client has.

    :param limit: how many there may be of one; ``None`` for no limit, and then nothing is counted.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        # Bounded, because only what is open has an entry.
        self._counts: dict[int | str, int] = {}

    def enter(self, address: str | None) -> int | str | None:
        """
        A connection came.

        :param address: the client's; ``None`` on a unix socket, which isn't counted.
        :returns: what to say when it :meth:`leaves <leave>`; ``None`` if it isn't counted.
        :raises OverflowError: if there are too many.
        """
        if self._limit is None or address is None:
            return None
        block = addressBlock(address)
        count = self._counts.get(block, 0)
        if count >= self._limit:
            raise OverflowError
        self._counts[block] = count + 1
        return block

    def leave(self, block: int | str | None) -> None:
        """
        A connection is gone.

        :param block: what :meth:`enter` returned.
        """
        if block is None:
            return
        count = self._counts[block] - 1
        if count:
            self._counts[block] = count
        else:
            del self._counts[block]
