"""
How the cost grows: with the connections, the recipients, the octets of a message.

Only this library's server is asked. A curve that bends upwards would be a mistake in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.client import OwnLoad
from benchmarks.peers import PEERS, Files, Server
from benchmarks.report import curve, listTable

_CONNECTIONS = (10, 100, 1_000, 10_000)
_RECIPIENTS = (1, 10, 100, 1_000, 10_000)
_SIZES = (2**10, 2**15, 2**20, 2**25, 2**30)

#: Each point's work, in messages, recipients and octets; and the same for a test of all this.
_WORK = (5_000, 50_000, 2**30)
_LITTLE = (20, 100, 2**16)


def _cost(
    files: Files, connections: int, count: int, peer: str = "ours", **job: Any
) -> tuple[float, int]:
    """CPU seconds per message, and by how many KiB the peak memory grew."""
    sent: list[dict[str, Any]] = []
    with Server(PEERS[peer], files, "--max-recipients", "10000") as server:
        with OwnLoad(server.port, 1) as load:  # what is compiled or imported only once
            sent.append(load.work(1.0, count=min(1000, 10 * count)))
        with OwnLoad(server.port, connections, **job) as load:
            server.forgetPeak()
            memory, before = server.memory("VmHWM"), server.cpu()
            sent.append(load.work(300.0, count=count))
            used = server.cpu() - before
            growth = server.memory("VmHWM") - memory
        server.stop()
    errors = [error for each in sent for error in each["errors"]]
    totals = {name: sum(each[name] for each in sent) for name in ("messages", "octets")}
    if errors or server.received != totals or sent[-1]["messages"] != count:
        raise RuntimeError(f"sent {totals}, received {server.received}: {errors[:3]}")
    return used / count, growth


def measureGrowth(files: Files, output: Path, repeat: int, isQuick: bool) -> str:
    """
    Measure, and write the pictures.

    :param output: the folder for them.
    :param repeat: how often each point is measured; the median counts.
    :param isQuick: do next to nothing, only to see that it works.
    :returns: the tables.
    """
    messages, recipients, octets = _LITTLE if isQuick else _WORK
    most = 100 if isQuick else 10_000

    def points(
        steps: Sequence[int], measure: Callable[[int], tuple[float, int]]
    ) -> list[tuple[int, float, int]]:
        found = []
        for step in steps:
            costs = sorted(measure(step) for _ in range(repeat))
            cost, growth = costs[len(costs) // 2]
            found.append((step, cost * 1e6, growth))
            print(f"  {step:,}: {cost * 1e6:,.1f} µs", flush=True)
        return found

    connected = points(
        [step for step in _CONNECTIONS if step <= most],
        lambda n: _cost(files, n, max(messages, 2 * n)),
    )
    shipped = points(
        [step for step in _CONNECTIONS if step <= most],
        lambda n: _cost(files, n, max(messages, 2 * n), "ours-twistd"),
    )
    addressed = points(
        [step for step in _RECIPIENTS if step <= most],
        lambda n: _cost(
            files, 1, max(2, min(recipients // n, messages)), recipients=n, pipelined=True
        ),
    )
    sized = points(
        [step for step in _SIZES if step <= octets],
        lambda n: _cost(files, 1, max(1, min(octets // n, messages)), size=n),
    )
    names = ("growth-connections.svg", "growth-recipients.svg")
    titles = ("CPU per message, all connections at work", "CPU per recipient, pipelined")
    for name, title, label, curved in (
        (names[0], titles[0], "connections", [(n, cost) for n, cost, _ in connected]),
        (
            names[1],
            titles[1],
            "recipients of a message",
            [(n, cost / n) for n, cost, _ in addressed],
        ),
    ):
        (output / name).write_text(curve(title, label, "µs", curved))
    return (
        listTable(
            "Connections at work",
            ("connections", "µs per message", "… as shipped"),
            [
                (f"{n:,}", f"{cost:,.1f}", f"{whole:,.1f}")
                for (n, cost, _), (_, whole, _) in zip(connected, shipped, strict=True)
            ],
        )
        + listTable(
            "Recipients",
            ("recipients", "µs per message", "µs per recipient"),
            [(f"{n:,}", f"{cost:,.1f}", f"{cost / n:,.2f}") for n, cost, _ in addressed],
        )
        + listTable(
            "Octets of a message",
            ("KiB", "µs per message", "µs per MB", "memory added, KiB"),
            [
                (f"{n // 1024:,}", f"{cost:,.0f}", f"{cost / n * 1e6:,.0f}", f"{growth:,}")
                for n, cost, growth in sized
            ],
        )
    )
