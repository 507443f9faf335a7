"""
How the cost grows: with the connections, the recipients, the octets of a message.

Only this library's server is asked: the embedded factory and the shipped command of this checkout,
and of each Python that ``--python`` names. A curve that bends upwards would be a mistake in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import OwnLoad
from benchmarks.peers import PEERS, Files, Server
from benchmarks.report import curve, listTable

_CONNECTIONS = (10, 100, 1_000, 10_000)
_RECIPIENTS = (1, 10, 100, 1_000, 10_000)
_SIZES = (2**10, 2**15, 2**20, 2**25, 2**30)

# Those that the sentences are about.
_MANY = 1_000
_LARGE = 2**25

#: Each point's work, in messages, recipients and octets; and the same for a test of all this.
_WORK = (5_000, 50_000, 2**30)
_LITTLE = (20, 100, 2**16)

#: By the number of connections, recipients or octets: microseconds for each message, and the KiB
#: that the peak memory grew by.
Points = Mapping[int, tuple[float, int]]


@dataclass(frozen=True)
class Growth:
    """
    What was measured of one form.

    :ivar title: for tables and pictures.
    :ivar connected: by the number of connections; :attr:`shipped`: the same of the command.
    :ivar addressed: by the number of recipients.
    :ivar sized: by the octets of a message.
    """

    title: str
    connected: Points
    shipped: Points
    addressed: Points
    sized: Points

    def sentence(self) -> str:
        """What docs/topics/performance.rst says of it."""
        recipients = [cost / n for n, (cost, _) in self.addressed.items() if n >= _MANY]
        large = {n: point for n, point in self.sized.items() if n >= _LARGE}
        megabytes = [cost / n * 1e6 for n, (cost, _) in large.items()]
        memory = max((growth for _, growth in large.values()), default=0)
        return (
            f"{self.title}: a message costs {_span(self.connected)}, as shipped"
            f" {_span(self.shipped)}; a recipient {_range(recipients)} µs where there are"
            f" {_MANY:,} and more of them; a megabyte {_range(megabytes)} µs in messages of"
            f" {_LARGE // 2**20} MiB and more, which take {memory:,} KiB of memory at most.\n\n"
        )

    def tables(self) -> str:
        """All figures."""
        connected = [
            (f"{n:,}", f"{cost:,.1f}", f"{self.shipped[n][0]:,.1f}")
            for n, (cost, _) in self.connected.items()
        ]
        addressed = [
            (f"{n:,}", f"{cost:,.1f}", f"{cost / n:,.2f}")
            for n, (cost, _) in self.addressed.items()
        ]
        sized = [
            (f"{n // 1024:,}", f"{cost:,.0f}", f"{cost / n * 1e6:,.0f}", f"{growth:,}")
            for n, (cost, growth) in self.sized.items()
        ]
        return (
            listTable(
                f"Connections at work, {self.title}",
                ("connections", "µs per message", "… as shipped"),
                connected,
            )
            + listTable(
                f"Recipients, {self.title}",
                ("recipients", "µs per message", "µs per recipient"),
                addressed,
            )
            + listTable(
                f"Octets of a message, {self.title}",
                ("KiB", "µs per message", "µs per MB", "memory added, KiB"),
                sized,
            )
        )


def _span(points: Points) -> str:
    first, last = min(points), max(points)
    few, many = points[first][0], points[last][0]
    return f"{few:,.0f} µs at {first:,} connections and {many:,.0f} µs at {last:,}"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"  # a hurried run
    ends = [f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in sorted(values)]
    return " to ".join(dict.fromkeys((ends[0], ends[-1])))


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


class _Measuring:
    """
    Measures the points of one form.

    :param title: the form's.
    :param repeat: how often each point is measured; the median counts.
    :param isQuick: do next to nothing, only to see that it works.
    """

    def __init__(self, files: Files, title: str, repeat: int, isQuick: bool) -> None:
        self._files = files
        self._title = title
        self._repeat = repeat
        self._messages, self._recipients, self._octets = _LITTLE if isQuick else _WORK
        self._most = 100 if isQuick else 10_000

    def connections(self, peer: str) -> Points:
        """So many connections, all at work."""
        steps = [each for each in _CONNECTIONS if each <= self._most]
        return {n: self._point(peer, n, max(self._messages, 2 * n)) for n in steps}

    def recipients(self, peer: str) -> Points:
        """So many recipients of a message."""
        counts = {
            n: max(2, min(self._recipients // n, self._messages))
            for n in _RECIPIENTS
            if n <= self._most
        }
        return {
            n: self._point(peer, 1, count, recipients=n, pipelined=True)
            for n, count in counts.items()
        }

    def octets(self, peer: str) -> Points:
        """So many octets of a message."""
        counts = {
            n: max(1, min(self._octets // n, self._messages)) for n in _SIZES if n <= self._octets
        }
        return {n: self._point(peer, 1, count, size=n) for n, count in counts.items()}

    def _point(self, peer: str, connections: int, count: int, **job: Any) -> tuple[float, int]:
        costs = sorted(
            _cost(self._files, connections, count, peer, **job) for _ in range(self._repeat)
        )
        cost, growth = costs[len(costs) // 2]
        print(f"  {self._title}, {peer}, {connections:,} {job}: {cost * 1e6:,.1f} µs", flush=True)
        return cost * 1e6, growth


def _forms(peers: Iterable[str]) -> dict[str, str]:
    """The titles of the forms, and what their peers' names end in."""
    ends = [name.removeprefix("ours") for name in peers if name.partition("@")[0] == "ours"]
    return {end.removeprefix("@") or "this checkout": end for end in ends}


def measureGrowth(
    files: Files, output: Path, repeat: int, isQuick: bool, peers: Iterable[str]
) -> str:
    """
    Measure, and write the pictures.

    :param output: the folder for them.
    :param repeat: how often each point is measured; the median counts.
    :param isQuick: do next to nothing, only to see that it works.
    :param peers: the names of the servers, of which ours count.
    :returns: the sentences of docs/topics/performance.rst, and the tables.
    """
    found = []
    for title, end in _forms(peers).items():
        measuring = _Measuring(files, title, repeat, isQuick)
        ours = f"ours{end}"
        found.append(
            Growth(
                title,
                connected=measuring.connections(ours),
                shipped=measuring.connections(f"ours-twistd{end}"),
                addressed=measuring.recipients(ours),
                sized=measuring.octets(ours),
            )
        )
    connected = {each.title: _points(each.connected) for each in found}
    addressed = {each.title: _points(each.addressed, isEach=True) for each in found}
    for name, title, label, curves in (
        ("connections", "CPU per message, all connections at work", "connections", connected),
        ("recipients", "CPU per recipient, pipelined", "recipients of a message", addressed),
    ):
        (output / f"growth-{name}.svg").write_text(curve(title, label, "µs", curves))
    return "".join([each.sentence() for each in found] + [each.tables() for each in found])


def _points(points: Points, isEach: bool = False) -> list[tuple[float, float]]:
    return [(n, cost / n if isEach else cost) for n, (cost, _) in points.items()]
