"""Mailpit's API, request by request; its own clients are in tests/interop."""

from __future__ import annotations

import base64
import json
import sqlite3
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import WebAnswer, ask, deliver, get, openInbox
from twisted_smtpserver.inbox import answers, deadline
from twisted_smtpserver.inbox.answers import MAX_JSON
from twisted_smtpserver.inbox.search import Condition
from twisted_smtpserver.inbox.send import MAX_FIELD, MAX_LINES, MAX_VALUES

PLAIN = b"From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: Hello\n\nYour code: 1234\n"
RICH = (
    b"From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
    b"Date: Sat, 21 Nov 2026 10:00:00 +0100\nMessage-ID: <m@x>\nX-A: 1\nX-A: 2\n"
    b"List-Unsubscribe: <mailto:out@x.test>, <https://x.test/out>\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"
    b"MIME-Version: 1.0\nContent-Type: multipart/related; boundary=b\n\n"
    b"--b\nContent-Type: text/html; charset=utf-8\n\n<p>Hi <img src='cid:logo@x'>\n"
    b"--b\nContent-Type: image/png\nContent-ID: <logo@x>\nContent-Disposition: inline\n\nPNG\n"
    b'--b\nContent-Type: text/html\nContent-Disposition: attachment; filename="../a b.html"\n\n'
    b"<script>alert(1)</script>\n"
    b"--b--\n"
)


class APITestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.inbox = openInbox()

    def get(self, path: str, **headers: str) -> WebAnswer:
        return get(self.inbox, path, **headers)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def change(self, method: str, path: str, body: Any = b"", status: int = 200) -> WebAnswer:
        answer = ask(self.inbox, method, path, body)
        self.assertEqual(answer.status, status, answer.body)
        return answer


class MessageTests(APITestCase):
    def test_summary(self) -> None:
        """A message has its fields, decoded, its texts and its parts; then it is read."""
        identifier = deliver(self.inbox, RICH, "bob@example.net", "eve@example.net")
        found = self.json(f"/api/v1/message/{identifier}")
        self.assertEqual(found["ID"], identifier)
        self.assertEqual(found["Subject"], "Grüße")
        self.assertEqual(found["From"], {"Name": "Ann", "Address": "ann@example.org"})
        self.assertEqual(found["Bcc"], [{"Name": "", "Address": "eve@example.net"}])
        self.assertEqual(found["Date"], "2026-11-21T09:00:00.000Z")
        self.assertEqual(found["ReturnPath"], "ann@example.org")
        self.assertIn("<p>Hi", found["HTML"])
        self.assertEqual([each["FileName"] for each in found["Attachments"]], ["a b.html"])
        self.assertEqual([each["ContentID"] for each in found["Inline"]], ["logo@x"])
        self.assertEqual(len(found["Inline"][0]["Checksums"]["SHA256"]), 64)
        self.assertEqual(
            found["ListUnsubscribe"]["Links"], ["mailto:out@x.test", "https://x.test/out"]
        )
        self.assertTrue(self.json("/api/v1/messages")["messages"][0]["Read"])

    def test_latest(self) -> None:
        """The newest one has a name; without any there is none."""
        self.assertEqual(self.get("/api/v1/message/latest").status, 404)
        deliver(self.inbox, PLAIN)
        last = deliver(self.inbox, PLAIN)
        self.assertEqual(self.json("/api/v1/message/latest")["ID"], last)

    def test_headers(self) -> None:
        """Fields by name; those that are there twice have two values."""
        deliver(self.inbox, RICH)
        headers = self.json("/api/v1/message/latest/headers")
        self.assertEqual((headers["X-A"], headers["Subject"]), (["1", "2"], ["Grüße"]))

    def test_raw(self) -> None:
        """The source is octet for octet what was sent; it can be saved."""
        deliver(self.inbox, PLAIN)
        answer = self.get("/api/v1/message/latest/raw")
        self.assertEqual(answer.body, PLAIN.replace(b"\n", b"\r\n"))
        self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")
        saved = self.get("/api/v1/message/latest/raw?dl=1")
        self.assertEqual(saved.headers["Content-Type"], "message/rfc822")
        self.assertIn("attachment; filename*=UTF-8''latest.eml", str(saved.headers))

    def test_parts(self) -> None:
        """A part has its type; what could run is saved, and never runs."""
        deliver(self.inbox, RICH)
        found = self.json("/api/v1/message/latest")
        page = found["Attachments"][0]["PartID"]
        answer = self.get(f"/api/v1/message/latest/part/{page}")
        self.assertEqual(answer.body, b"<script>alert(1)</script>")
        self.assertIn("attachment", answer.headers["Content-Disposition"])
        self.assertIn("a%20b.html", answer.headers["Content-Disposition"])
        self.assertIn("sandbox", answer.headers["Content-Security-Policy"])
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        picture = found["Inline"][0]["PartID"]
        shown = self.get(f"/api/v1/message/latest/part/{picture}")
        self.assertIn("inline", shown.headers["Content-Disposition"])
        self.assertEqual(self.get("/api/v1/message/latest/part/99").status, 404)

    def test_thumbnails(self) -> None:
        """Of a picture it is the picture; of anything else nothing is to be seen."""
        deliver(self.inbox, RICH)
        found = self.json("/api/v1/message/latest")
        parts = [found[kind][0]["PartID"] for kind in ("Inline", "Attachments")]
        kinds = [
            self.get(f"/api/v1/message/latest/part/{part}/thumb").headers["Content-Type"]
            for part in parts
        ]
        self.assertEqual(kinds, ["image/png", "image/gif"])

    def test_unsubscribe(self) -> None:
        """A link that is none is an error."""
        deliver(self.inbox, b"List-Unsubscribe: <javascript:x>\n\n\n")
        found = self.json("/api/v1/message/latest")["ListUnsubscribe"]
        self.assertEqual((found["Links"], bool(found["Errors"])), ([], True))

    def test_unoffered(self) -> None:
        """What would ask other hosts isn't there, and says so."""
        deliver(self.inbox, PLAIN)
        for check in ("html-check", "link-check", "sa-check"):
            self.assertEqual(self.get(f"/api/v1/message/latest/{check}").status, 501)
        self.change("POST", "/api/v1/message/latest/release", status=501)


