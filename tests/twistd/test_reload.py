"""SIGHUP: what changes for new connections, what needs a restart, what leaves all as it was."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from tests.support.certificates import makeCertificate
from tests.twistd.test_configfile import ConfigCase
from twisted_smtpserver import tap
from twisted_smtpserver.testing import runInline
from twisted_smtpserver.twistd.worker import Handover

TWO = """
[messages]
maildir = "mail"

[[listener]]
port = 25
size = 1000

[[listener]]
port = 26
max-recipients = 5
"""


class ReloadCase(ConfigCase):
    """A server that doesn't listen, and its file."""

    service: Any

    def make(self, text: str, *arguments: str) -> list[Any]:
        """Make the server; its factories."""
        made: Any = tap.makeService(self.parse(text, *arguments))
        self.service = made.services[-1]
        for factory in self.service.factories():
            factory.runInThread = runInline
        return list(self.service.factories())

    def hangUp(self, text: str) -> tuple[bool, list[str]]:
        """SIGHUP, with the file changed: whether it could be used, and what is logged."""
        self.path.write_text(text)
        with capturedLogs() as events:
            done = self.successResultOf(self.service.onHangUp())
        return done, [str(formatEvent(each)) for each in events]

    def writeCertificate(self) -> None:
        made = makeCertificate(None, ["mx.test"])
        (self.folder / "cert.pem").write_bytes(made.certPEM)
        (self.folder / "key.pem").write_bytes(made.keyPEM)


class LiveTests(ReloadCase):
    """What new connections have another of."""

    def test_options(self) -> None:
        """Each listener's options are its own; open connections keep what they had."""
        first, second = self.make(TWO)
        old = first.buildProtocol(None)
        done, said = self.hangUp(TWO.replace("1000", "2000") + "max-messages = 7\nsize = 3000\n")
        self.assertTrue(done)
        what = "new connections have another [[listener]] size, [[listener]] max-messages"
        self.assertEqual(said, [f"The configuration was read again: {what}"])
        self.assertEqual((first.options.size, second.options.size), (2000, 3000))
        self.assertEqual((first.options.maxMessages, second.options.maxMessages), (100_000, 7))
        self.assertEqual(old.options.size, 1000)
        self.assertEqual(first.buildProtocol(None).options.size, 2000)

    def test_takenBack(self) -> None:
        """A key that is gone has its default again."""
        first, second = self.make(TWO)
        self.assertTrue(self.hangUp(TWO.replace("size = 1000\n", ""))[0])
        self.assertEqual(first.options.size, 50 * 2**20)
        self.assertEqual(second.options.maxRecipients, 5)

    def test_nothing(self) -> None:
        """Where nothing has changed, that is said."""
        self.make(TWO)
        said = ["The configuration was read again: nothing has changed"]
        self.assertEqual(self.hangUp(TWO), (True, said))

    def test_conversation(self) -> None:
        """All that a factory makes of its options is new: what clients are told, and counts."""
        (factory,) = self.make("[conversation]\nbanner = 'old'\n[limits]\nmax-clients = 1\n")
        text = (
            "[conversation]\nbanner = 'new'\nhide = 'SIZE'\n[limits]\nmax-clients = 2\n"
            "max-clients-per-address = 1\n[logins]\nlogin-delay = 5\n"
        )
        failures, lookUp = factory.loginFailures, factory.lookUp
        self.assertTrue(self.hangUp(text)[0])
        self.assertTrue(factory.greeting.text.endswith(" new"))
        self.assertEqual(factory.options.hide, {"SIZE"})
        self.assertEqual((factory.maxClients, factory.counts.limit), (2, 1))
        self.assertIsNot(factory.loginFailures, failures)
        self.assertIs(factory.lookUp, lookUp)
        kept = factory.loginFailures
        self.assertTrue(self.hangUp(text)[0])
        self.assertIs(factory.loginFailures, kept)
        self.assertTrue(self.hangUp(text.replace("hide =", "no-reverse-lookup = true\nhide ="))[0])
        self.assertIsNot(factory.lookUp, lookUp)

    def test_certificates(self) -> None:
        """Certificates are read again, wherever they are now; STARTTLS may be new."""
        (factory,) = self.make("")
        self.writeCertificate()
        text = '[tls]\ncert = "cert.pem"\nkey = "key.pem"\n'
        done, said = self.hangUp(text)
        self.assertTrue(done)
        self.assertIn("new connections have another [tls] cert, [tls] key", said[0])
        self.assertIn("The certificate of mx.test expires on", said[1])
        before = factory.contextFactory
        self.assertIsNotNone(before)
        self.writeCertificate()
        self.assertIn("nothing has changed", self.hangUp(text)[1][0])
        self.assertIsNot(factory.contextFactory, before)
        # One that was there already is announced; it can't be taken away.
        done, said = self.hangUp("")
        self.assertEqual(
            said[1:3],
            [f"[tls] {name} has changed: restart the server to use it" for name in ("cert", "key")],
        )
        self.assertIsNotNone(factory.contextFactory)

    def test_namesOfCertificates(self) -> None:
        """A certificate for another name, too."""
        self.writeCertificate()
        text = "[tls]\nself-signed = true\n"
        (factory,) = self.make(text)
        before = factory.contextFactory
        names = 'sni-options = "a.test:cert.pem:key.pem"\n'
        self.assertTrue(self.hangUp(text + names)[0])
        self.assertEqual(set(factory.options.sniOptions), {"a.test"})
        self.assertIs(factory.contextFactory, before)  # self-made: it stays what it is

    def test_withoutFile(self) -> None:
        """Without a file only certificates are read again."""
        parsed = tap.Options()
        parsed.parseOptions([])
        made: Any = tap.makeService(parsed)
        with capturedLogs() as events:
            self.assertFalse(self.successResultOf(made.services[-1].onHangUp()))
        self.assertEqual(formatEvent(events[0]), "There are no certificates to read again")


