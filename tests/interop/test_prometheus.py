"""Prometheus itself: it reads our page, and the rules and the dashboard of the documentation."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import smtplib
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import EXAMPLES
from tests.support.liveserver import LiveServer
from tests.support.services import PATIENCE, Service, ask, freePort, need, once, until

FOLDER = EXAMPLES / "metrics"


class Prometheus(Service):
    """A Prometheus that reads the page of a server once a second."""

    def __init__(self) -> None:
        program = need("prometheus")
        self.port, page = freePort(), freePort()
        self.server = LiveServer(
            Path(tempfile.mkdtemp(prefix="watched-")),
            *("--discard", "--self-signed", f"--metrics=tcp:{page}:interface=127.0.0.1"),
        )
        super().__init__(
            "prometheus",
            lambda folder: [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
        )
        settings = (FOLDER / "prometheus.yml").read_text()
        settings = settings.replace("127.0.0.1:9154", f"127.0.0.1:{page}").replace("15s", "1s")
        (self.folder / "prometheus.yml").write_text(settings)
        shutil.copy(FOLDER / "alerts.yml", self.folder)

    def ask(self, path: str, **query: str) -> Any:
        """Ask its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def isReady(self) -> bool:
        """Whether it answers queries."""
        with contextlib.suppress(OSError):
            self.query("vector(1)")
            return True
        return False

    def query(self, expression: str) -> list[float]:
        """The values of an expression."""
        result = self.ask("query", query=expression)["result"]
        return [float(each["value"][1]) for each in result]

    def stop(self, *arguments: Any) -> None:
        """See Service."""
        super().stop(*arguments)
        if self.server.process.poll() is None:
            self.server.stop()


@once
def running() -> Prometheus:
    """One for all tests."""
    made = Prometheus()
    try:
        made.start(made.isReady)
        until(lambda: made.query('up{job="smtp"} == 1'), "Prometheus has read the page")
    except BaseException:
        made.stop()
        raise
    return made


class ScrapeTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """What the server does arrives."""
        prometheus = running()
        with smtplib.SMTP("127.0.0.1", prometheus.server.port, timeout=PATIENCE) as client:
            for _ in range(3):
                client.sendmail("a@client.example", "b@server.example", "Subject: x\r\n\r\n")
        until(
            lambda: prometheus.query('smtp_messages_total{outcome="accepted"}') == [3.0], "3 mails"
        )
        self.assertEqual(prometheus.query("smtp_ready"), [1.0])
        self.assertEqual(prometheus.query("sum(smtp_message_bytes_count)"), [3.0])
        [kind] = prometheus.ask("metadata", metric="smtp_connections")["smtp_connections"]
        self.assertEqual(kind["type"], "gauge")

    def test_alerts(self) -> None:
        """It takes the rules, and none of them is alarmed by a server that is well."""
        prometheus = running()

        def judged() -> list[Any]:
            [group] = prometheus.ask("rules")["groups"]
            rules: list[Any] = group["rules"]
            return rules

        until(lambda: all(rule["health"] == "ok" for rule in judged()), "rules are judged", 120)
        self.assertEqual({rule["state"] for rule in judged()}, {"inactive"})

    def test_dashboard(self) -> None:
        """It understands every query of the dashboard."""
        prometheus = running()
        board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m")
                expression = re.sub(r"\$\w+", ".*", expression)
                prometheus.query(expression)


class PromtoolTests(SynchronousTestCase):
    def promtool(self, *words: str) -> str:
        return ask("promtool", *words, cwd=FOLDER)

    def test_rules(self) -> None:
        """promtool takes the rules and the configuration, and the rules do what they should."""
        self.assertIn("12 rules found", self.promtool("check", "rules", "alerts.yml"))
        self.promtool("check", "config", "prometheus.yml")
        self.assertIn("SUCCESS", self.promtool("test", "rules", "alerts_test.yml"))

    def test_page(self) -> None:
        """promtool has nothing to say against the names on the page."""
        server = running().server
        [port] = re.findall(r"Metrics are served on .*port=(\d+)", server.log) or [None]
        if port is None:
            server.awaitLog("Metrics are served on ")
            server.awaitLog("\n")
            [port] = re.findall(r"Metrics are served on .*port=(\d+)", server.log)
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            page = answer.read()
        done = subprocess.run(
            [need("promtool"), "check", "metrics"],
            input=page,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        complaints = [
            line
            for line in done.stderr.decode().splitlines()
            if line.startswith(("smtp_", "error"))
        ]
        self.assertEqual(complaints, [])
