"""Who may ask the page."""

from __future__ import annotations

import base64

from twisted.trial.unittest import SynchronousTestCase

from tests.support.webtalk import HOST, ask, connectWeb, deliver, get, openInbox, parseAnswer
from twisted_smtpserver.inbox.site import FAILURE_DELAY

MESSAGE = b"Content-Type: text/html\n\n<p>Hello\n"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


class HostTests(SynchronousTestCase):
    """DNS rebinding: a name of an attacker's leads to our address."""

    def status(self, host: str, *names: str) -> int:
        return get(openInbox(hosts=names), "/livez", Host=host).status

    def test_ours(self) -> None:
        """Addresses, localhost, and what lies under it."""
        for host in (
            *("127.0.0.1:8025", "192.0.2.7", "[::1]:8025", "localhost:8025", "LOCALHOST."),
            "mail.localhost:80",
        ):
            self.assertEqual(self.status(host), 200, host)

    def test_foreign(self) -> None:
        """Any other name, and what is no name, is refused, with the cure."""
        for host in (
            *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "1.2.3.4.5"),
            *("evil.example:8025", "[::1", "a b", "x@localhost", "localhost:8025:1", ""),
        ):
            self.assertEqual(self.status(host), 403, host)
        text = get(openInbox(), "/", Host="evil.example").text
        self.assertIn("--inbox-host", text)
        self.assertNotIn("evil", text)

    def test_named(self) -> None:
        """A name that the inbox was told is its own."""
        self.assertEqual(self.status("Inbox.Example:443", "inbox.example"), 200)
        self.assertEqual(self.status("other.example", "inbox.example"), 403)


class SiteTests(SynchronousTestCase):
    """Pages of other sites make the browser ask."""

    def setUp(self) -> None:
        self.inbox = openInbox()
        self.identifier = deliver(self.inbox, MESSAGE)

    def test_requests(self) -> None:
        """Nothing of the API, whatever the method; a picture of a message is all there is."""
        for path in ("/api/v1/messages", "/api/v1/message/latest", "/api/events", "/", "/livez"):
            for site in ("cross-site", "same-site"):
                self.assertEqual(get(self.inbox, path, Sec_Fetch_Site=site).status, 403, path)
        picture = f"/view/{self.identifier}/cid/x"
        self.assertEqual(get(self.inbox, picture, Sec_Fetch_Site="cross-site").status, 404)
        answer = ask(self.inbox, "POST", picture, Sec_Fetch_Site="cross-site")
        self.assertEqual(answer.status, 403)
        latest = get(self.inbox, "/view/latest/cid/x", Sec_Fetch_Site="cross-site")
        self.assertEqual(latest.status, 403)

    def test_links(self) -> None:
        """A link may lead to a page, and not to the API."""
        link = {
            "Sec_Fetch_Site": "cross-site",
            "Sec_Fetch_Mode": "navigate",
            "Sec_Fetch_Dest": "document",
        }
        self.assertEqual(get(self.inbox, "/", **link).status, 200)
        self.assertEqual(get(self.inbox, "/api/v1/message/latest", **link).status, 403)
        frame = link | {"Sec_Fetch_Dest": "iframe"}
        self.assertEqual(get(self.inbox, f"/view/{self.identifier}.html", **frame).status, 403)

    def test_origin(self) -> None:
        """Browsers that don't say so say the origin when something is to be changed."""
        for origin, status in (
            ("http://evil.example", 403),
            ("null", 403),
            (f"http://{HOST}", 200),
        ):
            answer = ask(self.inbox, "DELETE", "/api/v1/messages", Origin=origin)
            self.assertEqual(answer.status, status, origin)
        self.assertEqual(get(self.inbox, "/api/v1/tags", Origin="http://evil.example").status, 200)

    def test_noCORS(self) -> None:
        """No answer may be read by another site."""
        answer = ask(self.inbox, "OPTIONS", "/api/v1/messages", Origin="http://evil.example")
        self.assertEqual(answer.status, 403)
        for path in ("/", "/api/v1/messages", "/nothing"):
            names = {name.lower() for name in get(self.inbox, path).headers}
            self.assertFalse({n for n in names if n.startswith("access-control")}, path)


class PasswordTests(SynchronousTestCase):
    def status(self, password: str, authorization: str, path: str = "/api/v1/info") -> int:
        inbox = openInbox(password=password)
        protocol, transport = connectWeb(inbox)
        line = f"Authorization: {authorization}\r\n" if authorization else ""
        protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n".encode())
        inbox.site.clock.advance(0)
        inbox.desk._clock.advance(FAILURE_DELAY)
        return parseAnswer(transport.value()).status

    def test_slow(self) -> None:
        """A wrong password is answered late; none at once, so that the browser asks for it."""
        inbox = openInbox(password="secret")
        protocol, transport = connectWeb(inbox)
        head = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {basic('x:y')}\r\n\r\n"
        protocol.dataReceived(head.encode())
        inbox.site.clock.advance(0)
        inbox.desk._clock.advance(FAILURE_DELAY - 0.1)
        self.assertEqual(transport.value(), b"")
        inbox.desk._clock.advance(0.1)
        self.assertEqual(parseAnswer(transport.value()).status, 401)

    def test_name(self) -> None:
        """Name and password must both be right."""
        self.assertEqual(self.status("joe:se:cret", basic("joe:se:cret")), 200)
        for wrong in ("joe:secret", "jim:se:cret", "joe", "", ":", "joe:se:cret "):
            self.assertEqual(self.status("joe:se:cret", basic(wrong)), 401, wrong)

    def test_anyName(self) -> None:
        """A password without a name goes with any."""
        self.assertEqual(self.status("geheimß", basic("x:geheimß")), 200)
        self.assertEqual(self.status("geheim", basic("geheim:")), 401)

    def test_other(self) -> None:
        """What is no Basic authentication is none."""
        for header in ("", "Bearer secret", "Basic", "Basic !!!", "Basic " + "A" * 5):
            self.assertEqual(self.status("secret", header), 401, header)

    def test_asked(self) -> None:
        """Everything asks for it, but whether the server lives."""
        answer = get(openInbox(password="secret"), "/")
        self.assertIn("Basic", answer.headers["WWW-Authenticate"])
        for path in ("/static/app.js", "/api/events", "/view/latest.html", "/nothing"):
            self.assertEqual(self.status("secret", "", path), 401, path)
        for path in ("/livez", "/readyz"):
            self.assertEqual(self.status("secret", "", path), 200, path)