class RestartTests(ReloadCase):
    """What needs a restart is said, and stays as it is."""

    def fixed(self, before: str, after: str, *arguments: str) -> list[str]:
        """What is said to need one."""
        self.make(before, *arguments)
        done, said = self.hangUp(after)
        self.assertTrue(done)
        ending = " has changed: restart the server to use it"
        return [text.removesuffix(ending) for text in said if text.endswith(ending)]

    def test_keys(self) -> None:
        """Stores, policies, names: whatever was made at the start."""
        after = TWO.replace('"mail"', '"other"') + (
            'name = "mx.test"\ndnsbl = "zen.test"\nextension = ["DSN"]\ntls-required = false\n'
        )
        self.assertEqual(
            self.fixed(TWO, after),
            [
                "[messages] maildir",
                *("[[listener]] dnsbl", "[[listener]] name", "[[listener]] extension"),
            ],
        )
        # It is said again until it is done, and the rest is used.
        _, said = self.hangUp(after + "size = 5\n")
        self.assertIn("another [[listener]] size", said[0])
        self.assertEqual(len(said), 5)
        self.assertEqual(self.service.factories()[1].options.size, 5)
        self.assertNotEqual(self.service.factories()[1].options.name, "mx.test")

    def test_gone(self) -> None:
        """A key that is gone is named as it was called."""
        self.assertEqual(self.fixed("[listen]\nworkers = 1\n", ""), ["[listen] workers"])

    def test_listeners(self) -> None:
        """Listeners that are new or gone; the others get their options."""
        after = TWO.replace("port = 26", "port = 27").replace("1000", "7")
        fixed = self.fixed(TWO, after)
        self.assertEqual(fixed, ["the listener on 26", "the listener on 27"])
        self.assertEqual(self.service.factories()[0].options.size, 7)
        self.assertEqual(self.service.factories()[1].options.size, 50 * 2**20)
        self.assertEqual(
            self.fixed("", '[[listener]]\nlisten = ["tcp:1", "tcp:2"]\n'),
            ["the listener", "the listener on tcp:1 and tcp:2"],
        )

    def test_maxClients(self) -> None:
        """Whether there is a limit of a listener's own; another limit is no matter."""
        text = "[limits]\nmax-clients = 5\n"
        for before, after in (("", text), (text, "")):
            self.assertEqual(self.fixed(before, after), ["[limits] max-clients"])
        self.assertEqual(self.fixed(text, text.replace("5", "6")), [])

    def test_sharedState(self) -> None:
        """A limit that all servers count together."""
        text = '[policies]\nshared-state = "redis://h"\n[limits]\nmax-clients-per-address = 5\n'
        self.assertEqual(
            self.fixed(text, text.replace("5", "6")), ["[limits] max-clients-per-address"]
        )

    def test_secrets(self) -> None:
        """What a store's password is now; it isn't said."""
        secret = self.folder / "secret"
        secret.write_text("sesame\n")
        text = f'[messages]\nforward = "smtps://joe@h"\nforward-password-file = "{secret}"\n'
        self.make(text)
        secret.write_text("swordfish\n")
        _, said = self.hangUp(text)
        name = "[messages] forward-password-file"
        self.assertEqual(
            said[1:], [f"what is in the file of {name} has changed: restart the server to use it"]
        )


