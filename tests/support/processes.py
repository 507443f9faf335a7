"""Programs that a test starts, and whose output it reads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE


def startProgram(
    case: SynchronousTestCase, *command: str, cwd: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """
    Start a program, which is killed when the test is over.

    :param case: the test.
    :param command: the program and its arguments.
    :param cwd: its folder.
    :param environment: variables to add to its environment.
    :returns: the process; its errors are in its output, too.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    case.addCleanup(process.stdout.close)
    case.addCleanup(process.wait, PATIENCE)
    case.addCleanup(process.kill)
    return process
