"""Leading the load: our own client process, or Postfix's smtp-source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.bodies import makeMessage
from benchmarks.peers import ROOT

_HOST = "127.0.0.1"  # and no other, ever

#: Messages that smtp-source is asked for at a time while a server is warmed up.
_BATCH = 500


class NotSupported(Exception):
    """The server hasn't got what a workload needs."""


class Client:
    """
    Our own client (:mod:`benchmarks.load`) in a process of its own. It is stopped when the ``with``
    block ends.

    :param port: the server's.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def do(self, kind: str, /, **job: Any) -> dict[str, Any]:
        """Do a job; see :mod:`benchmarks.load`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"do": kind, "host": _HOST, "port": self._port, **job})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the client has failed")
        result: dict[str, Any] = json.loads(answer)
        return result

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *details: object) -> None:
        self._process.kill()
        self._process.communicate()


class Load(AbstractContextManager["Load"]):
    """Messages for one server, of one kind. It is stopped when the ``with`` block ends."""

    def work(self, seconds: float) -> dict[str, Any]:
        """Send for so long; the answer is :mod:`benchmarks.load`'s."""
        raise NotImplementedError


class OwnLoad(Load):
    """
    Our client.

    :param port: the server's.
    :param connections: how many at a time.
    :param job: what kind of messages; see :mod:`benchmarks.load`.
    :param stays: whether connections stay open; otherwise there is one for each message.
    :param needs: an EHLO keyword.
    :raises NotSupported: if the server hasn't got that.
    """

    def __init__(
        self, port: int, connections: int, stays: bool = True, needs: str = "", **job: Any
    ) -> None:
        self._client = Client(port)
        self._job = job
        self._stays = stays
        self._errors: list[str] = []
        if not stays:
            self._job |= {"connections": connections}
            return
        said = self._client.do("open", connections=connections)
        self._errors = said["errors"]
        if needs and needs not in said.get("keywords", ()):
            self._client.__exit__()
            raise NotSupported(needs)

    def __enter__(self) -> OwnLoad:
        return self

    def work(self, seconds: float, **more: Any) -> dict[str, Any]:
        """See :class:`Load`; ``count=…`` is possible, too."""
        kind = "messages" if self._stays else "sessions"
        done = self._client.do(kind, seconds=seconds, **self._job, **more)
        done["errors"] += self._errors
        return done

    def __exit__(self, *details: object) -> None:
        if self._stays:
            self._client.do("close")
        self._client.__exit__()


class Source(Load):
    """
    Postfix's smtp-source, which is written in C and knows nothing of us.

    :param port: the server's.
    :param folder: for the message.
    :param flags: its flags.
    """

    def __init__(self, port: int, folder: Path, *flags: str) -> None:
        message = makeMessage(1024)
        # It puts a CR before each LF by itself, and an empty line behind the last.
        self._octets = message.octets + len(b"\r\n")
        path = folder / "message"
        path.write_bytes(b"".join(message.content()).replace(b"\r\n", b"\n"))
        found = self.find()
        assert found is not None
        self._command = [found, "-F", str(path), *flags]
        self._address = f"{_HOST}:{port}"
        self._rate = 0.0

    @staticmethod
    def find() -> str | None:
        """Where it is, if it is installed."""
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
        return shutil.which("smtp-source", path=path)

    def work(self, seconds: float) -> dict[str, Any]:
        """
        Send for about so long.

        It can't be told to do that, so the first time goes by small batches; later ones are a
        single run each, of as many messages as the first says will do.
        """
        if self._rate:
            return self._send(max(_BATCH, int(self._rate * seconds)))
        total: dict[str, Any] = {"messages": 0, "octets": 0, "seconds": 0.0, "errors": []}
        while total["seconds"] < seconds and not total["errors"]:
            part = self._send(_BATCH)
            total = {name: total[name] + part[name] for name in total}
        self._rate = total["messages"] / total["seconds"]
        return total

    def _send(self, count: int) -> dict[str, Any]:
        before = time.perf_counter()
        ended = subprocess.run(
            [*self._command, "-m", str(count), self._address],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        # It gives up at the first reply that isn't what it should be.
        errors = [ended.stderr.strip()] if ended.returncode or ended.stderr else []
        sent = 0 if errors else count
        return {
            "messages": sent,
            "octets": sent * self._octets,
            "seconds": time.perf_counter() - before,
            "errors": errors,
        }

    def __exit__(self, *details: object) -> None:
        """Nothing of it is left."""
