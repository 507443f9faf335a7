"""Tests for :mod:`twisted_smtpserver.handlers.policies.fairtable`."""

from __future__ import annotations

import gc
import random
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.handlers.policies.fairtable import FairTable


def clients(table: FairTable[Any]) -> list[Any]:
    """All clients, the oldest first."""
    found = []
    number = table._order.first(0)
    while number >= 0:
        found.append(table._clients.things[number])
        number = table._order.behind(number)
    return found


class FairTableTests(SynchronousTestCase):
    """Who is remembered, and who is forgotten."""

    def test_remembers(self) -> None:
        """What was added is there until it is removed; the oldest is known."""
        table: FairTable[str] = FairTable(10)
        self.assertIsNone(table.oldest())
        table.add("a", 1, "A")
        table.add("b", 1, "B")
        self.assertEqual((table.get("a"), table.get("c"), len(table)), ("A", None, 2))
        self.assertEqual(table.oldest(), ("a", "A"))
        table.remove("a")
        self.assertEqual((table.get("a"), table.oldest()), (None, ("b", "B")))

    def test_fair(self) -> None:
        """The largest network loses its oldest, whoever comes."""
        table: FairTable[None] = FairTable(4)
        for client, network in (("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c"), ("d1", "d")):
            table.add(client, network, None)
        self.assertEqual(clients(table), ["a1", "b2", "c1", "d1"])

    def test_random(self) -> None:
        """Over many steps it is what a plain reckoning of the same rule says."""
        chance = random.Random(7)
        table: FairTable[int] = FairTable(20)
        plain: dict[int, int] = {}
        for step in range(3000):
            if plain and chance.random() < 0.4:
                client = chance.choice(list(plain))
                table.remove(client)
                del plain[client]
                continue
            network = min(int(chance.expovariate(0.5)), 8)
            if len(plain) == 20:
                sizes: Any = Counter(plain.values())
                largest = max(sizes.values())
                before = set(plain)
            table.add(step, network, step)
            if len(plain) == 20:
                (gone,) = before - {client for client in before if table.get(client) is not None}
                self.assertEqual(sizes[plain[gone]], largest)
                self.assertEqual(gone, min(c for c in plain if plain[c] == plain[gone]))
                del plain[gone]
            plain[step] = network
            self.assertEqual(clients(table), list(plain))
            self.assertEqual(table._largest, max(Counter(plain.values()).values()))

    def test_replaces(self) -> None:
        """What is remembered can be replaced; numbers are used again."""
        table: FairTable[int] = FairTable(10)
        for step in range(20):
            table.add("a", "A", step)
            table.replace("a", -step)
            self.assertEqual(table.get("a"), -step)
            table.remove("a")
        self.assertEqual((len(table._values), len(table._sizes), table._largest), (1, 1, 0))

    def test_garbageCollector(self) -> None:
        """The garbage collector has no more to look at in a full table than in an empty one."""

        def count(clients: int) -> int:
            table: FairTable[tuple[float, int]] = FairTable(1000)
            for client in range(clients):
                table.add(f"c{client}", f"n{client // 3}", (0.5, client))
            gc.collect()  # this is when it finds out that tuples hold nothing of interest
            found, waiting = 0, [vars(table)]
            while waiting:
                found += 1
                things = gc.get_referents(waiting.pop())
                waiting += [
                    each for each in things if gc.is_tracked(each) and not isinstance(each, type)
                ]
            return found

        self.assertEqual(count(1000), count(1))
