"""Folders to work in."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


def enterFolder(case: SynchronousTestCase) -> Path:
    """
    Make a folder, and work in it until the test ends.

    :param case: the test.
    :returns: the folder.
    """
    folder = Path(case.mktemp()).absolute()
    folder.mkdir()
    case.addCleanup(os.chdir, Path.cwd())
    os.chdir(folder)
    return folder