class ListTests(APITestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ids = [deliver(self.inbox, PLAIN.replace(b"Hello", b"Hello %d" % n)) for n in range(3)]

    def subjects(self, query: str = "") -> list[str]:
        page = self.json(f"/api/v1/search?query={query}" if query else "/api/v1/messages")
        return [each["Subject"] for each in page["messages"]]

    def test_list(self) -> None:
        """Newest first, in parts; numbers that are none are left out."""
        self.assertEqual(self.subjects(), ["Hello 2", "Hello 1", "Hello 0"])
        page = self.json("/api/v1/messages?start=1&limit=1")
        self.assertEqual([each["Subject"] for each in page["messages"]], ["Hello 1"])
        self.assertEqual(page["total"], 3)
        for odd in ("start=-1", "start=x", "limit=%C2%B2", "start=99999999999999999999"):
            self.assertEqual(len(self.json(f"/api/v1/messages?{odd}")["messages"]), 3, odd)

    def test_search(self) -> None:
        """A search, with what it didn't understand."""
        self.assertEqual(self.subjects("subject:1"), ["Hello 1"])
        self.assertEqual(len(self.json("/api/v1/search?query=before:soon")["problems"]), 1)

    def test_read(self) -> None:
        """Read or unread: some, what a search finds, or all."""
        self.change("PUT", "/api/v1/messages", {"IDs": self.ids[:1], "Read": True})
        self.assertEqual(self.subjects("is:read"), ["Hello 0"])
        self.change("PUT", "/api/v1/messages", {"Search": "subject:2", "Read": True})
        self.assertEqual(self.subjects("is:read"), ["Hello 2", "Hello 0"])
        self.change("PUT", "/api/v1/messages", {"Read": True})
        self.assertEqual(self.subjects("is:unread"), [])
        self.change("PUT", "/api/v1/messages")
        self.assertEqual(self.subjects("is:read"), [])

    def test_delete(self) -> None:
        """Some, what a search finds, or all."""
        self.change("DELETE", "/api/v1/messages", {"IDs": self.ids[:1]})
        self.assertEqual(self.subjects(), ["Hello 2", "Hello 1"])
        self.change("DELETE", "/api/v1/search?query=subject:2")
        self.assertEqual(self.subjects(), ["Hello 1"])
        self.change("DELETE", "/api/v1/messages", b"null")
        self.assertEqual(self.subjects(), [])
        self.assertEqual(self.json("/api/v1/info")["RuntimeStats"]["MessagesDeleted"], 3)

    def test_misunderstood(self) -> None:
        """A search that wasn't understood, or is empty, changes nothing."""
        self.change("DELETE", "/api/v1/search?query=before:soon", status=400)
        self.change("DELETE", "/api/v1/search?query=", status=400)
        self.change("PUT", "/api/v1/messages", {"Search": "before:soon"}, status=400)
        self.assertEqual(len(self.subjects()), 3)

    def test_tags(self) -> None:
        """Tags are set, listed, renamed and deleted; their names are cleaned."""
        self.change("PUT", "/api/v1/tags", {"IDs": self.ids[:2], "Tags": ["a<b>", "Two", 7]})
        self.assertEqual(self.json("/api/v1/tags"), ["a b", "Two"])
        self.change("PUT", "/api/v1/tags/Two", {"Name": "Zwei/2"})
        self.assertEqual(self.json("/api/v1/tags"), ["a b", "Zwei 2"])
        self.change("DELETE", "/api/v1/tags/a%20b")
        self.assertEqual(self.json("/api/v1/info")["Tags"], {"Zwei 2": 2})
        self.change("PUT", "/api/v1/tags", {"IDs": self.ids})
        self.assertEqual(self.json("/api/v1/tags"), [])

    def test_wrongTags(self) -> None:
        """Tags of nothing, with a name that is none, or that aren't there."""
        self.change("PUT", "/api/v1/tags", {"Tags": ["a"]}, status=400)
        self.change("PUT", "/api/v1/tags", {"IDs": self.ids, "Tags": "a"}, status=400)
        self.change("PUT", "/api/v1/tags/x", {"Name": "<>"}, status=400)
        self.change("DELETE", "/api/v1/tags/x", status=404)

    def test_wrongBodies(self) -> None:
        """What isn't the JSON that is wanted is refused, and changes nothing."""
        wrong: list[Any] = [
            b"{",
            b"\xff",
            b"[" * 100_000,
            [],
            {"IDs": "x"},
            {"IDs": [1]},
            {"Search": 1},
            {"Read": "yes"},
        ]
        for body in wrong:
            self.change("PUT", "/api/v1/messages", body, status=400)
        self.change("PUT", "/api/v1/messages", b" " * (MAX_JSON + 1), status=413)
        many = b'{"IDs": [' + b"0," * answers.MAX_VALUES + b"0]}"
        self.change("PUT", "/api/v1/messages", many, status=413)
        self.assertEqual(len(self.subjects("is:unread")), 3)


class DeadlineTests(APITestCase):
    """A search that takes too long."""

    def test_ended(self) -> None:
        """It is ended, and changes nothing; all else goes on."""
        deliver(self.inbox, PLAIN)
        self.patch(deadline, "SEARCH_TIME", -1)
        self.patch(deadline, "_INTERVAL", 1)
        self.assertEqual(self.get("/api/v1/search?query=x").status, 503)
        self.assertEqual(ask(self.inbox, "DELETE", "/api/v1/search?query=code").status, 503)
        self.change("PUT", "/api/v1/messages", {"Search": "code", "Read": True}, status=503)
        self.patch(deadline, "SEARCH_TIME", 5)
        self.assertEqual(self.json("/api/v1/search?query=code")["messages_unread"], 1)

    def test_failure(self) -> None:
        """Another failure of the database's is one, in time."""
        store = self.inbox.desk.store
        self.assertRaises(sqlite3.OperationalError, store.page, Condition(["nonsense("]), 0, 1)


class ViewTests(APITestCase):
    def test_text(self) -> None:
        """The text by itself."""
        deliver(self.inbox, PLAIN)
        answer = self.get("/view/latest.txt")
        self.assertEqual(answer.text, "Your code: 1234\n")
        self.assertEqual(answer.headers["Content-Type"], "text/plain; charset=utf-8")

    def test_html(self) -> None:
        """The HTML in its sandbox, with its own pictures and no others."""
        identifier = deliver(self.inbox, RICH)
        answer = self.get("/view/latest.html")
        policy = answer.headers["Content-Security-Policy"]
        pictures = f"/view/{identifier}/cid/"
        self.assertIn(f"img-src 127.0.0.1:8025{pictures} data:;", policy)
        for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "sandbox "):
            self.assertIn(rule, policy)
        self.assertNotIn("allow-scripts", policy)
        self.assertNotIn("allow-same-origin", policy)
        self.assertIn(f"{pictures}logo@x", answer.text)
        self.assertEqual(self.get(f"{pictures}logo@x").body, b"PNG")
        self.assertEqual(self.get(f"{pictures}logo@y").status, 404)

    def test_noHTML(self) -> None:
        """A message without HTML has no such view."""
        deliver(self.inbox, PLAIN)
        self.assertEqual(self.get("/view/latest.html").status, 404)

    def test_remote(self) -> None:
        """Pictures of others are loaded if our page asks for them, not if the HTML does."""
        deliver(self.inbox, RICH)
        path = "/view/latest.html?remote=1"
        page = self.get(path, Sec_Fetch_Site="same-origin").headers["Content-Security-Policy"]
        self.assertIn("data: http: https:", page)
        link = self.get(
            path,
            Sec_Fetch_Site="cross-site",
            Sec_Fetch_Mode="navigate",
            Sec_Fetch_Dest="document",
        )
        self.assertEqual(link.status, 200)
        self.assertNotIn("https:", link.headers["Content-Security-Policy"])
        self.assertNotIn("https:", self.get(path).headers["Content-Security-Policy"])

    def test_ipv6(self) -> None:
        """Policies have no addresses of IPv6, so pictures may come from the page itself."""
        deliver(self.inbox, RICH)
        answer = self.get("/view/latest.html", Host="[::1]:8025")
        self.assertIn("img-src 'self' data:", answer.headers["Content-Security-Policy"])

    def test_long(self) -> None:
        """A long page is looked at in pieces, none of which cuts anything in two."""
        page = b"Content-Type: text/html\n\n" + b"<p>" + b"<link><img src='cid:a@x'>\n" * 2000
        identifier = deliver(self.inbox, page)
        text = self.get("/view/latest.html").text
        self.assertEqual(text.count("<x-link>"), 2000)
        self.assertEqual(text.count(f"src='/view/{identifier}/cid/a@x'>"), 2000)

    def test_link(self) -> None:
        """Tags that ask the network in spite of any policy are other tags now."""
        deliver(
            self.inbox,
            b"Content-Type: text/html\n\n"
            b"<link rel=preconnect href=//x><LINK\nrel=x><link/><linked><iframe src=//x>\n",
        )
        text = self.get("/view/latest.html").text
        self.assertNotRegex(text, "(?i)<(link|iframe)[ /\n>]")
        self.assertIn("<linked>", text)


