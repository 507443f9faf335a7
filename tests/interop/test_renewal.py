"""Certificates that are renewed as real tools do it, under a server that real clients use."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import smtplib
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCA, makeCertificate
from tests.support.examples import EXAMPLES
from tests.support.liveserver import PATIENCE, LiveServer
from tests.support.services import Service, freePort, isListening, need, once
from tests.twistd.test_workers_live import Server

CA = makeCA()


def serialNumber(client: smtplib.SMTP) -> int:
    """The serial number of the certificate that a client was shown."""
    sock: Any = client.sock
    return int(sock.getpeercert()["serialNumber"], 16)


class Client(threading.Thread):
    """
    Sends mail without a pause, each time over a new connection with TLS that it verifies.

    :ivar seen: the serial numbers of the certificates that it was shown.
    :ivar trouble: what went wrong.
    """

    def __init__(
        self,
        port: int,
        connect: Callable[[int, ssl.SSLContext], smtplib.SMTP],
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self.trouble: list[Exception] = []
        self.isDone = threading.Event()
        self._port = port
        self._connect = connect
        self._context = context

    def run(self) -> None:
        """Send."""
        while not self.isDone.is_set() and not self.trouble:
            try:
                with self._connect(self._port, self._context) as client:
                    self.seen.append(serialNumber(client))
                    client.sendmail("a@client.example", "b@server.example", b"\r\nx\r\n")
            except Exception as error:
                self.trouble.append(error)


def overTLS(port: int, context: ssl.SSLContext) -> smtplib.SMTP:
    """Connect with TLS from the first octet on."""
    return smtplib.SMTP_SSL("localhost", port, timeout=PATIENCE, context=context)


def startTLS(port: int, context: ssl.SSLContext) -> smtplib.SMTP:
    """Connect with STARTTLS."""
    client = smtplib.SMTP("localhost", port, timeout=PATIENCE)
    client.starttls(context=context)
    return client


class RenewalCase(SynchronousTestCase):
    """Each test has a server of its own that looks at its files each second."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.etc = self.folder / "etc"
        self.etc.mkdir()
        self.number = 0

    def write(self, folder: Path, cert: str, key: str) -> int:
        """Write a new certificate and its key into a folder."""
        made = makeCertificate(CA, ["localhost"], days=90)
        folder.mkdir(exist_ok=True)
        (folder / cert).write_bytes(made.certPEM)
        (folder / key).write_bytes(made.keyPEM)
        return made.certificate.serial_number

    def authority(self) -> str:
        """Who has signed the certificates."""
        return CA.certPEM.decode()

    def check(
        self,
        renew: Callable[[], int],
        *,
        cert: str = "fullchain.pem",
        key: str = "privkey.pem",
        times: int = 1,
        start: Callable[..., LiveServer] = LiveServer,
    ) -> str:
        """Renew under load; each client gets the new one and has no trouble. What was logged."""
        first = renew()
        context = ssl.create_default_context(cadata=self.authority())
        # What the names of ACME's certificates are is of no interest here.
        context.check_hostname = False
        files = (f"--cert={self.etc / cert}", f"--key={self.etc / key}")
        flags = ["--listen-tls", "tcp:0:interface=127.0.0.1", *files, "--discard"]
        kinds: list[Any] = [overTLS]
        if start is not Server:  # which waits for one listener of each worker
            flags += ["--listen", "tcp:0:interface=127.0.0.1"]
            kinds = [startTLS, overTLS]
        with (
            start(
                self.folder,
                "--renewal-interval=1",
                "--ignored-hosts=127.0.0.1",
                *flags,
                listeners=len(kinds),
            ) as server,
            contextlib.ExitStack() as stack,
        ):
            clients = [
                Client(port, kind, context)
                for kind, port in zip(kinds, server.ports, strict=True)
                for _ in range(2)
            ]
            for client in clients:
                client.start()
                stack.callback(client.join, PATIENCE)
                stack.callback(client.isDone.set)
            self.awaitCertificate(clients, first)
            kept = kinds[0](server.ports[0], context)
            stack.callback(kept.close)
            for _ in range(times):
                self.awaitCertificate(clients, renew())
            # Whoever was connected before still is.
            kept.sendmail("a@client.example", "b@server.example", b"\r\nx\r\n")
            self.assertEqual(serialNumber(kept), first)
            stack.close()
            self.assertEqual([client.trouble for client in clients], [[] for _ in clients])
            return server.stop()

    def awaitCertificate(self, clients: list[Client], serial: int) -> None:
        """Wait until each client was shown a certificate."""
        deadline = time.monotonic() + PATIENCE
        for client in clients:
            while serial not in client.seen:
                self.assertEqual(client.trouble, [])
                self.assertLess(time.monotonic(), deadline, "the new certificate isn't there")
                time.sleep(0.02)


