"""
The plugin for pytest: the fixtures ``smtpserver`` and ``smtpserver_factory``.

pytest imports it in each of its runs, so it stands outside of the package and imports nothing but
pytest until a test asks for a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twisted_smtpserver.testing import CapturingServer

_MARK = (
    "smtpserver(**options): options for the fixture smtpserver, for example tls=True, "
    'users={"ann": "secret"}, size=1000'
)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def smtpserver_factory() -> Iterator[Callable[..., CapturingServer]]:
    """Make SMTP servers that keep what they receive: ``smtpserver_factory(tls=True)``."""
    from twisted_smtpserver.testing import CapturingServer

    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(CapturingServer(**options))


@pytest.fixture
def smtpserver(
    request: pytest.FixtureRequest, smtpserver_factory: Callable[..., CapturingServer]
) -> CapturingServer:
    """An SMTP server on 127.0.0.1 that keeps what it receives; a new one for each test."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("smtpserver"))):  # the nearest rules
        if mark.args:
            pytest.fail("pytest.mark.smtpserver takes its options by name", pytrace=False)
        options |= mark.kwargs
    return smtpserver_factory(**options)
