"""
Certificates that are renewed: whether their files have changed, and when they end.

The files are looked at with ``stat``, which follows symbolic links. certbot and Kubernetes renew by
turning a link to another file, and nothing happens then to the file that inotify would watch.
"""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509
from twisted.internet.defer import Deferred

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.tls.certificates import certificateNames

#: How often the files are looked at, in seconds.
INTERVAL = 30.0

#: The shortest interval, in seconds.
LEAST_INTERVAL = 1.0

#: Files that have changed are read when they have been the same for so long, in seconds.
QUIET = 1.0

#: How long before its end a certificate is warned of.
WARNING_TIME = datetime.timedelta(days=14)

#: What tells one content of a file from another without reading it, or why that can't be told.
Stamps = dict[str, "tuple[int, ...] | str"]


def stampsOf(paths: Iterable[str]) -> Stamps:
    """
    Look at files.

    :param paths: where they are.
    :returns: what changes when a file's content does, when a link leads to another file, and when a
        file that couldn't be read can be.
    """
    return {path: _stampOf(path) for path in paths}


def _stampOf(path: str) -> tuple[int, ...] | str:
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    isReadable = os.access(path, os.R_OK, effective_ids=True)
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        isReadable,
    )


class CertificateWatch:
    """
    Looks at files every so often, and has them read when they have changed and are quiet again.

    The files are looked at in a thread, because a network's file system may keep one waiting.

    :param interval: how often, in seconds; 0 for never.
    :param clock: the reactor.
    :param files: returns the files' paths.
    :param reload: has the files read.
    :param runInThread: as :func:`twisted.internet.threads.deferToThread`.
    :raises ConfigurationError: if the interval is too short.
    :ivar known: the files as they were when they were read.
    """

    def __init__(
        self,
        interval: float,
        clock: Any,
        files: Callable[[], list[str]],
        reload: Callable[[], Deferred[Any]],
        runInThread: Callable[..., Deferred[Any]],
    ) -> None:
        if interval and not LEAST_INTERVAL <= interval < math.inf:
            raise ConfigurationError(
                f"renewalInterval: {interval:g} is neither 0 nor at least {LEAST_INTERVAL:g}"
            )
        self.known = stampsOf(files())
        self._seen = self.known
        self._files = files
        self._interval = interval
        self._clock = clock
        self._reload = reload
        self._runInThread = runInThread
        self._timer: Any = None

    @property
    def isOn(self) -> bool:
        """Whether the files are looked at."""
        return self._interval > 0

    def start(self) -> None:
        """Begin: the first look is now."""
        if self.isOn:
            self._lookIn(0)

    def stop(self) -> None:
        """Look no more."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _lookIn(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        files = self._files()
        if files:
            looking = self._runInThread(stampsOf, files)
            looking.addCallback(self._looked, self._timer)
        else:  # not worth a thread
            self._lookIn(self._interval)

    def _looked(self, found: Stamps, timer: Any) -> None:
        if self._timer is not timer:  # it was stopped meanwhile
            return
        if found in (self.known, self._seen):
            isChanged, self.known = found != self.known, found
            self._lookIn(self._interval)
            if isChanged:
                self._reload()
        else:  # somebody may still be writing
            self._lookIn(QUIET)
        self._seen = found


def firstEnd(certificates: Iterable[x509.Certificate]) -> datetime.datetime | None:
    """
    When the first of some certificates ends.

    :returns: the time in UTC; ``None`` if there is no certificate.
    """
    return min((each.not_valid_after_utc for each in certificates), default=None)


def describeEnd(certificate: x509.Certificate) -> tuple[str, bool]:
    """
    Say when a certificate ends.

    :returns: a line for the log, and whether it is a warning: the certificate has ended, or will
        before :data:`WARNING_TIME` is over.
    """
    end = certificate.not_valid_after_utc
    left = end - datetime.datetime.now(datetime.timezone.utc)
    names = certificateNames(certificate)
    if left <= datetime.timedelta():
        return f"The certificate of {names} expired on {end:%Y-%m-%d}: renew it now", True
    text = f"The certificate of {names} expires on {end:%Y-%m-%d}"
    if left > WARNING_TIME:
        return text, False
    soon = f"{left.days} days" if left.days > 1 else f"{left // datetime.timedelta(hours=1)} hours"
    return f"{text}, in {soon}: it should have been renewed by now", True
