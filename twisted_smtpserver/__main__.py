"""
The catcher: ``python -m twisted_smtpserver`` receives mail for any address and shows it on a page.

It is ``twistd -n smtpserver --inbox 127.0.0.1:8025 --bare-newlines accept``, and takes the same
flags; but it says where the page is, and leaves no files behind.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python import usage

from twisted_smtpserver import ConfigurationError, SMTPService, __version__
from twisted_smtpserver.hooks.reactor import theReactor
from twisted_smtpserver.tap import Options, makeService
from twisted_smtpserver.tools.dispatch import COMMANDS, findCommand
from twisted_smtpserver.twistd.versions import describeVersions

#: The flags that apply unless the command line sets them.
DEFAULTS = {"inbox": "127.0.0.1:8025", "bare-newlines": "accept"}

_INTRODUCTION = (
    "Usage: python -m twisted_smtpserver [flags]\n\n"
    "Receives mail for any address, forwards none of it, and shows it on a web page. The flags\n"
    "are those of twistd smtpserver; the defaults include "
    + " and ".join(f"--{name} {value}" for name, value in DEFAULTS.items())
    + ".\n\n"
    + "".join(
        f"python -m twisted_smtpserver {name} --help: {text}\n"
        for name, (_, text) in COMMANDS.items()
    )
)


def prepare(arguments: Sequence[str], output: TextIO) -> MultiService:
    """
    Make what is to run.

    :param arguments: the command line's.
    :param output: where ``--help`` and ``--version`` go.
    :raises SystemExit: if there is nothing to run, with the reason.
    """
    options = Options()
    options.implied = dict(DEFAULTS)
    if "--help" in arguments:
        output.write(_INTRODUCTION + options.getUsage())
        raise SystemExit(0)
    if "--version" in arguments:
        output.write(describeVersions())
        raise SystemExit(0)
    try:
        options.parseOptions(arguments)
    except usage.UsageError as error:
        raise SystemExit(f"{error} (see --help)") from None
    service = makeService(options)
    assert isinstance(service, MultiService)
    return service


def describe(service: MultiService) -> str:
    """
    Say where it listens.

    :param service: one that has been started.
    """
    lines = [f"twisted_smtpserver {__version__} keeps all mail that it gets, and forwards none."]
    for part in service.services:
        for port in getattr(part, "ports", ()) if isinstance(part, SMTPService) else ():
            address = port.getHost()
            lines.append(f"  Send it to  {getattr(address, 'host', address)}")
            if hasattr(address, "port"):
                lines[-1] += f", port {address.port}"
        if url := getattr(part, "url", ""):
            lines.append(f"  Read it at  {url}")
    return "\n".join([*lines, "Ctrl-C ends it.", ""])


def makeObserver(output: TextIO) -> ILogObserver:
    """
    What shows the log: mail and warnings, but not what :func:`describe` says better.

    :param output: where.
    """
    levels = LogLevelFilterPredicate(LogLevel.warn)
    levels.setLogLevelForNamespace("twisted_smtpserver", LogLevel.info)
    for quiet in ("twisted_smtpserver.service", "twisted_smtpserver.inbox"):
        levels.setLogLevelForNamespace(quiet, LogLevel.warn)
    return FilteringLogObserver(textFileLogObserver(output, timeFormat="%H:%M:%S"), [levels])


def main(arguments: Sequence[str], output: TextIO, reactor: Any) -> None:
    """
    Run until Ctrl-C.

    :param arguments: the command line's.
    :param output: where to say what happens.
    :param reactor: what to run on.
    :raises SystemExit: if that can't be done, with the reason.
    """
    service = prepare(arguments, output)
    globalLogBeginner.beginLoggingTo([makeObserver(output)], redirectStandardIO=False)
    try:
        service.privilegedStartService()
        service.startService()
    except CannotListenError as error:
        raise SystemExit(f"{error} (choose another one with --port)") from None
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    output.write(describe(service))
    output.flush()
    reactor.run()


def run() -> None:
    """Run a command, or the catcher, with the process's command line and reactor."""
    command = findCommand(sys.argv[1:])
    if command is not None:
        command(sys.argv[2:])
        return
    main(sys.argv[1:], sys.stdout, theReactor())


if __name__ == "__main__":
    run()