class SendTests(APITestCase):
    MESSAGE = {
        "From": {"Email": "ann@example.org", "Name": "Ann Ä"},
        "To": [{"Email": "bob@example.net"}],
        "Cc": [{"Email": "carl@example.net"}],
        "Bcc": ["dora@example.net"],
        "ReplyTo": [{"Email": "help@example.net"}],
        "Subject": "Grüße",
        "Text": "Text",
        "HTML": "<p>HTML",
        "Headers": {"X-One": "1"},
        "Tags": ["a"],
        "Attachments": [
            {"Content": base64.b64encode(b"octets").decode(), "Filename": "a.bin"},
            {
                "Content": base64.b64encode(b"PNG").decode(),
                "Filename": "a.png",
                "ContentType": "image/png",
                "ContentID": "pic",
            },
        ],
    }

    def test_send(self) -> None:
        """A message made of JSON is in the inbox like any other."""
        identifier = self.change("POST", "/api/v1/send", self.MESSAGE).json()["ID"]
        found = self.json(f"/api/v1/message/{identifier}")
        self.assertEqual((found["Subject"], found["Text"]), ("Grüße", "Text\n"))
        self.assertEqual(found["HTML"], "<p>HTML\n")
        self.assertEqual(found["From"]["Name"], "Ann Ä")
        self.assertEqual(found["Bcc"][0]["Address"], "dora@example.net")
        self.assertEqual(found["ReplyTo"][0]["Address"], "help@example.net")
        self.assertEqual(found["Tags"], ["a"])
        self.assertEqual(found["Attachments"][0]["FileName"], "a.bin")
        self.assertEqual(found["Inline"][0]["ContentID"], "pic")
        headers = self.json(f"/api/v1/message/{identifier}/headers")
        self.assertEqual(headers["X-One"], ["1"])

    def test_htmlOnly(self) -> None:
        """HTML without text, or text alone, and without anything that may be left out."""
        wanted = {name: self.MESSAGE[name] for name in ("From", "To", "Text")}
        self.change("POST", "/api/v1/send", wanted)
        self.assertEqual(self.json("/api/v1/message/latest")["Text"], "Text\n")
        wanted = {name: self.MESSAGE[name] for name in ("From", "To", "HTML")}
        self.change("POST", "/api/v1/send", wanted)
        found = self.json("/api/v1/message/latest")
        self.assertEqual((found["Text"], found["HTML"], found["Subject"]), ("", "<p>HTML\n", ""))

    def test_wrong(self) -> None:
        """What is no message, or would forge a field, is refused; nothing is stored."""
        wrong: list[dict[str, Any]] = [
            {"From": None},
            {"From": "ann@example.org"},
            {"From": {"Email": "ann@example.org\r\nBcc: eve@x"}},
            {"From": {"Email": "ann@example.org", "Name": "A\r\nBcc: eve@x"}},
            {"To": [], "Cc": [], "Bcc": []},
            {"Subject": "a\r\nBcc: eve@x"},
            {"Headers": {"X: y\r\nBcc": "eve"}},
            {"Headers": {"X": "y\r\nBcc: eve"}},
            {"Headers": ["x"]},
            {"Attachments": [{"Content": "!"}]},
            {"Attachments": [{}]},
        ]
        for change in wrong:
            self.change("POST", "/api/v1/send", self.MESSAGE | change, status=400)
        self.assertEqual(self.json("/api/v1/messages")["total"], 0)

    def test_bounded(self) -> None:
        """A body of very many small values is refused before it is read."""
        body = json.dumps([0] * (MAX_VALUES + 2)).encode()
        self.change("POST", "/api/v1/send", body, status=413)

    def test_long(self) -> None:
        """So is what the library takes long for: long fields, and many lines."""
        long: list[dict[str, Any]] = [
            {"Subject": "x" * (MAX_FIELD + 1)},
            {"From": {"Email": "a@x.test", "Name": "x" * (MAX_FIELD + 1)}},
            {"To": [{"Email": "a@" + "b." * MAX_FIELD + "test"}]},
            {"Headers": {"X-A": "x" * (MAX_FIELD + 1)}},
            {"Text": "\n" * (MAX_LINES + 1)},
            {"HTML": "\r" * (MAX_LINES + 1)},
            {"Attachments": [{"Content": "QUJD", "Filename": "x" * (MAX_FIELD + 1)}]},
        ]
        for change in long:
            self.change("POST", "/api/v1/send", self.MESSAGE | change, status=413)
        self.assertEqual(self.json("/api/v1/messages")["total"], 0)

    def test_largeText(self) -> None:
        """A large text comes in as it was sent."""
        text = "Grüße\n" * 12_000
        self.change("POST", "/api/v1/send", self.MESSAGE | {"Text": text, "HTML": "<p>" + text})
        found = self.json("/api/v1/message/latest")
        self.assertEqual((found["Text"], found["HTML"]), (text, "<p>" + text))


