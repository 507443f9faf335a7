"""For pytest only; trial has the same by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in a temporary folder, as trial does: that is where ``mktemp()`` puts its files."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("run"))
    yield
    os.chdir(before)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Heed Control-C, which a shell lets its background jobs ignore, and all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
