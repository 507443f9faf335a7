"""Log with Python's logging: ``python with_log.py 2525`` receives mail until Ctrl-C."""

# What Twisted describes with zope interfaces, type checkers misunderstand.
# pyright: reportArgumentType=false
# mypy: disable-error-code="arg-type, list-item"

import logging
import sys
import threading
from contextlib import suppress

from twisted.logger import STDLibLogObserver, globalLogBeginner

from twisted_smtpserver import Discard
from twisted_smtpserver.threaded import ServerThread


def main(port):
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)
    with suppress(KeyboardInterrupt), ServerThread(Discard(), port=port):
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