class ServerTests(APITestCase):
    def test_info(self) -> None:
        """What clients ask for: version, counts, configuration."""
        deliver(self.inbox, PLAIN)
        info = self.json("/api/v1/info")
        self.assertEqual((info["Messages"], info["Unread"], info["Database"]), (1, 1, "memory"))
        self.assertEqual(info["RuntimeStats"]["SMTPAccepted"], 1)
        self.assertRegex(info["Version"], r"v1\.\d+")
        self.assertFalse(self.json("/api/v1/webui")["MessageRelay"]["Enabled"])

    def test_addresses(self) -> None:
        """The page learns where mail is to be sent, as far as that can be said."""
        self.assertEqual(self.json("/api/v1/webui")["SMTP"], [])
        server: Any = SimpleNamespace(ports=[])
        for host in (IPv4Address("TCP", "127.0.0.1", 25), UNIXAddress("/run/smtp")):
            server.ports.append(SimpleNamespace(getHost=lambda host=host: host))
        self.inbox.announce(server)
        found = self.json("/api/v1/webui")["SMTP"]
        self.assertEqual(found, [{"Address": "127.0.0.1", "Port": 25}])

    def test_probes(self) -> None:
        """Alive, and ready."""
        self.assertEqual(self.get("/livez").text, "ok")
        self.assertEqual(self.get("/readyz").text, "ok")

    def test_chaos(self) -> None:
        """The triggers are set, shown, and reset."""
        wanted = {"Recipient": {"ErrorCode": 550, "Probability": 100}}
        found = self.change("PUT", "/api/v1/chaos", wanted).json()
        self.assertEqual(found["Recipient"], wanted["Recipient"])
        self.assertEqual(found["Sender"], {"ErrorCode": 451, "Probability": 0})
        self.assertEqual(self.json("/api/v1/chaos"), found)
        self.change("PUT", "/api/v1/chaos", {"Sender": {"ErrorCode": 250}}, status=400)
        self.assertEqual(self.json("/api/v1/chaos"), found)
        self.change("PUT", "/api/v1/chaos")
        self.assertEqual(self.json("/api/v1/chaos")["Recipient"]["Probability"], 0)