class ScriptedTests(RenewalCase):
    """Files that are replaced as tools do it."""

    def certbot(self) -> int:
        """Renew as certbot does: each file's link goes to a new one."""
        self.number += 1
        names = {name: f"{name}{self.number}.pem" for name in ("fullchain", "privkey")}
        made = self.write(self.folder / "archive", *names.values())
        for name, file in names.items():
            link = self.etc / f"{name}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../archive/{file}")
        return made

    def kubernetes(self) -> int:
        """Renew as the kubelet does: the folder's link goes to a new one."""
        self.number += 1
        made = self.write(self.etc / f"..{self.number}", "tls.crt", "tls.key")
        if self.number == 1:
            for name in ("tls.crt", "tls.key"):
                (self.etc / name).symlink_to(f"..data/{name}")
        new = self.etc / "..data_tmp"
        new.symlink_to(f"..{self.number}")
        new.replace(self.etc / "..data")
        return made

    def acme(self) -> int:
        """Renew as acme.sh and lego do: the files are written anew, one after the other."""
        made = makeCertificate(CA, ["localhost"], days=90)
        for name, content in (("privkey.pem", made.keyPEM), ("fullchain.pem", made.certPEM)):
            with (self.etc / name).open("wb", buffering=0) as file:
                for start in range(0, len(content), 100):
                    file.write(content[start : start + 100])
        return made.certificate.serial_number

    def test_certbot(self) -> None:
        """certbot's links: twice renewed, with no connection lost and no signal."""
        log = self.check(self.certbot, times=2)
        self.assertEqual(log.count("The certificates were read again"), 2, log)

    def test_kubernetes(self) -> None:
        """Kubernetes's folders."""
        log = self.check(self.kubernetes, cert="tls.crt", key="tls.key")
        self.assertNotIn("Keeping the old", log)

    def test_acme(self) -> None:
        """Files that are written anew."""
        self.check(self.acme)

    def test_twoSteps(self) -> None:
        """A key that comes long before its certificate waits for it, which is said once."""
        coming: list[int] = []
        servers: list[LiveServer] = []

        def renew() -> int:
            if not coming:
                coming.append(self.acme())
                return coming[0]
            made = makeCertificate(CA, ["localhost"], days=90)
            (self.etc / "privkey.pem").write_bytes(made.keyPEM)
            servers[0].awaitLog("Keeping the old certificates until both are new")
            (self.etc / "fullchain.pem").write_bytes(made.certPEM)
            return made.certificate.serial_number

        def start(*arguments: Any, **more: Any) -> LiveServer:
            servers.append(LiveServer(*arguments, **more))
            return servers[0]

        log = self.check(renew, start=start)
        self.assertEqual(log.count("Keeping the old"), 1, log)

    def test_workers(self) -> None:
        """All workers get the new one."""
        log = self.check(self.certbot, start=Server)
        for name in (1, 2):
            self.assertIn(f"worker {name}] New certificates from the supervisor are in use", log)


