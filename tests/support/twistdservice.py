"""What ``twistd smtpserver`` would run."""

from __future__ import annotations

from twisted.application.service import MultiService

from twisted_smtpserver import SMTPService, tap


def makeTwistd(*arguments: str) -> tuple[MultiService, SMTPService]:
    """
    Make the services of a command line.

    :param arguments: its flags.
    :returns: all services, and the one that listens.
    """
    parsed = tap.Options()
    parsed.parseOptions(arguments)
    service = tap.makeService(parsed)
    assert isinstance(service, MultiService)
    server = service.services[-1]
    assert isinstance(server, SMTPService)
    return service, server
