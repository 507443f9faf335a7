"""The flag of ``twistd smtpserver`` for transcripts, and SIGUSR2, which reads its file again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from twisted_smtpserver.errors import ConfigurationError
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.log.transcript import Rule, Transcriber, parseRules
from twisted_smtpserver.service import SMTPService
from twisted_smtpserver.twistd.supervisor import Supervisor
from twisted_smtpserver.twistd.worker import WorkerService

_log = Logger()

#: The longest file of rules, in octets.
MAX_FILE = 65536


def transcriptServices(config: Any, server: SMTPService) -> list[Service]:
    """
    Make what ``--transcript`` asks for.

    :param config: the parsed command line.
    :param server: what serves: in a supervisor, the supervisor.
    :returns: the services that it takes.
    """
    if "transcript" not in config:
        return []
    # twistd goes to its --rundir later.
    path = os.path.abspath(config["transcript"])
    if isinstance(server, Supervisor):
        return [TranscriptFile(path, lambda rules: server.useTranscripts(asJSON(rules)))]
    listening = Listening(server)
    if not isinstance(server, WorkerService):
        return [TranscriptFile(path, listening.use)]
    # It is the supervisor that reads the file.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    server.onTranscripts = listening.useHanded
    listening.useHanded(config.handover.transcripts)
    return []


class TranscriptFile(Service):
    """
    Reads the file at SIGUSR2. It isn't read before.

    :param path: its path.
    :param use: called with the rules.
    :param reactor: by default the reactor.
    """

    def __init__(
        self, path: str, use: Callable[[Sequence[Rule]], object], reactor: Any = None
    ) -> None:
        self._path = path
        self._use = use
        self._reactor = theReactor() if reactor is None else reactor
        self._before: Any = None

    def startService(self) -> None:
        """Wait for the signal."""
        super().startService()
        self._before = signal.signal(signal.SIGUSR2, self._signaled)

    def stopService(self) -> None:
        """
        End all transcripts. From here on the signal is ignored: by default it would kill the
        process.
        """
        super().stopService()
        self._use([])
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    def _signaled(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.read)

    def read(self) -> None:
        """Read the file, and use its rules; if that can't be done, the log says why."""
        if not self.running:
            return
        try:
            with open(self._path, "rb") as file:
                octets = file.read(MAX_FILE + 1)
            if len(octets) > MAX_FILE:
                raise ConfigurationError(f"it has more than {MAX_FILE} octets")
            rules = parseRules(octets.decode("utf-8"), time.time())
        except OSError as error:
            _log.error("--transcript: {path}: {why}", path=self._path, why=error.strerror)
        except (ConfigurationError, UnicodeDecodeError) as error:
            why = "it isn't UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            _log.error("--transcript: {path}: {why}", path=self._path, why=why)
        else:
            if not rules:
                _log.info("--transcript: {path} asks for no transcripts", path=self._path)
            self._use(rules)


class Listening:
    """
    Listens to a server's connections, as long as there is a transcript.

    :param server: the server.
    :param reactor: by default the reactor.
    """

    def __init__(self, server: SMTPService, reactor: Any = None) -> None:
        self._server = server
        self._transcriber = Transcriber(theReactor() if reactor is None else reactor)

    def use(self, rules: Iterable[Rule]) -> None:
        """
        Use other rules.

        :param rules: the rules.
        """
        factories = self._server.factories()
        connections = [each for factory in factories for each in factory.connections]
        self._transcriber.use(list(rules), connections)
        for factory in factories:
            factory.listener = self._transcriber.attach if self._transcriber.isOn else None

    def useHanded(self, rules: Iterable[Mapping[str, Any]]) -> None:
        """
        (In a worker.) Use the rules that the supervisor has read.

        :param rules: what :func:`asJSON` returned.
        """
        self.use([Rule(each["who"], each["path"], each["until"]) for each in rules])


def asJSON(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """
    Make rules fit for JSON.

    :param rules: the rules.
    """
    return [{"who": rule.who, "path": rule.path, "until": rule.until} for rule in rules]
