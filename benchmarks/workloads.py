"""
What is measured, and how one measurement goes.

Each is made with a fresh process of the server: it is warmed up, then measured over a stretch of
work, then stopped and asked what it has received. That must be what was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.client import Load, OwnLoad, Source
from benchmarks.peers import Files, Peer, Server


@dataclass(frozen=True)
class Effort:
    """
    How much is done.

    :ivar seconds: how long a measured stretch takes, about.
    :ivar warmUp: a bound for each server's own.
    :ivar idle: how many idle connections there are.
    :ivar bulk: octets of a large message.
    """

    seconds: float = 2.0
    warmUp: float = 60.0
    idle: int = 2000
    bulk: int = 25 * 2**20


QUICK = Effort(seconds=0.05, warmUp=0.05, idle=20, bulk=2**18)


@dataclass
class Result:
    """
    One measurement.

    :ivar value: in the workload's unit.
    :ivar rate: messages, or octets of bulk, per second.
    :ivar peak: the server's peak memory in KiB; :attr:`growth` how much of it this load added.
    :ivar errors: what went wrong; a run with any has failed.
    """

    value: float
    rate: float
    peak: int
    growth: int
    errors: list[str]
    version: str = ""
    tls: str = ""


@dataclass(frozen=True)
class Workload:
    """
    :ivar name: for the command line; :attr:`title` and :attr:`unit` for the tables.
    :ivar measure: measures a peer.
    """

    name: str
    title: str
    unit: str
    measure: Callable[[Peer, Files, Effort], Result]


def failure(error: Exception | str) -> Result:
    """No measurement: something broke."""
    return Result(0.0, 0.0, 0, 0, [str(error)])


class _Tally:
    """Adds up what was sent to one server."""

    def __init__(self) -> None:
        self.messages = self.octets = 0
        self.errors: list[str] = []

    def add(self, result: dict[str, Any]) -> dict[str, Any]:
        self.messages += result["messages"]
        self.octets += result["octets"]
        self.errors += result["errors"]
        return result

    def compare(self, server: Server) -> None:
        """A message that was answered 250 and didn't arrive, whole, is an error."""
        sent = {"messages": self.messages, "octets": self.octets}
        if server.received is not None and server.received != sent:
            self.errors.append(f"sent {sent}, received {server.received}")


def _result(server: Server, used: float, units: float, seconds: float) -> Result:
    if not units:
        return failure("nothing was received")
    peak = server.memory("VmHWM")
    return Result(used / units * 1e6, units / seconds, peak, 0, [], server.version)


def _measure(
    peer: Peer,
    files: Files,
    effort: Effort,
    prepare: Callable[[Server], Load],
    isBulk: bool = False,
) -> Result:
    """
    Warm up, measure, check.

    :param prepare: begins the load.
    :param isBulk: whether it is octets that count, in MB, not messages.
    """
    tally = _Tally()
    with Server(peer, files) as server:
        with prepare(server) as load:
            tally.add(load.work(min(peer.warmUp, effort.warmUp)))
            server.forgetPeak()
            memory, before = server.memory("VmHWM"), server.cpu()
            done = tally.add(load.work(effort.seconds))
            used = server.cpu() - before
            units = done["octets"] / 1e6 if isBulk else done["messages"]
            result = _result(server, used, units, done["seconds"])
            result.growth = result.peak - memory
        result.tls = done.get("tls", "")
        server.stop()
    tally.compare(server)
    result.errors += tally.errors
    return result


def _source(*flags: str, **fallback: Any) -> Callable[[Peer, Files, Effort], Result]:
    """By smtp-source, or by our client where that isn't installed."""

    def measure(peer: Peer, files: Files, effort: Effort) -> Result:
        def prepare(server: Server) -> Load:
            if Source.find() is None:
                return OwnLoad(server.port, **fallback)
            return Source(server.port, files.folder, *flags)

        return _measure(peer, files, effort, prepare)

    return measure


def _own(isBulk: bool = False, **job: Any) -> Callable[[Peer, Files, Effort], Result]:
    """By our client."""

    def measure(peer: Peer, files: Files, effort: Effort) -> Result:
        size: dict[str, Any] = {"size": effort.bulk} if isBulk else {}
        return _measure(
            peer, files, effort, lambda server: OwnLoad(server.port, **job, **size), isBulk
        )

    return measure


def _starttls(group: str) -> Callable[[Peer, Files, Effort], Result]:
    def measure(peer: Peer, files: Files, effort: Effort) -> Result:
        # The version and the group are the client's to choose: they are the same for all.
        tls = {"certificate": str(files.certificate), "version": "TLSv1_3", "group": group}

        def prepare(server: Server) -> Load:
            with OwnLoad(server.port, 1, needs="STARTTLS"):
                return OwnLoad(server.port, _MANY, stays=False, tls=tls)

        return _measure(peer, files, effort, prepare)

    return measure


def _idle(peer: Peer, files: Files, effort: Effort) -> Result:
    """Memory for each connection that has said EHLO, and now says nothing."""
    with Server(peer, files) as server:
        with OwnLoad(server.port, 20):  # what only the first ones cost isn't counted
            pass
        before, used = server.memory("RssAnon"), server.cpu()
        with OwnLoad(server.port, effort.idle) as load:
            value = (server.memory("RssAnon") - before) / effort.idle
            used = server.cpu() - used
            result = _result(server, used, effort.idle, 1.0)
            result.value, result.rate = value, 0.0
            # They must all be there still, and be served.
            result.errors += load.work(60.0, count=effort.idle)["errors"]
        server.stop()
    return result


# So many at a time, because nodemailer waits 0.1 s before each greeting.
_MANY = 200
_FEW = 10

#: All of them, in the order of the tables.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "sessions",
            "1 message per connection",
            "µs",
            _source("-s", str(_MANY), connections=_MANY, stays=False),
        ),
        Workload(
            "messages",
            "many per connection",
            "µs",
            _source("-d", "-s", str(_FEW), connections=_FEW),
        ),
        Workload("pipelined", "pipelined", "µs", _own(connections=_FEW, pipelined=True)),
        Workload(
            "recipients",
            "100 recipients",
            "µs",
            _own(connections=_FEW, pipelined=True, recipients=100),
        ),
        Workload("bulk", "bulk DATA", "µs/MB", _own(True, connections=2)),
        Workload(
            "prose", "bulk DATA, text with dots", "µs/MB", _own(True, connections=2, kind="prose")
        ),
        Workload(
            "bdat", "bulk BDAT", "µs/MB", _own(True, connections=2, bdat=True, needs="CHUNKING")
        ),
        Workload("starttls", "STARTTLS session", "µs", _starttls("X25519")),
        Workload("idle", "idle connection", "KiB", _idle),
    )
}
