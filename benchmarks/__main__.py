"""
The command.

``python -m benchmarks``
    All workloads against all servers that are installed.
``python -m benchmarks growth``
    How our cost grows.
``python -m benchmarks workers``
    What a message costs with two, four and eight workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.certificates import KEYS, makeFiles
from benchmarks.client import NotSupported
from benchmarks.growth import measureGrowth
from benchmarks.peers import HERE, PEERS, Files, Unavailable, installed
from benchmarks.report import bars, sound, tables
from benchmarks.workers import measureWorkers
from benchmarks.workloads import QUICK, WORKLOADS, Effort, Result, failure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", nargs="?", choices=tuple(_COMMANDS), default="compare")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    parser.add_argument(
        "--repeat", type=int, default=3, help="repetitions, of which the median counts"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--peers", default=",".join(PEERS), help="servers, with commas between")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="measure what this Python has installed, too",
    )
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="with commas between")
    parser.add_argument("--key", choices=KEYS, help="the certificate's key")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a folder")
    return parser


def _available(names: list[str], files: Files) -> tuple[dict[str, str], dict[str, str]]:
    """The servers that are there, with their titles; and why others aren't."""
    titles: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            PEERS[name].command(files)
        except Unavailable as why:
            missing[name] = str(why)
        else:
            titles[name] = PEERS[name].title
    return titles, missing


def _compare(given: argparse.Namespace, files: Files) -> int:
    titles, missing = _available(given.peers.split(","), files)
    for why in missing.values():
        print(f"Left out: {why}", flush=True)
    effort = QUICK if given.quick else Effort(seconds=given.seconds)
    results: dict[tuple[str, str], list[Result]] = {}
    # In turn, so that whatever else the machine does meets all of them.
    for number in range(given.repeat):
        for workload in given.workloads.split(","):
            for peer in titles:
                result = _once(workload, peer, files, effort)
                if result is not None:
                    results.setdefault((workload, peer), []).append(result)
                    _show(f"{number + 1} {workload:10} {peer:12}", result, WORKLOADS[workload].unit)
    return _write(given.output, results, titles, missing)


def _once(workload: str, peer: str, files: Files, effort: Effort) -> Result | None:
    if workload not in (PEERS[peer].only or WORKLOADS):
        return None
    try:
        return WORKLOADS[workload].measure(PEERS[peer], files, effort)
    except NotSupported:
        return None
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        return failure(error)  # the others' results would be lost with it


def _show(what: str, result: Result, unit: str) -> None:
    print(f"{what} {result.value:10,.1f} {unit}", flush=True)
    for error in result.errors[:3]:
        print(f"  FAILED: {error}", flush=True)


def _commit() -> str:
    """What this checkout is at."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    return ended.stdout.strip() or "unknown"


def _write(
    output: Path,
    results: dict[tuple[str, str], list[Result]],
    titles: dict[str, str],
    missing: dict[str, str],
) -> int:
    output.mkdir(parents=True, exist_ok=True)
    raw = [
        {"workload": workload, "peer": peer, **dataclasses.asdict(result)}
        for (workload, peer), repetitions in results.items()
        for result in repetitions
    ]
    (output / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    good = {key: sound(each) for key, each in results.items() if sound(each)}
    (output / "results.rst").write_text(f"{tables(good, titles, missing)}* Commit {_commit()}\n")
    (output / "results.svg").write_text(bars(good, titles))
    failed = sum(bool(each["errors"]) for each in raw)
    print(f"{len(raw)} measurements, {failed} failed; see {output}")
    return 1 if failed else 0


def _growth(given: argparse.Namespace, files: Files) -> int:
    given.output.mkdir(parents=True, exist_ok=True)
    peers = given.peers.split(",")
    table = f"Commit {_commit()}\n\n"
    table += measureGrowth(files, given.output, given.repeat, given.quick, peers)
    (given.output / "growth.rst").write_text(table)
    print(f"\n{table}See {given.output}")
    return 0


def _workers(given: argparse.Namespace, files: Files) -> int:
    given.output.mkdir(parents=True, exist_ok=True)
    seconds = 0.2 if given.quick else given.seconds
    table = measureWorkers(files, given.repeat, seconds, given.quick)
    print(table)
    (given.output / "workers.rst").write_text(table)
    return 0


_COMMANDS = {"compare": _compare, "growth": _growth, "workers": _workers}


def main() -> int:
    """Run it."""
    parser = _parser()
    given = parser.parse_args()
    for each in given.python:
        name, _, interpreter = each.partition("=")
        try:
            others = installed(name, interpreter)
        except Unavailable as why:
            parser.error(str(why))
        PEERS.update(others)
        given.peers = ",".join((given.peers, *others))
    for name, known in (("peers", PEERS), ("workloads", WORKLOADS)):
        unknown = set(getattr(given, name).split(",")) - set(known)
        if unknown:
            parser.error(f"--{name}: no {', '.join(sorted(unknown))} among {', '.join(known)}")
    # So that what was started is stopped, if this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # smtp-sink gives its privileges up
        # Signing with RSA is the work that there is most of to share.
        key = given.key or ("rsa3072" if given.command == "workers" else "ec")
        return _COMMANDS[given.command](given, makeFiles(Path(folder), key))


if __name__ == "__main__":
    sys.exit(main())
