"""
Tells systemd that the server is ready, reads its files again, stops, is alive.

The messages and the variables are those of sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.service import SMTPService

_log = Logger()

#: How often to see whether all workers serve, until they do, in seconds.
START_INTERVAL = 0.1

#: How often to check whether the status has changed, in seconds, if there is no watchdog.
STATUS_INTERVAL = 30.0


class Notifier:
    """
    Sends messages to systemd.

    :param address: where systemd listens: the value of ``NOTIFY_SOCKET``.
    :param watchdog: within how many seconds systemd wants a sign of life; ``None`` if it doesn't.
    :raises OSError: if nobody listens there.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        self._hasFailed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            # Connected now, so that --chroot and --uid make no difference. "@" is for a name that
            # is in no file system (unix(7)).
            self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
        except (OSError, ValueError):
            self._socket.close()
            raise

    def tell(self, *fields: str) -> None:
        """
        Send a message. A failure is logged once; the server goes on.

        :param fields: its lines, such as ``READY=1``.
        """
        try:
            self._socket.send("\n".join(fields).encode())
        except OSError as error:
            if not self._hasFailed:
                _log.warn("The server's state can't be sent to systemd: {error}", error=error)
            self._hasFailed = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def findNotifier(environment: MutableMapping[str, str]) -> Notifier | None:
    """
    Make the notifier that the environment asks for. The variables are removed: they aren't meant
    for workers, nor for what a handler starts.

    :param environment: the process's environment.
    :returns: ``None`` if it asks for none.
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    microseconds = environment.pop("WATCHDOG_USEC", "")
    isForUs = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not address:
        return None
    watchdog = int(microseconds) / 1e6 if microseconds.isdecimal() and isForUs else None
    try:
        return Notifier(address, watchdog or None)
    except (OSError, ValueError) as error:
        _log.warn("NOTIFY_SOCKET: {address!r}: {error}", address=address, error=error)
        return None


class Systemd(Service):
    """
    Tells systemd the server's state, from the reactor: a server that hangs gives no sign of life.

    It has to be the last of the services: then it is started last, and stopped first.

    :param notifier: what sends the messages.
    :param server: the server.
    :param reactor: by default the reactor.
    """

    def __init__(self, notifier: Notifier, server: SMTPService, reactor: Any = None) -> None:
        self._notifier = notifier
        self._server = server
        self._reactor = reactor if reactor is not None else theReactor()
        self._reload = server.onHangUp
        self._isReady = False
        self._status = ""
        self._timer: Any = None

    def startService(self) -> None:
        """Say that the server is ready, as soon as it is."""
        super().startService()
        self._reload, self._server.onHangUp = self._server.onHangUp, self._hungUp
        self._beat()

    def stopService(self) -> None:
        """Say that the server is stopping; signs of life go on until it has stopped."""
        super().stopService()
        self._notifier.tell("STOPPING=1", "STATUS=Messages in flight may finish")

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._notifier.close()

    def _beat(self) -> None:
        fields = [] if self._notifier.watchdog is None else ["WATCHDOG=1"]
        if self.running:
            fields += self._news()
        if fields:
            self._notifier.tell(*fields)
        # Half of the time, as sd_watchdog_enabled(3) recommends.
        interval = (self._notifier.watchdog or 2 * STATUS_INTERVAL) / 2
        if not self._isReady:
            interval = min(interval, START_INTERVAL)
        self._timer = self._reactor.callLater(interval, self._beat)

    def _news(self) -> list[str]:
        """What has changed since the last time."""
        news = []
        if not self._isReady and self._server.isServing:
            self._isReady = True
            news.append("READY=1")
        status = self._server.describe()
        if status != self._status:
            self._status = status
            news.append(f"STATUS={status}")
        return news

    def _hungUp(self) -> Deferred[bool]:
        if not self._isReady:
            return self._reload()
        # Type=notify-reload compares this time with that of its SIGHUP.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={now}")
        return self._reload().addBoth(self._reloaded)

    def _reloaded(self, result: Any) -> Any:
        self._notifier.tell("READY=1")
        return result


def tellSystemd(services: MultiService, environment: MutableMapping[str, str]) -> None:
    """
    Make the service that tells systemd the server's state, if the environment asks for it.

    :param services: all services, with the server among them.
    :param environment: the process's environment.
    """
    notifier = findNotifier(environment)
    if notifier is not None:
        (server,) = (each for each in services if isinstance(each, SMTPService))
        Systemd(notifier, server).setServiceParent(services)
