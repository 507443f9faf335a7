"""The table of events is what the log is told."""

from __future__ import annotations

import ast
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.project.test_architecture import modules, parse
from tests.support.logins import Logins
from tests.support.talk import MAIL, RCPT, Log, walk
from twisted_smtpserver import Rejection
from twisted_smtpserver.log.events import EVENTS
from twisted_smtpserver.log.formats import plainFields
from twisted_smtpserver.replies import MESSAGE_ACCEPTED
from twisted_smtpserver.session import Envelope
from twisted_smtpserver.states import Phase
from twisted_smtpserver.testing import connect

BY_NAME = {event.name: event for event in EVENTS}


def named() -> dict[str, set[str]]:
    """The events that the code names, each with the fields that it gives it there."""
    found: dict[str, set[str]] = {}
    for _, path in modules():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                pairs = {each.arg: each.value for each in node.keywords if each.arg}
            elif isinstance(node, ast.Dict):
                pairs = {
                    str(key.value): value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant)
                }
            else:
                continue
            name = pairs.pop("event", None)
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.setdefault(name.value, set()).update(map(str, pairs))
    return found


class TableTests(SynchronousTestCase):
    def test_code(self) -> None:
        """Every event that the code names is in the table, with just these fields; no other is."""
        found = named()
        self.assertEqual(set(found), set(BY_NAME))
        for name, fields in found.items():
            self.assertEqual(fields - {"text"}, set(BY_NAME[name].fields), name)

    def test_events(self) -> None:
        """The events themselves have the fields and levels that the table says."""
        log = Log()

        def onRcptTo(address: Any, session: Any) -> None:
            if address.local == "nobody":
                raise Rejection

        def onMailFrom(address: Any, session: Any) -> None:
            if address.local == "bug":
                raise LookupError

        handler: Any = Logins()
        handler.onRcptTo, handler.onMailFrom = onRcptTo, onMailFrom
        client = walk(
            connect(
                handler, logger=log.logger, maxClients=1, allowInsecureAuth=True, authOptional=True
            ),
            Phase.READY,
        )
        client.pipeline("MAIL FROM:<bug@x.test>", MAIL, RCPT, "RCPT TO:<nobody@x.test>")
        client.send(b"BDAT 2 LAST\r\n\r\n")
        connect(client.factory)
        server = client.factory.log
        server.loginFailed(client.session, "PLAIN", "joe")
        server.replyLost(client.session, Envelope(), [MESSAGE_ACCEPTED])
        server.hookTimedOut(client.session, "onData")
        server.oversight("text")
        client.lose()
        seen = set()
        for event in log.events:
            described = BY_NAME[event["event"]]
            fields = set(plainFields(event)) - {"event"}
            self.assertEqual(fields, set(described.fields), described.name)
            self.assertEqual(event["log_level"].name, described.level, described.name)
            seen.add(described.name)
        others = {"hookBlocked", "firedInThread", "notReady", "ready", "transcript"}
        self.assertEqual(set(BY_NAME) - seen, others)
