"""The stores of ``twistd smtpserver``: each flag."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver import tap
from twisted_smtpserver.stores import amqp, forward, postgres, webhook
from twisted_smtpserver.twistd.flags import SECRETS


class StoreCase(SynchronousTestCase):
    def make(self, *arguments: str) -> Any:
        """The store, and the service that runs it."""
        parsed = tap.Options()
        parsed.parseOptions(arguments)
        service: Any = tap.makeService(parsed)
        self.service = service
        return service.services[0]

    def secret(self) -> str:
        path = Path(self.mktemp())
        path.write_text("swordfish\n")
        return str(path)

    def assertRefused(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(usage.UsageError, tap.Options().parseOptions, arguments)
        self.assertEqual(str(error), reason)

    def assertFails(self, reason: str, *arguments: str) -> None:
        error = self.assertRaises(SystemExit, self.make, *arguments)
        self.assertEqual(str(error), f"twistd smtpserver: {reason}")


class PostgresTests(StoreCase):
    """``--postgres``."""

    def test_flags(self) -> None:
        """What the flags say gets to the store; it is looked at when it starts, and closed."""
        with mock.patch.object(postgres, "PostgresStore") as made:
            needed = self.make(
                *("--postgres=postgresql://h/d", "--postgres-table=site.mail", "--name=mx.example"),
                *(f"--postgres-password-file={self.secret()}", "--postgres-retention=86400"),
            )
            self.make("--postgres=postgresql://h/d")
        options = {"table": "site.mail", "password": "swordfish", "retention": 86400.0}
        options["hostName"] = "mx.example"
        self.assertEqual(
            made.call_args_list,
            [mock.call("postgresql://h/d", **options), mock.call("postgresql://h/d")],
        )
        store = made.return_value
        store.check.assert_not_called()
        needed.startService()
        store.check.assert_called_once_with()
        needed.close()
        store.close.assert_called_once_with()

    def test_wrong(self) -> None:
        """What makes no sense is said in a line."""
        self.assertRefused("--postgres-table: needs --postgres", "--postgres-table=mail")
        stores = "--maildir, --discard, --handler, --postgres, --forward, --webhook and --amqp"
        choice = f"{stores}: choose one of them"
        self.assertRefused(choice, "--discard", "--postgres=x")
        self.assertFails(
            "--postgres: PostgresStore: the DSN isn't valid:"
            " write postgresql://USER@HOST:PORT/DATABASE",
            "--postgres=nonsense",
        )

    def test_missing(self) -> None:
        """Without the library the way to it is told."""
        with mock.patch.dict("sys.modules", {"twisted_smtpserver.stores.postgres": None}):
            error = self.assertRaises(SystemExit, self.make, "--postgres=x")
        self.assertIn('pip install "twisted-smtpserver[postgres]"', str(error))


class AMQPTests(StoreCase):
    """``--amqp``."""

    def test_flags(self) -> None:
        """What the flags say gets to the store."""
        with mock.patch.object(amqp, "AMQP") as made:
            self.make(
                *("--amqp=amqp://a,amqp://b", "--amqp-exchange=mail", "--name=mx.example"),
                *("--amqp-routing-key={domain}", "--amqp-max-size=16M"),
                f"--amqp-password-file={self.secret()}",
            )
            self.make("--amqp=amqp://a", "--amqp-queue=mail")
        options = {"exchange": "mail", "routingKey": "{domain}", "password": "swordfish"}
        numbers = {"maxSize": 16 * 2**20, "serverSize": 50 * 2**20}
        expected = mock.call(
            ["amqp://a", "amqp://b"], None, **options, **numbers, hostName="mx.example"
        )
        short = mock.call(["amqp://a"], "mail", serverSize=50 * 2**20)
        self.assertEqual(made.call_args_list, [expected, short])

    def test_wrong(self) -> None:
        """What makes no sense is said in a line."""
        self.assertRefused("--amqp-queue: needs --amqp", "--amqp-queue=mail")
        self.assertRefused("--amqp: needs --amqp-queue or --amqp-exchange", "--amqp=amqp://a")
        both = ("--amqp=amqp://a", "--amqp-queue=a", "--amqp-exchange=b")
        self.assertFails("--amqp: AMQP: give a queue, or an exchange", *both)
        advice = "write amqp://USER@HOST:PORT/VIRTUALHOST, amqps://… for TLS"
        self.assertFails(
            f"--amqp: the URL of the broker isn't valid: {advice}",
            *("--amqp=secret", "--amqp-queue=a"),
        )


class ForwardTests(StoreCase):
    """``--forward``."""

    def test_flags(self) -> None:
        """What the flags say gets to the store."""
        with mock.patch.object(forward, "Forward") as made:
            needed = self.make(
                *("--forward=smtps://joe@a.example", "--forward=smtps://b.example"),
                *(f"--forward-password-file={self.secret()}", "--forward-ca=ca.pem"),
                "--name=mx.example",
            )
            self.make("--forward=smtp://a.example")
        options = {"password": "swordfish", "ca": "ca.pem", "hostName": "mx.example"}
        urls = ("smtps://joe@a.example", "smtps://b.example")
        self.assertEqual(
            made.call_args_list, [mock.call(*urls, **options), mock.call("smtp://a.example")]
        )
        needed.startService()
        made.return_value.check.assert_called_once_with()
        needed.close()
        made.return_value.close.assert_called_once_with()

    def test_wrong(self) -> None:
        """What makes no sense is said in a line."""
        self.assertRefused("--forward-ca: needs --forward", "--forward-ca=x")
        self.assertFails(
            "--forward: Forward: 'a.example' isn't of the form smtp://HOST, smtps://HOST,"
            " smtp+starttls://HOST, lmtp://HOST or lmtp:unix:PATH",
            "--forward=a.example",
        )

    def test_workers(self) -> None:
        """Workers get the password from their supervisor: they may not read its file."""
        self.assertTrue({"forward-password-file", "webhook-secret-file"} <= set(SECRETS))


class WebhookTests(StoreCase):
    """``--webhook``."""

    def test_flags(self) -> None:
        """What the flags say gets to the store, which is nothing to be looked at."""
        with mock.patch.object(webhook, "Webhook", spec=webhook.Webhook) as made:
            needed = self.make(
                *("--webhook=https://a.example/x", f"--webhook-secret-file={self.secret()}"),
                *("--webhook-parsed", "--webhook-allow-private", "--webhook-ca=ca.pem"),
            )
        made.assert_called_once_with(
            "https://a.example/x", "swordfish", ca="ca.pem", parsed=True, allowPrivate=True
        )
        needed.startService()
        needed.close()
        made.return_value.close.assert_called_once_with()

    def test_wrong(self) -> None:
        """What makes no sense is said in a line."""
        self.assertRefused("--webhook: needs --webhook-secret-file", "--webhook=https://x.example")
        self.assertRefused("--webhook-parsed: needs --webhook", "--webhook-parsed")
        self.assertFails(
            "--webhook: Webhook: the secret must have at least 16 octets",
            *("--webhook=https://x.example", f"--webhook-secret-file={self.secret()}"),
        )
