"""The whole run: who does what when, and what is wrong in the end."""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import smtplib
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.reliability.soak.clients import deliverers
from tests.reliability.soak.faults import FAULTS
from tests.reliability.soak.idle import Holder
from tests.reliability.soak.ledger import Ledger
from tests.reliability.soak.link import Kind, Unexpected
from tests.reliability.soak.server import Server

#: What memory may grow by, in MiB and beside that in parts of itself: an allocator's fragments.
TOLERANCE, SHARE = 16, 0.03
#: Server kills happen in the first part of a run; memory is compared in the rest.
KILLING = 1 / 3


class Sample(NamedTuple):
    """The server as seen from outside, sizes in MiB."""

    second: float
    rss: float
    anonymous: float
    descriptors: int


class Soak:
    """
    A run.

    :ivar samples: of the server's present life.
    :ivar faults: what is wrong.
    :ivar facts: what else there is to tell.
    """

    def __init__(self, options: argparse.Namespace, server: Server) -> None:
        self.options = options
        self.server = server
        self.ledger = Ledger(server.maildir)
        self.holder = Holder()
        self.samples: list[Sample] = []
        self.faults: list[str] = []
        self.facts: dict[str, object] = dict.fromkeys(
            ("kills", "store outages", "certificates renewed by SIGHUP"), 0
        )
        self._isDisturbed = False
        self._disturbances = 0
        self._began = time.monotonic()
        self._kinds: list[Kind] = []
        self._lastNoop = 0.0

    def _count(self, fact: str) -> None:
        self.facts[fact] = int(str(self.facts[fact])) + 1

    # -- Clients -----------------------------------------------------------------------------------

    async def _client(self, until: float) -> None:
        """One client after the other; each kind once before chance decides."""
        weighted = deliverers() + FAULTS
        kinds, weights = zip(*weighted, strict=True)
        while time.monotonic() < until:
            kind = self._kinds.pop() if self._kinds else random.choices(kinds, weights)[0]
            await self._one(kind)
            await asyncio.sleep(random.random() * self.options.pause)

    async def _one(self, kind: Kind) -> None:
        """One client. Whoever met a kill or an outage of the store may fail, and nobody else."""
        before, wasDisturbed = self._disturbances, self._isDisturbed
        name = kind.__name__
        try:
            await kind(self.server.port, self.ledger)
            self.ledger.counts[name] += 1
        except (
            OSError,
            EOFError,
            asyncio.TimeoutError,
            smtplib.SMTPException,
            Unexpected,
        ) as error:
            if wasDisturbed or before != self._disturbances:
                self.ledger.counts["(met a kill or an outage)"] += 1
            else:
                # Alike but for numbers and ids is the same.
                what = re.sub(r"\b[0-9a-f]{6,}\b", "…", repr(error))
                self.ledger.failures[f"{name}: {what[:300]}"] += 1

    # -- Events ------------------------------------------------------------------------------------

    async def _open(self) -> None:
        began = time.monotonic()
        failed = await self.holder.ask(f"open {self.server.port} {self.options.connections}")
        if failed:
            self.faults.append(f"{failed} idle connections could not be opened")
        self.facts["seconds to open the idle connections"] = f"{time.monotonic() - began:.1f}"
        self._lastNoop = time.monotonic()

    async def _noop(self) -> None:
        """Let the idle ones speak, before the server takes them for dead."""
        failed = await self.holder.ask("noop")
        if failed:
            self.faults.append(f"{failed} idle connections were lost")
        self._lastNoop = time.monotonic()

    async def _kill(self) -> None:
        self._isDisturbed = True
        self._disturbances += 1
        await asyncio.to_thread(self.server.end, signal.SIGKILL)
        await asyncio.to_thread(self.server.start)
        await self._open()
        self._isDisturbed = False
        self.samples.clear()
        self._count("kills")

    async def _outage(self) -> None:
        """Take a folder of the store away for a moment."""
        folder = self.server.maildir / random.choice(("tmp", "new"))
        away = folder.with_name(f"{folder.name}.away")
        self._isDisturbed = True
        self._disturbances += 1
        folder.rename(away)
        await asyncio.sleep(random.uniform(0.2, 1))
        away.rename(folder)
        # What was under way in there has been answered by then.
        await asyncio.sleep(1)
        self._isDisturbed = False
        self._count("store outages")

    async def _hangUp(self) -> None:
        if await asyncio.to_thread(self.server.hangUp):
            self._count("certificates renewed by SIGHUP")
        else:
            self.faults.append("SIGHUP didn't bring the new certificate")

    def _plan(
        self, now: float, seconds: float
    ) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """What happens when."""
        plan: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            *(
                (random.uniform(0, seconds * KILLING), self._kill)
                for _ in range(self.options.kills)
            ),
            *(
                (random.uniform(0, seconds * 0.95), self._outage)
                for _ in range(max(1, int(seconds / 20)))
            ),
            *(
                (random.uniform(0, seconds * 0.95), self._hangUp)
                for _ in range(max(1, int(seconds / 30)))
            ),
        ]
        return sorted(((now + when, what) for when, what in plan), key=lambda entry: entry[0])

    async def _watch(self, until: float) -> None:
        """Sweep, measure, and let things happen."""
        seconds = until - time.monotonic()
        plan = self._plan(time.monotonic(), seconds)
        step = min(2.0, seconds / 20)
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(step, until - now))
            await asyncio.to_thread(self.ledger.sweep)
            self.samples.append(self._sample())
            while plan and plan[0][0] < time.monotonic():
                await plan.pop(0)[1]()
            if time.monotonic() > self._lastNoop + 120:
                await self._noop()

    def _sample(self) -> Sample:
        second = time.monotonic() - self._began
        return Sample(second, *self.server.memory(), self.server.descriptors())

    # -- The whole ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do it all; see :attr:`faults` then."""
        await self._open()
        # Now that it has answered, the reactor has all that it opens for itself.
        base = self.server.descriptors() - self.options.connections
        self._kinds = [kind for kind, _ in deliverers() + FAULTS]
        random.shuffle(self._kinds)
        self._began = time.monotonic()
        until = self._began + self.options.seconds
        clients = [self._client(until) for _ in range(self.options.clients)]
        await asyncio.gather(self._watch(until), *clients)
        self.facts["processor seconds of the server's last life"] = f"{self.server.seconds():.0f}"
        await self._noop()
        await self._descriptorsLeft(base)
        await self._stop()
        self.ledger.sweep()
        self._judgeMemory()
        self.faults += [
            f"{what}: {len(names)}, such as {', '.join(names[:5])}"
            for what, names in self.ledger.faults().items()
        ]
        self.faults += [f"{what} ({n} times)" for what, n in self.ledger.failures.items()]
        logged, injected = self.server.incidents()
        self.facts["bugs put into the handler"] = injected
        if logged != injected:
            self.faults.append(
                f"the server logged {logged} incidents, {injected} of them on purpose"
            )
        self.facts["leftovers in tmp"] = len(list((self.server.maildir / "tmp").iterdir()))

    async def _descriptorsLeft(self, base: int) -> None:
        """When the busy clients are gone, so must be their descriptors."""
        until = time.monotonic() + 60
        wanted = base + self.options.connections
        while (left := self.server.descriptors()) > wanted and time.monotonic() < until:
            await asyncio.sleep(0.2)
        self.facts["descriptors in the end, beside the idle ones"] = left - self.options.connections
        if left > wanted:
            self.faults.append(f"{left - wanted} descriptors more than in the beginning")

    async def _stop(self) -> None:
        """SIGTERM, with all the idle ones there: each is told, and the server ends."""
        began = time.monotonic()
        status = await asyncio.to_thread(self.server.end)
        self.facts["seconds to stop"] = f"{time.monotonic() - began:.1f}"
        if status not in (0, -signal.SIGTERM):
            self.faults.append(f"the server's exit status was {status}")
        await self.holder.end()

    def _judgeMemory(self) -> None:
        """Compare the settled middle of the server's last life with its end."""
        samples = self.samples
        count = len(samples)
        if count < 10:
            self.facts["memory"] = "too few samples to tell"
            return
        for field in ("rss", "anonymous"):
            sizes = [getattr(sample, field) for sample in samples]
            middle = _median(sizes[count * 2 // 5 : count * 3 // 5])
            end = _median(sizes[count * 4 // 5 :])
            self.facts[f"{field} memory, MiB: first, middle, end, most"] = (
                f"{sizes[0]:.1f}, {middle:.1f}, {end:.1f}, {max(sizes):.1f}"
            )
            if end > middle * (1 + SHARE) + TOLERANCE:
                self.faults.append(f"{field} memory grew from {middle:.1f} to {end:.1f} MiB")
        half = samples[count // 2 :]
        self.facts["anonymous memory over the second half, MiB an hour"] = f"{_slope(half):+.1f}"
        opened = [sample.descriptors for sample in samples]
        middleOpen = _median(opened[count * 2 // 5 : count * 3 // 5])
        self.facts["descriptors: middle, end, most"] = (
            f"{middleOpen:.0f}, {_median(opened[count * 4 // 5 :]):.0f}, {max(opened)}"
        )


def _median(values: list[float] | list[int]) -> float:
    return sorted(values)[len(values) // 2]


def _slope(samples: list[Sample]) -> float:
    """What anonymous memory grows by in an hour, by least squares."""
    seconds = [sample.second for sample in samples]
    sizes = [sample.anonymous for sample in samples]
    middle, mean = sum(seconds) / len(seconds), sum(sizes) / len(sizes)
    spread = sum((second - middle) ** 2 for second in seconds)
    product = sum((a - middle) * (b - mean) for a, b in zip(seconds, sizes, strict=True))
    return product / spread * 3600 if spread else 0.0


def curve(samples: list[Sample], points: int = 12) -> list[Sample]:
    """Some of the samples, evenly taken, the last one among them."""
    places = {len(samples) * n // points for n in range(points)} | {len(samples) - 1}
    return [samples[n] for n in sorted(places)] if samples else []
