"""A table with a bound, in which nobody can push the others out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_V = TypeVar("_V")


class FairTable(Generic[_V]):
    """
    Remembers something of each client. When it is full, a new client takes the place of the oldest
    one of the network that has the most: so a network that fills it pushes out its own only. All
    that it does takes the same time, however large it is.

    :param most: how many clients are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[Hashable, tuple[Hashable, _V]] = OrderedDict()
        # The clients of each network, the oldest first.
        self._networks: dict[Hashable, OrderedDict[Hashable, None]] = {}
        # The networks that have so many clients, for each number; and the largest number.
        self._sizes: dict[int, OrderedDict[Hashable, None]] = {}
        self._largest = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, client: Hashable) -> _V | None:
        """
        What is remembered of a client.

        :param client: what stands for it.
        """
        entry = self._entries.get(client)
        return None if entry is None else entry[1]

    def add(self, client: Hashable, network: Hashable, value: _V) -> None:
        """
        Remember a client that isn't in the table.

        :param client: what stands for it.
        :param network: what stands for its network.
        :param value: what to remember.
        """
        if len(self._entries) >= self._most:
            largest = next(iter(self._sizes[self._largest]))
            self.remove(next(iter(self._networks[largest])))
        self._entries[client] = (network, value)
        self._networks.setdefault(network, OrderedDict())[client] = None
        self._resize(network, 1)

    def remove(self, client: Hashable) -> None:
        """
        Forget a client.

        :param client: what stands for it.
        """
        network, _ = self._entries.pop(client)
        clients = self._networks[network]
        del clients[client]
        self._resize(network, -1)
        if not clients:
            del self._networks[network]

    def oldest(self) -> tuple[Hashable, _V] | None:
        """The client that was added before all others, and what is remembered of it."""
        for client, (_, value) in self._entries.items():
            return client, value
        return None

    def _resize(self, network: Hashable, difference: int) -> None:
        """A network has one client more, or less."""
        size = len(self._networks[network])
        before = size - difference
        if before:
            del self._sizes[before][network]
            if not self._sizes[before]:
                del self._sizes[before]
        if size:
            self._sizes.setdefault(size, OrderedDict())[network] = None
        if size > self._largest or self._largest not in self._sizes:
            self._largest = size
