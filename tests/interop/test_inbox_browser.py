"""The inbox in a real browser."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from selenium.common.exceptions import NoAlertPresentException, WebDriverException
from twisted.trial.unittest import TestCase

from tests.interop.test_clients import need
from tests.support.browser import Browser
from tests.support.liveserver import PATIENCE, LiveServer
from twisted_smtpserver.inbox.rows import Envelope
from twisted_smtpserver.inbox.store import MessageStore

# 2 × 1 pixels.
GIF = bytes.fromhex(
    "47494638396102000100800000ff0000ffffff21f90401000000002c00000000020001000002024404003b"
)

#: What strangers may send; CANARY is a server that counts.
HOSTILE = """<!doctype html><html manifest="CANARY/manifest"><head>
<base href="CANARY/base/" target="_top">
<meta http-equiv="refresh" content="0;url=CANARY/refresh">
<meta http-equiv="Content-Security-Policy" content="default-src * 'unsafe-inline'">
<link rel="stylesheet" href="CANARY/link.css"><link rel="preconnect" href="CANARY">
<link rel=dns-prefetch href="CANARY"><link/rel=prefetch href="CANARY/prefetch">
<LINK rel="icon" href="CANARY/icon"><link rel="modulepreload" href="CANARY/module.js">
<style>@import url("CANARY/import.css"); body { background: url("CANARY/background") }
@font-face { font-family: f; src: url("CANARY/font") } p { font-family: f }
li { list-style-image: url("CANARY/list") } a::before { content: url("CANARY/content") }</style>
<script>top.document.title = "script"; alert("script"); fetch("CANARY/fetch")</script>
<script src="CANARY/script.js"></script><script type="module">import "CANARY/import.js"</script>
</head><body background="CANARY/body" onload="alert('load')" onpageshow="alert(1)">
<h1 id="marker">Hello</h1><p>text<ul><li>item</ul>
<img id="cid" src="cid:dot@x"><img src="CANARY/img"><img srcset="CANARY/srcset 2x" src="x">
<img src="//HOST/relative"><img src="x" onerror="alert('error')"><image src="CANARY/image">
<picture><source srcset="CANARY/source"><img></picture><input type="image" src="CANARY/input">
<video src="CANARY/video" poster="CANARY/poster" autoplay></video><audio src="CANARY/audio"
autoplay></audio><object data="CANARY/object"></object><embed src="CANARY/embed">
<applet code="CANARY/a">
</applet><iframe src="CANARY/frame"></iframe><iframe srcdoc="<script>alert(1)</script>"></iframe>
<iframe src="javascript:alert('frame')"></iframe><frameset><frame src="CANARY/frameset"></frameset>
<svg onload="alert('svg')"><image href="CANARY/svg"/><use href="CANARY/use#x"/>
<script>alert("svg script")</script><foreignObject><img src="CANARY/foreign"></foreignObject>
<animate attributeName="href" values="javascript:alert(1)"/><feImage href="CANARY/fe"/></svg>
<math><maction actiontype="statusline" xlink:href="javascript:alert(1)">x</maction></math>
<table background="CANARY/table"><tr><td>x</table><details open ontoggle="alert(1)">x</details>
<input autofocus onfocus="alert(1)"><body style="background:url(CANARY/again)">
<div style="background-image:url('CANARY/div')">x</div>
<a id="javascript" href="javascript:alert('link')">a</a>
<a id="blank" target="_blank" href="javascript:alert('link')">b</a>
<a id="data" target="_self" href="data:text/html,<script>alert(1)</script>">c</a>
<a id="self" target="_self" href="CANARY/self" ping="CANARY/ping">d</a>
<a id="top" target="_top" href="CANARY/top" ping="CANARY/ping">e</a>
<a id="download" download target="_self" href="CANARY/download">f</a>
<form action="CANARY/form" method="post"><button id="submit" formtarget="_top">g</button></form>
<form action="javascript:alert('form')"><button id="script">h</button></form>
<a id="honest" href="CANARY/control/link">A link</a>
<style>/* not closed"""


#: What is clicked in it.
CLICKED = ("javascript", "blank", "data", "self", "top", "download", "submit", "script")


class Canary:
    """
    A server that nobody should ask.

    :ivar asked: the first line of each request; empty for a connection without one.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.asked.append("")
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2)
                head = connection.recv(65536).decode("latin-1")
                self.asked[-1] = head.partition("\r\n")[0]
                self.headers.append(head.lower())
                page = "<title>control</title><link rel=icon href=data:,><h1>control</h1>"
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\nConnection: close\r\n"
                connection.sendall(f"{answer}Content-Type: text/html\r\n\r\n{page}".encode())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE)


def fill(path: str, count: int) -> None:
    """Make a database with many messages."""
    store = MessageStore(path)
    store._database.execute("PRAGMA synchronous = OFF")
    for number in range(count):
        store.add(b"From: a@x.test\r\nSubject: Message %d\r\n\r\nText\r\n" % number, Envelope())
    store.close()


class BrowserTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        """A browser, and a server that it looks at."""
        chromium, driver = need("chromium"), need("chromedriver")
        self.browser = Browser(chromium, driver)
        self.addCleanup(self.browser.close)
        self.browser.resize(1280, 800)

    def start(self, *flags: str) -> None:
        folder = Path(self.mktemp()).absolute()
        server = LiveServer(folder, "--inbox", "127.0.0.1:0", *flags, listeners=2)
        self.addCleanup(server.__exit__)
        web, self.smtp = server.ports
        self.url = f"http://127.0.0.1:{web}/"

    def send(self, *messages: EmailMessage) -> None:
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=PATIENCE) as client:
            for message in messages:
                client.send_message(message)

    def message(self, subject: str, text: str = "Hello", html: str = "") -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = "Ann <ann@example.org>", "bob@example.net"
        message["Subject"] = subject
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
        return message

    def subjects(self) -> list[str]:
        return self.browser.texts(".row[data-id] .subject")

    def untilSubjects(self, *expected: str) -> None:
        self.browser.until(lambda: self.subjects() == list(expected), f"not {expected}")

    def test_life(self) -> None:
        """Mail appears without a reload, is opened, found, tagged, and deleted."""
        self.start()
        browser = self.browser
        browser.open(self.url)
        self.assertIn("No mail yet", browser.one("#nothing").text)
        where = f"127.0.0.1, port {self.smtp}"
        browser.until(lambda: where in browser.one("#nothing").text, "it doesn't say where to send")
        browser.one(".state.live")
        self.send(self.message("First"), self.message("Second", "Your code: 123456", "<p>Code"))
        self.untilSubjects("Second", "First")
        self.assertEqual(browser.driver.title, "(2) Inbox")

        browser.one(".row[data-id] .subject").click()
        self.assertEqual(browser.one("#message h1").text, "Second")
        browser.one("iframe#html")
        browser.until(lambda: browser.driver.title == "(1) Inbox", "not read")
        browser.one('[data-view="text"]').click()
        self.assertIn("123456", browser.one("pre.text").text)
        browser.one('[data-view="headers"]').click()
        browser.until(lambda: "Subject" in browser.one(".content").text, "no headers")
        browser.one('[data-view="source"]').click()
        browser.until(lambda: "MIME-Version" in browser.one("pre.source").text, "no source")
        browser.one(".addTag").click()
        browser.one(".newTag").send_keys("urgent\n")
        browser.until(lambda: "urgent" in browser.one(".tags").text, "no tag")
        browser.until(lambda: "# urgent" in browser.texts("#filters button"), "no filter")

        browser.one("#query").send_keys("code 1234")
        self.untilSubjects("Second")
        browser.one("#clear").click()
        self.untilSubjects("Second", "First")
        browser.one("#query").send_keys("before:soon")
        self.assertIn("is not a date", browser.one("#problems").text)
        browser.one("#clear").click()
        self.untilSubjects("Second", "First")

        browser.one("#delete").click()
        self.untilSubjects("First")
        browser.until(lambda: browser.one("#message h1").text == "First", "the next isn't open")
        browser.one("body").send_keys("u")
        browser.until(lambda: browser.driver.title == "(1) Inbox", "not unread")
        browser.one("#deleteAll").click()
        browser.one("#sure .danger").click()
        browser.one("#nothing")
        self.assertEqual(self.problems(), [])

    def problems(self) -> list[str]:
        """What the browser complains of."""
        return [line for line in self.browser.log() if "favicon" not in line]

    def test_release(self) -> None:
        """A message is sent on to a real server, if there is one, to whom somebody says."""
        with LiveServer(Path(self.mktemp()).absolute()) as target:
            self.start("--inbox-release", f"smtp://127.0.0.1:{target.port}")
            self.send(self.message("Release me"))
            browser = self.browser
            browser.open(f"{self.url}view/latest")
            browser.one("#releaseOne").click()
            field = browser.one("#releaseTo")
            self.assertEqual(field.get_property("value"), "bob@example.net")
            field.send_keys("\ncarl@example.org")
            browser.one("#release .primary").click()
            browser.until(lambda: "on its way" in browser.one("#toast").text, "not sent")
            [message] = target.messages()
        self.assertIn(b"Subject: Release me\r\n", message)

    def test_many(self) -> None:
        """Ten thousand messages: the page has a few rows of them; any can be reached."""
        database = str(Path(self.mktemp()).absolute())
        fill(database, 10_000)
        self.start("--inbox-db", database)
        browser = self.browser
        browser.open(self.url)
        browser.until(lambda: self.subjects()[:1] == ["Message 9999"], "no list")
        self.assertLess(len(browser.all(".row")), 40)
        browser.driver.execute_script(
            "const list = document.querySelector('#list'); list.scrollTop = list.scrollHeight"
        )
        browser.until(lambda: self.subjects()[-1:] == ["Message 0"], "no end")
        self.assertLess(len(browser.all(".row")), 40)
        self.send(*(self.message(f"New {number}") for number in range(200)))
        browser.until(lambda: browser.driver.title == "(10000) Inbox", "not counted")
        browser.until(lambda: self.subjects()[-1:] == ["Message 200"], "the oldest aren't gone")
        browser.one("#query").send_keys("subject:4567")
        self.untilSubjects("Message 4567")

    def test_hostile(self) -> None:
        """Hostile HTML runs nothing, opens nothing, and asks nobody for anything."""
        self.start()
        canary = Canary()
        self.addCleanup(canary.close)
        page = HOSTILE.replace("CANARY", canary.url).replace("HOST", canary.url[7:])
        script = "<img src=x onerror=alert(1)>"
        message = self.message(f"{script} subject", html=page)
        message.replace_header("From", f'"{script}" <ann@example.org>')
        message["X-Tags"] = script
        body: Any = message.get_payload(1)
        body.add_related(GIF, "image", "gif", cid="<dot@x>")
        svg = f'<script>alert(1)</script><image href="{canary.url}/s"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg">{svg}</svg>'
        message.add_attachment(svg.encode(), "image", "svg+xml", filename=f"{script}.svg")
        message.add_attachment(page.encode(), "text", "html", filename="page.html")
        self.send(message)

        browser, driver = self.browser, self.browser.driver
        browser.open(self.url)
        browser.one(".row[data-id] .subject").click()
        self.assertIn("<img", browser.one("#message h1").text)
        address = driver.current_url
        self.enterFrame()
        driver.switch_to.default_content()
        self.assertRaises(NoAlertPresentException, lambda: driver.switch_to.alert)
        self.assertEqual(canary.asked, [])
        for link in CLICKED:
            self.enterFrame()
            self.click(f"#{link}")
            driver.switch_to.default_content()
            self.assertRaises(NoAlertPresentException, lambda: driver.switch_to.alert)
            self.assertEqual(driver.current_url, address, link)
            self.assertEqual(driver.title, "Inbox", link)
            for handle in driver.window_handles[1:]:  # a tab that has nothing to show
                driver.switch_to.window(handle)
                driver.close()
            driver.switch_to.window(driver.window_handles[0])
            # The frame may have been emptied by the click: show the message anew.
            browser.one('[data-view="text"]').click()
            browser.one('[data-view="html"]').click()
        for part in browser.all(".attachments a"):
            path = part.get_attribute("href").partition("?")[0]
            with contextlib.suppress(WebDriverException):  # "net::ERR_ABORTED": it is a download
                browser.open(path)
            self.assertRaises(NoAlertPresentException, lambda: driver.switch_to.alert)
        # The browser may have connected when the button went down on a link, and said nothing.
        self.assertEqual(list(filter(None, canary.asked)), [])

        # A link opens a tab of its own, without telling where it was; and the canary works.
        browser.open(address)
        self.enterFrame()
        self.assertGreater(browser.all("#cid")[0].get_property("naturalWidth"), 0)
        self.click("#honest")
        driver.switch_to.default_content()
        browser.until(lambda: canary.headers, "the link doesn't work")
        asked = list(filter(None, canary.asked))
        self.assertEqual(asked[0], "GET /control/link HTTP/1.1")
        self.assertNotIn("referer", canary.headers[0])
        self.assertEqual(driver.current_url, address)

    def click(self, selector: str) -> None:
        """Click something in the message."""
        [element] = self.browser.all(selector)
        self.browser.driver.execute_script("arguments[0].scrollIntoView()", element)
        element.click()

    def enterFrame(self) -> None:
        """Go into the message, when it is there."""
        self.browser.until(self.hasMarker, "the message isn't shown")

    def hasMarker(self) -> bool:
        driver = self.browser.driver
        driver.switch_to.default_content()
        frames = self.browser.all("iframe#html")
        if frames:
            driver.switch_to.frame(frames[0])
        return bool(frames) and bool(self.browser.all("#marker"))
