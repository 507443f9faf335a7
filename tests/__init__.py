"""The tests: run by pytest, and by ``python -m twisted.trial tests``."""

import signal

# A shell lets its background jobs ignore Control-C, and so all that they start, which some tests
# interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