class BrokenTests(ReloadCase):
    """Whatever is wrong, the old configuration stays, and one line says why."""

    def assertKept(self, text: str, reason: str) -> None:
        before = [vars(factory).copy() for factory in self.service.factories()]
        done, said = self.hangUp(text)
        self.assertFalse(done)
        self.assertEqual(said, [f"Keeping the old configuration: {reason}"])
        self.assertEqual([vars(factory) for factory in self.service.factories()], before)

    def test_file(self) -> None:
        """A mistake in the file, or no file."""
        self.make(TWO)
        reason = f"{self.path}, line 12: [[listener]] sise: there is no key 'sise'; did you mean"
        self.assertKept(TWO + "sise = 5\nsize = 9\n", f"{reason} 'size'?")
        self.assertKept(TWO + "[tls", f"{self.path}, at its end: {self.syntax()}")
        os.unlink(self.path)
        with capturedLogs() as events:
            self.assertFalse(self.successResultOf(self.service.onHangUp()))
        self.assertIn("can't be read: No such file or directory", str(formatEvent(events[0])))

    def syntax(self) -> str:
        """What Python says of a table without its bracket."""
        from twisted_smtpserver.twistd.configfile import loadTOML

        error = self.assertRaises(ValueError, loadTOML, "[tls")
        return str(error).partition(" (at")[0]

    def test_allOrNothing(self) -> None:
        """What only the second listener can't use keeps the first one from its share."""
        self.make(TWO)
        self.assertKept(
            TWO.replace("1000", "9") + 'hide = "FOO"\n',
            f"{self.path}, line 9 ([[listener]] 2): there is no extension 'FOO'",
        )

    def test_certificates(self) -> None:
        """So do files of a certificate that aren't good."""
        self.writeCertificate()
        text = '[tls]\ncert = "cert.pem"\nkey = "key.pem"\n'
        self.make(text)
        (self.folder / "key.pem").write_text("nothing\n")
        self.assertKept(
            text + "[messages]\nsize = 5\n",
            f"{self.path}, line 3: [tls] key ('{self.folder}/key.pem'): no PEM key in it",
        )

    def test_bug(self) -> None:
        """And a mistake of ours, whose traceback is logged."""
        (factory,) = self.make("")
        factory.runInThread = lambda *_: fail(Failure(ZeroDivisionError()))
        self.assertEqual(self.hangUp(""), (False, ["Keeping the old configuration"]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_oneAtATime(self) -> None:
        """A second SIGHUP waits for the first; the last file wins."""
        (factory,) = self.make("")
        waiting: list[Any] = []

        def later(function: Any, *arguments: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            waiting.append(lambda: runInline(function, *arguments).chainDeferred(done))
            return done

        factory.runInThread = later
        self.path.write_text("[messages]\nsize = 1\n")
        first = self.service.onHangUp()
        self.path.write_text("[messages]\nsize = 2\n")
        second = self.service.onHangUp()
        self.assertEqual(len(waiting), 1)
        waiting.pop()()
        self.assertTrue(self.successResultOf(first))
        self.assertEqual(factory.options.size, 1)
        waiting.pop()()
        self.assertTrue(self.successResultOf(second))
        self.assertEqual(factory.options.size, 2)


class WorkersTests(ReloadCase):
    """A supervisor reads, and its workers use what it has read."""

    def supervise(self, text: str) -> list[Any]:
        factories = self.make(text, "--workers=2")
        self.addCleanup(self.service._countsFile.close)
        self.sent: list[Any] = []
        for worker in self.service.workers:
            worker.send = self.sent.append
        return factories

    def worker(self) -> tuple[Any, list[Any]]:
        """A worker that was started with what the supervisor would tell one."""
        settings = {"number": 0, "workers": 2, "saltKey": "00" * 32, "folder": str(self.folder)}
        configuration = json.loads(json.dumps(self.service.configuration))
        sockets = [(0, 1) for _ in self.service.factories()]
        counts = self.service.countsDescriptor()
        parsed = tap.Options()
        parsed.handover = Handover(
            {**settings, **configuration, "sockets": sockets, "counts": counts}
        )
        parsed.parseOptions([f"--config={self.path}", "--workers=2"])
        made: Any = tap.makeService(parsed)
        worker = made.services[-1]
        for factory in worker.factories():
            factory.runInThread = runInline
        return worker, list(worker.factories())

    def test_start(self) -> None:
        """A worker needs neither the file, nor what the file names."""
        self.writeCertificate()
        secret = self.folder / "secret"
        secret.write_text("sesame\n")
        self.supervise(
            TWO
            + f'cert = "cert.pem"\nkey = "key.pem"\npassphrase-file = "{secret}"\n'
            + f'forward = "smtps://joe@h"\nforward-password-file = "{secret}"\n'
        )
        for name in os.listdir(self.folder):
            os.unlink(self.folder / name)
        _, (first, second) = self.worker()
        self.assertEqual((first.options.size, second.options.maxRecipients), (1000, 5))
        self.assertIsNone(first.contextFactory)
        self.assertEqual(second.options.passphrase, "sesame")
        self.assertIsNotNone(second.contextFactory)

    def test_changes(self) -> None:
        """Workers that are there get what changes, those that come later no more than that."""
        text = TWO + 'cert = "cert.pem"\nkey = "key.pem"\n'
        self.writeCertificate()
        self.supervise(text)
        worker, (first, second) = self.worker()
        before = second.contextFactory
        self.writeCertificate()
        done, said = self.hangUp(text.replace("1000", "7").replace('"mail"', '"other"'))
        self.assertTrue(done)
        self.assertIn("[messages] maildir has changed: restart the server to use it", said)
        self.assertEqual(len(self.sent), 2)
        self.assertIs(self.sent[0], self.service.configuration)
        for name in ("cert.pem", "key.pem"):
            os.unlink(self.folder / name)
        with capturedLogs() as events:
            worker.onConfiguration(json.loads(json.dumps(self.sent[0])))
        self.assertEqual(
            [formatEvent(each) for each in events],
            ["The supervisor's new configuration is in use"],
        )
        self.assertEqual(first.options.size, 7)
        self.assertIsNot(second.contextFactory, before)
        later, (fresh, _) = self.worker()
        self.assertEqual(fresh.options.size, 7)
        names = [getattr(each, "_path", "") for each in later.parent]
        self.assertIn("mail", names)

    def test_common(self) -> None:
        """Where all listeners are common, too."""
        self.supervise("[messages]\nsize = 1\n")
        self.assertTrue(self.hangUp("[messages]\nsize = 2\n")[0])
        _, (factory,) = self.worker()
        self.assertEqual(factory.options.size, 2)

    def test_broken(self) -> None:
        """Nobody is told of what is broken."""
        self.supervise(TWO)
        before = self.service.configuration
        self.assertFalse(self.hangUp(TWO + "sise = 5\n")[0])
        self.assertEqual((self.sent, self.service.configuration), ([], before))

    def test_certificatesOnly(self) -> None:
        """Without a file there may be new certificates, and a worker says so."""
        self.writeCertificate()
        made: Any = tap.Options()
        made.parseOptions(["--workers=2", "--cert=cert.pem", "--key=key.pem"])
        service: Any = tap.makeService(made)
        self.service = service.services[-1]
        self.addCleanup(self.service._countsFile.close)
        worker, (factory,) = self.worker()
        before = factory.contextFactory
        with capturedLogs() as events:
            worker.onConfiguration(json.loads(json.dumps(self.service.configuration)))
        self.assertEqual(
            [formatEvent(each) for each in events],
            ["New certificates from the supervisor are in use"],
        )
        self.assertIsNot(factory.contextFactory, before)

    def test_secrets(self) -> None:
        """A worker that comes later has the password that the others have; and a new passphrase."""
        word, phrase = self.folder / "word", self.folder / "phrase"
        word.write_text("old\n")
        phrase.write_text("old\n")
        self.writeCertificate()
        text = (
            f'[messages]\nforward = "smtps://joe@h"\nforward-password-file = "{word}"\n'
            f'[tls]\ncert = "cert.pem"\nkey = "key.pem"\npassphrase-file = "{phrase}"\n'
        )
        self.supervise(text)
        word.write_text("new\n")
        phrase.write_text("new\n")
        self.assertTrue(self.hangUp(text)[0])
        handed = self.service.configuration["handed"]
        self.assertEqual(handed["forward-password-file"], {str(word): "old"})
        self.assertEqual(handed["passphrase-file"], {str(phrase): "new"})
