"""``python -m tests.reliability.soak``; see ``tests/reliability/README.rst``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import random
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import twisted
from tests.reliability.soak.run import Soak, curve
from tests.reliability.soak.server import Server

#: Descriptors for all that isn't an idle connection.
SPARE = 400


def table(title: str, headings: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table in reStructuredText."""
    cells = [headings, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(headings))]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]
    text = "\n".join(line.rstrip() for line in (rule, lines[0], rule, *lines[1:], rule))
    return f"{title}\n{'-' * len(title)}\n\n{text}\n"


def report(soak: Soak) -> str:
    """What happened, in reStructuredText."""
    ledger = soak.ledger
    fates = [(fate, sent, stored) for fate, (sent, stored) in ledger.fates().items()]
    machine: list[tuple[object, ...]] = [
        ("processors", os.cpu_count()),
        ("Python", platform.python_version()),
        ("Twisted", twisted.__version__),
        ("seconds", f"{soak.options.seconds:.0f}"),
        ("idle connections", soak.options.connections),
        ("busy clients at a time", soak.options.clients),
    ]
    samples: list[tuple[object, ...]] = [
        (f"{s.second:.0f}", f"{s.rss:.1f}", f"{s.anonymous:.1f}", s.descriptors)
        for s in curve(soak.samples)
    ]
    codes: dict[str, list[str]] = {}
    for (what, code), count in sorted(ledger.codes.items()):
        codes.setdefault(what, []).append(f"{code}: {count}")
    return "\n".join(
        (
            table("Run", ("What", "How much"), [*machine, *soak.facts.items()]),
            table("Messages", ("Fate", "Messages", "Stored"), list(fates)),
            table("Clients", ("Kind", "Done"), sorted(ledger.counts.items())),
            table("Replies", ("To", "Codes"), [(w, ", ".join(c)) for w, c in codes.items()]),
            table("The server", ("Second", "RSS", "Anonymous", "Descriptors"), samples),
        )
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line, and get the descriptors that it takes."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability.soak", description="Soak the server in mixed clients."
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--connections", type=int, default=500, help="idle ones, all the time")
    parser.add_argument("--clients", type=int, default=30, help="busy ones at a time")
    parser.add_argument("--pause", type=float, default=0.1, help="between a client and the next, s")
    parser.add_argument(
        "--kills", type=int, help="kill -9 the server so often [default: every 120 s of the run]"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--report", type=Path, help="write the tables to this file, too")
    options = parser.parse_args(arguments)
    if options.kills is None:
        options.kills = max(1, int(options.seconds / 120))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < options.connections + options.clients + SPARE:
        options.connections = max(0, hard - options.clients - SPARE)
        print(f"The limit of open files is {hard}: {options.connections} idle connections.")
    needed = options.connections + options.clients + SPARE
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return options


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = parse(arguments)
    random.seed(options.seed)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # writes to a server that was killed
    folder = Path(tempfile.mkdtemp(prefix="soak"))
    # A handler that hangs is to be given up soon, but no disk is to look like one.
    server = Server(folder, patience=min(20, max(4, options.seconds / 10)))
    try:
        server.start()
        soak = Soak(options, server)
        asyncio.run(soak.run())
    finally:
        server.kill()
    text = report(soak)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")
    print(text)
    print("\n".join(soak.faults) or "Nothing was lost.")
    if soak.faults:
        print(f"The server's log: {folder / 'log'}")
    else:
        shutil.rmtree(folder)
    return bool(soak.faults)


if __name__ == "__main__":
    sys.exit(main())
