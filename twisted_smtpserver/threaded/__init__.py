"""
A server for programs that don't run a reactor: scripts, Django, Flask, tests.

::

    with ServerThread(Inbox(), port=2525) as server:
        print(f"Send mail to {server.host}, port {server.port}")
        input("Enter stops it. ")

The server runs in a thread. So do the hooks of its handler, one after the other, as in any program
of Twisted's: a hook that waits must be an ``async def``, return a Deferred, or be wrapped by
:func:`twisted_smtpserver.blocking`, which calls it in a thread of a pool. Everything else that is
documented here may be called from any thread but that one.
"""

from twisted_smtpserver.threaded.reactors import ReactorThread, privateReactor, sharedReactor
from twisted_smtpserver.threaded.server import ServerThread

__all__ = ["ReactorThread", "ServerThread", "privateReactor", "sharedReactor"]
