"""Attacks with openssl's client, over real sockets."""

from __future__ import annotations

import smtplib
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import need


class RenegotiationTests(SynchronousTestCase):
    """TLS 1.2 lets a client ask for another handshake, as often as it likes."""

    def test_live(self) -> None:
        """It is turned down by an alert, and its connection is over; nobody else notices."""
        server = LiveServer(Path(self.mktemp()).absolute(), "--self-signed")
        self.addCleanup(server.__exit__)
        other = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
        self.addCleanup(other.close)
        client = subprocess.Popen(
            [
                *(need("openssl"), "s_client", "-tls1_2", "-starttls", "smtp"),
                *("-connect", f"127.0.0.1:{server.port}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write("R\n")  # which is s_client's word for it
        client.stdin.flush()
        output = client.stdout.read()  # to its end: the server has ended the connection
        client.communicate(timeout=PATIENCE)
        self.assertIn("RENEGOTIATING", output)
        self.assertIn("no renegotiation", output)
        self.assertEqual(other.noop()[0], 250)
        server.awaitLog("tls=TLSv1.2")
        self.assertNotIn("Traceback", server.stop())
