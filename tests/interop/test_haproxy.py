"""HAProxy in front: who the client is, by PROXY v1 and v2, in clear and with implicit TLS."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.liveserver import PATIENCE
from twisted_smtpserver import SMTPServerFactory
from twisted_smtpserver.testing import RecordingHandler

_CONFIG = """\
defaults
    mode tcp
    timeout connect 10s
    timeout client 30s
    timeout server 30s
"""
_LISTEN = """\
listen {name}
    bind fd@{front}
    server mx 127.0.0.1:{back} {send}
"""


def listeningSocket() -> socket.socket:
    """A socket that is already listening: clients may connect before HAProxy is up."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening


def localPort(client: Any) -> int:
    """The port that a client of smtplib's talks from."""
    return int(client.sock.getsockname()[1])


class Sessions(RecordingHandler):
    """Remembers who connected."""

    def onConnect(self, session):
        """Remember the addresses."""
        self.calls.append((session.remoteAddress, session.remotePort, session.peerPort))


class HAProxyTests(TestCase):
    """Real HAProxy."""

    timeout = 60

    def setUp(self) -> None:
        """Two servers of ours, and HAProxy with both versions of its header for each."""
        program = need("haproxy")
        self.handler = Sessions()
        self.fronts: dict[str, int] = {}
        config = _CONFIG
        sockets: list[int] = []
        for kind in ("clear", "tls"):
            factory = SMTPServerFactory(
                self.handler,
                logger=False,
                selfSigned=True,
                secure=kind == "tls",
                useProxy=["127.0.0.1"],
            )
            port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.addCleanup(factory.shutdown, 1)
            self.addCleanup(port.stopListening)
            for version, send in [("1", "send-proxy"), ("2", "send-proxy-v2")]:
                front = listeningSocket()
                self.addCleanup(front.close)
                sockets.append(front.fileno())
                self.fronts[kind + version] = front.getsockname()[1]
                config += _LISTEN.format(
                    name=kind + version,
                    front=front.fileno(),
                    back=port.getHost().port,
                    send=send,
                )
        path = Path(self.mktemp())
        path.write_text(config)
        process = subprocess.Popen(
            [program, "-db", "-f", str(path)], stderr=subprocess.DEVNULL, pass_fds=sockets
        )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.terminate)

    @inlineCallbacks
    def test_clientsAddress(self):
        """The session shows the client's address and port, not HAProxy's."""

        def clear(port: int) -> int:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.ehlo()
                return localPort(client)

        def tls(port: int) -> int:
            context = ssl._create_unverified_context()
            with smtplib.SMTP_SSL("127.0.0.1", port, timeout=PATIENCE, context=context) as client:
                client.ehlo()
                return localPort(client)

        for name, client in [("clear1", clear), ("clear2", clear), ("tls1", tls), ("tls2", tls)]:
            mine = yield deferToThread(client, self.fronts[name])
            seen = [call for call in self.handler.calls if isinstance(call, tuple)]
            address, port, peerPort = seen[-1]
            self.assertEqual((address, port), ("127.0.0.1", mine), name)
            self.assertNotEqual(peerPort, mine)
