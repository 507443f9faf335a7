"""
A bounded table in which one network can't push out others.

It has a fixed number of objects that the garbage collector looks at, as long as what it is given
are texts, numbers, and plain tuples of them. With an object for each client or network a full table
would cost 100 ms of each collection.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

_V = TypeVar("_V")

_NONE = -1


class _Numbers:
    """
    Gives things small numbers, which are used again.

    :ivar things: by number.
    """

    def __init__(self) -> None:
        self.things: list[Hashable] = []
        self._numbers: dict[Hashable, int] = {}
        self._free = array("q")

    def __len__(self) -> int:
        return len(self._numbers)

    def get(self, thing: Hashable) -> int:
        """The number of a thing; -1 if it has none."""
        return self._numbers.get(thing, _NONE)

    def add(self, thing: Hashable) -> int:
        """Give a thing a number, unless it has one."""
        number = self.get(thing)
        if number == _NONE:
            number = self._free.pop() if self._free else len(self.things)
            self.things[number : number + 1] = [thing]
            self._numbers[thing] = number
        return number

    def remove(self, number: int) -> None:
        """Take a number back."""
        del self._numbers[self.things[number]]
        self.things[number] = None
        self._free.append(number)


class _Queues:
    """Queues of numbers, each of which is in one of them at most."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}
        # The numbers beside each number.
        self._before = array("q")
        self._behind = array("q")

    def __contains__(self, queue: int) -> bool:
        """Whether a queue isn't empty."""
        return queue in self._first

    def first(self, queue: int) -> int:
        """The first number of a queue; -1 if it is empty."""
        return self._first.get(queue, _NONE)

    def behind(self, number: int) -> int:
        """The number after another one; -1 if that is the last."""
        return self._behind[number]

    def append(self, queue: int, number: int) -> None:
        """Put a number at the end of a queue."""
        missing = number + 1 - len(self._before)
        for links in (self._before, self._behind):
            links.extend([_NONE] * missing)
        last = self._last.get(queue, _NONE)
        self._before[number], self._behind[number] = last, _NONE
        self._link(queue, last, number)
        self._link(queue, number, _NONE)

    def remove(self, queue: int, number: int) -> None:
        """Take a number out of its queue."""
        self._link(queue, self._before[number], self._behind[number])

    def _link(self, queue: int, before: int, behind: int) -> None:
        """Make two numbers neighbors; there is none before the first and after the last."""
        if before == behind:  # there is neither
            del self._first[queue], self._last[queue]
            return
        if before == _NONE:
            self._first[queue] = behind
        else:
            self._behind[before] = behind
        if behind == _NONE:
            self._last[queue] = before
        else:
            self._before[behind] = before


class FairTable(Generic[_V]):
    """
    Remembers something of each client. When it is full, a new client takes the place of the oldest
    one of the network that has the most: so a network that fills it pushes out its own only. All
    that it does takes the same time, however large it is.

    :param most: how many clients are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients = _Numbers()
        self._networks = _Numbers()
        # By the client's number.
        self._values: list[Any] = []
        self._networkOf = array("q")
        # By the network's number: how many clients it has.
        self._sizes = array("q")
        # All clients, the clients of each network, and the networks of each size; the oldest first.
        self._order = _Queues()
        self._members = _Queues()
        self._networksOfSize = _Queues()
        self._largest = 0

    def __len__(self) -> int:
        return len(self._clients)

    def get(self, client: Hashable) -> _V | None:
        """
        What is remembered of a client.

        :param client: what stands for it.
        """
        number = self._clients.get(client)
        return None if number == _NONE else self._values[number]

    def replace(self, client: Hashable, value: _V) -> None:
        """
        Remember something else of a client that is in the table.

        :param client: what stands for it.
        :param value: what to remember.
        """
        self._values[self._clients.get(client)] = value

    def add(self, client: Hashable, network: Hashable, value: _V) -> None:
        """
        Remember a client that isn't in the table.

        :param client: what stands for it.
        :param network: what stands for its network.
        :param value: what to remember.
        """
        if len(self) >= self._most:
            largest = self._networksOfSize.first(self._largest)
            self._forget(self._members.first(largest))
        number, home = self._clients.add(client), self._networks.add(network)
        self._values[number : number + 1] = [value]
        self._networkOf[number : number + 1] = array("q", [home])
        self._order.append(0, number)
        self._members.append(home, number)
        self._resize(home, 1)

    def remove(self, client: Hashable) -> None:
        """
        Forget a client that is in the table.

        :param client: what stands for it.
        """
        self._forget(self._clients.get(client))

    def _forget(self, number: int) -> None:
        home = self._networkOf[number]
        self._clients.remove(number)
        self._values[number] = None
        self._order.remove(0, number)
        self._members.remove(home, number)
        self._resize(home, -1)

    def oldest(self) -> tuple[Hashable, _V] | None:
        """The client that was added before all others, and what is remembered of it."""
        number = self._order.first(0)
        return None if number == _NONE else (self._clients.things[number], self._values[number])

    def _resize(self, network: int, difference: int) -> None:
        """A network has one client more, or less."""
        if network == len(self._sizes):
            self._sizes.append(0)
        before = self._sizes[network]
        size = self._sizes[network] = before + difference
        if before:
            self._networksOfSize.remove(before, network)
        if size:
            self._networksOfSize.append(size, network)
        else:
            self._networks.remove(network)
        if size > self._largest or self._largest not in self._networksOfSize:
            self._largest = size