class Pebble(Service):
    """
    The Let's Encrypt project's own server for tests of ACME clients. It believes everybody.

    :ivar server: the URL for clients.
    """

    def __init__(self) -> None:
        program = need("pebble")
        self.port, self.management = freePort(), freePort()
        self.server = f"https://localhost:{self.port}/dir"
        made = makeCertificate(CA, ["localhost"])
        super().__init__(
            "pebble",
            lambda folder: [program, "-config", str(folder / "pebble.json")],
            {
                "PEBBLE_VA_ALWAYS_VALID": "1",
                "PEBBLE_VA_NOSLEEP": "1",
                "PEBBLE_WFE_NONCEREJECT": "0",
            },
        )
        files = {"certificate": self.folder / "cert.pem", "privateKey": self.folder / "key.pem"}
        files["certificate"].write_bytes(made.certPEM)
        files["privateKey"].write_bytes(made.keyPEM)
        (self.folder / "ca.pem").write_bytes(CA.certPEM)
        settings = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management}",
            "httpPort": freePort(),
            "tlsPort": freePort(),
            **{name: str(path) for name, path in files.items()},
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self.start(lambda: isListening(self.port) and isListening(self.management))

    def root(self) -> str:
        """The certificate that all others are signed by."""
        context = ssl.create_default_context(cadata=CA.certPEM.decode())
        url = f"https://localhost:{self.management}/roots/0"
        with urllib.request.urlopen(url, timeout=PATIENCE, context=context) as answer:
            return str(answer.read().decode())


pebble = once(Pebble)


class ACMETests(RenewalCase):
    """Real clients of ACME, at a real authority."""

    def setUp(self) -> None:
        super().setUp()
        self.pebble = pebble()
        self.port = freePort()
        self.ca = str(self.pebble.folder / "ca.pem")

    def authority(self) -> str:
        """Pebble."""
        return self.pebble.root()

    def run_(self, *command: str, **environment: str) -> None:
        """Run a command, which must succeed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def serial(self, name: str) -> int:
        """The serial number of the first certificate in a file."""
        return x509.load_pem_x509_certificate((self.etc / name).read_bytes()).serial_number

    def lego(self) -> int:
        """Let lego make a certificate, or renew the one that there is."""
        self.number += 1
        flags = ["--server", self.pebble.server, "--accept-tos", "--path", str(self.etc)]
        flags += ["--email", "you@example.org", "--domains", "mx.example.org"]
        flags += ["--http", "--http.port", f"127.0.0.1:{self.port}"]
        again = ["renew", "--days", "9999", "--no-random-sleep"]
        command = ["run"] if self.number == 1 else again
        self.run_(need("lego"), *flags, *command, LEGO_CA_CERTIFICATES=self.ca)
        return self.serial("certificates/mx.example.org.crt")

    def certbot(self) -> int:
        """Let certbot do that, with the documentation's hook."""
        self.number += 1
        flags = [word for name in ("config", "work", "logs") for word in (f"--{name}-dir", name)]
        flags += ["--server", self.pebble.server, "--non-interactive"]
        hook = (EXAMPLES / "deploy/certbot-hook").read_text()
        self.assertIn("/etc/smtpserver", hook)
        hook = hook.replace("/etc/smtpserver", str(self.etc))
        hook = hook.replace("-o root -g smtpserver", f"-o {os.geteuid()} -g {os.getegid()}")
        (self.folder / "hook").write_text(hook)
        (self.folder / "hook").chmod(0o755)
        again = ["renew", "--force-renewal", "--no-random-sleep-on-renew"]
        if self.number == 1:
            again = ["certonly", "--standalone", "--http-01-port", str(self.port)]
            again += ["-d", "mx.example.org", "--agree-tos", "-m", "you@example.org"]
        flags += ["--deploy-hook", str(self.folder / "hook")]
        self.run_(need("certbot"), *again, *flags, REQUESTS_CA_BUNDLE=self.ca)
        return self.serial("fullchain.pem")

    def test_lego(self) -> None:
        """lego writes its two files, and they are used; no hook is needed."""
        name = "certificates/mx.example.org"
        self.check(self.lego, cert=f"{name}.crt", key=f"{name}.key")

    def test_certbot(self) -> None:
        """certbot's hook copies them; nobody else may read the key."""
        log = self.check(self.certbot)
        self.assertNotIn("Keeping the old", log)
        self.assertEqual(stat.S_IMODE((self.etc / "privkey.pem").stat().st_mode), 0o640)
