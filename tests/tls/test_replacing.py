"""New certificates: which files they are in, read together or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import makeCertificate
from twisted_smtpserver import ConfigurationError, Discard, Options
from twisted_smtpserver.testing import makeFactory
from twisted_smtpserver.tls.certificates import FileContent
from twisted_smtpserver.tls.context import TLSSettings
from twisted_smtpserver.tls.replacing import certificateFiles, certificatesOf, prepareAll, useAll


class FilesTests(SynchronousTestCase):
    """The files that certificates are read from."""

    def test_all(self) -> None:
        """Those of all names, each once; PEM text and context factories have none."""
        content = FileContent(b"read already")
        content.path = "/ca"
        settings: dict[str, Any] = {
            "a.test": {"cert": Path("/a"), "key": "/key"},
            "b.test": TLSSettings(cert=b"/bytes are PEM", key="/b", ca=content),
            "c.test": object(),
            "d.test": {"cert": "-----BEGIN CERTIFICATE-----", "key": "/key"},
        }
        options = Options(cert="/cert", key="/key", sniOptions=settings)
        found = certificateFiles([options, options, Options()])
        self.assertEqual(found, ["/cert", "/key", "/a", "/b", "/ca"])


class TogetherTests(SynchronousTestCase):
    """Files that are read while they change."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.paths = [str(self.folder / name) for name in ("cert", "key")]
        self.write()
        self.factory = makeFactory(Discard(), cert=self.paths[0], key=self.paths[1])

    def write(self) -> None:
        made = makeCertificate(None, ["mx.test"])
        for path, content in zip(self.paths, (made.certPEM, made.keyPEM), strict=True):
            Path(f"{path}.new").write_bytes(content)
            os.replace(f"{path}.new", path)

    def test_meanwhile(self) -> None:
        """If one has changed meanwhile none is used, though a key fits its certificate."""
        before = certificatesOf([self.factory])

        def read(_: object) -> dict[str, Any]:
            self.write()
            return {}

        prepared = prepareAll([self.factory], read, self.paths)
        with capturedLogs() as events:
            self.assertFalse(useAll(prepared, isWatched=True))
        self.assertEqual(certificatesOf([self.factory]), before)
        self.assertEqual(
            [formatEvent(each) for each in events],
            ["Keeping the old certificates: the files changed while they were read"],
        )
        self.assertTrue(
            useAll(prepareAll([self.factory], lambda _: {}, self.paths), isWatched=True)
        )
        self.assertNotEqual(certificatesOf([self.factory]), before)

    def test_denied(self) -> None:
        """Where permission is missing the log says whose."""
        reason = "key ('/key'): can't be read: Permission denied"

        def read(server: object) -> dict[str, Any]:
            raise ConfigurationError(reason)

        with capturedLogs() as events:
            self.assertFalse(useAll(prepareAll([self.factory], read, []), isWatched=True))
        (text,) = map(formatEvent, events)
        self.assertTrue(text.startswith(f"Keeping the old certificates: {reason}; the user"), text)
        self.assertIn(f"uid {os.geteuid()}, has to be able to read it", text)
