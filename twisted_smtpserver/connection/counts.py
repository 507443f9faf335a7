"""How many connections a client has."""

from __future__ import annotations

from twisted_smtpserver.wire.ip import addressBlock


class ClientCounts:
    """
    Counts connections by address; for IPv6 by /64, because one client has at least that many.

    :param limit: the most connections of one client; ``None`` for no limit and no count.
    :ivar limit: the same. It may change.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        # Bounded: only clients with an open connection have an entry.
        self._counts: dict[int | str, int] = {}

    def enter(self, address: str | None) -> int | str | None:
        """
        Count a new connection.

        :param address: the client's; ``None`` on a unix socket, which isn't counted.
        :returns: the argument for :meth:`leave`; ``None`` if the connection isn't counted.
        :raises OverflowError: if the client has too many connections.
        """
        if self.limit is None or address is None:
            return None
        block = addressBlock(address)
        count = self._counts.get(block, 0)
        if count >= self.limit:
            raise OverflowError
        self._counts[block] = count + 1
        return block

    def leave(self, block: int | str | None) -> None:
        """
        Forget a connection that was closed.

        :param block: what :meth:`enter` returned.
        """
        if block is None:
            return
        count = self._counts[block] - 1
        if count:
            self._counts[block] = count
        else:
            del self._counts[block]
