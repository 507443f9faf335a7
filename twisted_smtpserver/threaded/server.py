"""A server that runs in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.threads import deferToThreadPool

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.factory import SMTPServerFactory
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.threaded.reactors import ReactorThread, sharedReactor

_Self = TypeVar("_Self", bound="ServerThread")

#: How much longer than ``closeTimeout`` :meth:`ServerThread.stop` waits, in seconds.
STOP_SECONDS = 10


class ServerThread:
    """
    Receives mail in a thread, for a program that runs no reactor.

    :param handler: as for :class:`~twisted_smtpserver.SMTPServerFactory`; or give hooks by name.
    :param host: the address to listen on: an IPv4 or IPv6 address of this machine.
    :param port: the TCP port to listen on; with 0 the system chooses one.
    :param endpoint: listen there instead, on ``"unix:/run/app/lmtp.sock"`` for example; a
        description as :func:`twisted.internet.endpoints.serverFromString` takes it.
    :param thread: where the server runs; by default in the thread of the process's reactor.
    :param options: options of the server (:class:`~twisted_smtpserver.Options`) and hooks.
    :ivar factory: the server's :class:`~twisted_smtpserver.SMTPServerFactory`.
    :ivar host: the address that it listens on, once it was started.
    :ivar port: the port that it listens on, once it was started.
    :raises ConfigurationError: if an option or the handler is invalid.
    """

    def __init__(
        self,
        handler: object = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        endpoint: str | None = None,
        thread: ReactorThread | None = None,
        **options: Any,
    ) -> None:
        if endpoint is None:
            kind = "tcp6" if ":" in host else "tcp"
            endpoint = f"{kind}:{port:d}:interface={quoteStringArgument(host)}"
        self.thread = thread or sharedReactor()
        reactor = self.thread.reactor
        self.factory = SMTPServerFactory(handler, reactor=reactor, **options)
        self.factory.runInThread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self.host = host
        self.port = port
        self._service = SMTPService([(endpoint, self.factory)], reactor)
        self._lock = threading.Lock()

    def __enter__(self: _Self) -> _Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return bool(self._service.running)

    def start(self) -> None:
        """
        Listen. When this returns, clients can connect.

        :raises twisted.internet.error.CannotListenError: if the port is taken, or isn't ours to
            take.
        :raises ConfigurationError: if it is already listening, or its thread can't run.
        """
        with self._lock:
            if self._service.running:
                raise ConfigurationError(f"the server is already listening, on port {self.port}")
            self.thread.start()
            try:
                self.thread.call(self._service.startService)
            except KeyboardInterrupt:  # nobody has the server to stop it
                self.thread.reactor.callFromThread(self._service.stopService)
                raise
            for listening in self._service.ports:
                address = listening.getHost()
                self.host = getattr(address, "host", self.host)
                self.port = getattr(address, "port", self.port)

    def stop(self) -> None:
        """
        Stop listening, then close the connections: idle ones at once, with 421; those in the middle
        of a message when it is done, or when the option ``closeTimeout`` has passed. When this
        returns, no hook runs any more. A server that doesn't run stays as it is.

        :raises TimeoutError: if a hook keeps the thread.
        """
        with self._lock:
            if self._service.running:
                limit = self.factory.options.closeTimeout + STOP_SECONDS
                self.thread.call(self._service.stopService, timeout=limit)

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float = 60) -> Any:
        """
        Call a function in the server's thread, where the handler's hooks run, and wait for its
        result::

            server.call(server.factory.updateSecureContext)

        :param function: may return a Deferred, which is waited for as well.
        :param timeout: how long to wait, in seconds.
        :returns: its result.
        :raises TimeoutError: if there is none in time.
        :raises Exception: what the function raised.
        """
        return self.thread.call(function, *arguments, timeout=timeout)
