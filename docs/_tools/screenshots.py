"""
Pictures of the inbox: ``python -m docs._tools.screenshots`` makes them in ``docs/images``.

It takes chromium, chromium-driver and fonts-inter of Debian's, what the extra ``test`` installs,
and Pillow.
"""

from __future__ import annotations

import base64
import io
import shutil
import smtplib
import sys
import tempfile
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.browser import Browser  # noqa: E402  # the tests' browser
from tests.support.liveserver import LiveServer  # noqa: E402

FOLDER = ROOT / "docs" / "images"

_CELL = "padding:10px 0;border-bottom:1px solid #e5e7eb"

ORDER = f"""
<div style="font:16px/1.6 Inter,system-ui,sans-serif;max-width:560px;margin:28px auto;
color:#1f2937">
<div style="background:linear-gradient(120deg,#0f766e,#22c55e);border-radius:16px;padding:32px 28px;
color:#fff"><div style="font-size:13px;letter-spacing:.08em;opacity:.85">ORDER 2026-1184</div>
<h1 style="margin:6px 0 0;font-size:27px;line-height:1.25">Thank you, Ada. It’s on its way.</h1>
</div>
<table style="width:100%;border-collapse:collapse;margin:22px 0">
<tr><td style="{_CELL}">Mechanical keyboard, ISO<td style="{_CELL};text-align:right">129.00</tr>
<tr><td style="{_CELL}">Wrist rest, walnut<td style="{_CELL};text-align:right">34.00</tr>
<tr><td style="padding:10px 0"><b>Total</b><td style="text-align:right"><b>163.00</b></tr></table>
<a href="https://shop.example/track" style="display:inline-block;background:#0f766e;color:#fff;
padding:12px 22px;border-radius:10px;text-decoration:none;font-weight:600">Follow the parcel</a>
<p style="color:#6b7280;font-size:14px;margin-top:26px">The invoice is attached.</p>
<img src="https://shop.example/pixel.png" width="1" height="1" alt=""></div>"""

#: From, subject, text, tags; the last one is the newest.
MESSAGES = [
    ("Zoë Müller <zoe@example.com>", "Grüße aus Zürich", "Das Treffen ist am Montag um neun.", ""),
    ("CI <ci@build.example>", "Build 4182 failed: 2 tests", "test_login: 401 != 200", "ci"),
    ("Newsletter <news@example.org>", "What changed in November", "Three things to try.", ""),
    ("Billing <billing@shop.example>", "Invoice 2026-1183", "Please find it attached.", "billing"),
    ("Νίκος Παπαδάκης <nikos@example.net>", "Η συνάντηση της Τρίτης", "Στις δέκα;", ""),
    ("Accounts <no-reply@app.example>", "Confirm your address", "Your code is 402 118.", "signup"),
    ("Sam Carter <sam@example.org>", "Re: staging is slow again", "It was the index.", ""),
    ("Accounts <no-reply@app.example>", "Reset your password", "Your code is 771 204.", "auth"),
    ("Shop <hello@shop.example>", "Your order is on its way", "Thank you, Ada.", "billing,order"),
]


def makeMessage(sender: str, subject: str, text: str, tags: str) -> EmailMessage:
    """One of the messages."""
    message = EmailMessage()
    message["Date"] = formatdate(localtime=True)
    message["From"], message["To"] = sender, "Ada Lovelace <ada@example.net>"
    message["Subject"] = subject
    if tags:
        message["X-Tags"] = tags
    message.set_content(text + "\n")
    if "order" in tags:
        message.add_alternative(ORDER, subtype="html")
    if "billing" in tags:
        content = b"%PDF-1.7" + bytes(48_000)
        message.add_attachment(content, "application", "pdf", filename="invoice.pdf")
    return message


def send(port: int) -> None:
    """Fill the inbox."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        for message in MESSAGES:
            client.send_message(makeMessage(*message))


def shoot(browser: Browser, name: str, width: int, height: int, scheme: str) -> None:
    """Take one picture."""
    browser.scheme(scheme)
    browser.resize(width, height)
    browser.command("Input.dispatchMouseEvent", type="mouseMoved", x=width - 1, y=1)
    browser.until(lambda: browser.all(".state.live"), "the page isn't live")
    browser.driver.execute_async_script(
        "const done = arguments[0]; document.fonts.ready.then(() =>"
        " requestAnimationFrame(() => setTimeout(done, 400)))"
    )
    picture = browser.command("Page.captureScreenshot", format="png", optimizeForSpeed=False)
    path = FOLDER / f"{name}.png"
    image = Image.open(io.BytesIO(base64.b64decode(picture["data"]))).convert("RGB")
    image.quantize(160, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


def main() -> None:
    """Take all pictures."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise SystemExit("screenshots: install chromium and chromium-driver")
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveServer(Path(folder), "--inbox", "127.0.0.1:0", listeners=2) as server,
    ):
        web, smtp = server.ports
        browser = Browser(chromium, driver)
        try:
            send(smtp)
            take(browser, f"http://127.0.0.1:{web}/")
        finally:
            browser.close()


def take(browser: Browser, url: str) -> None:
    """The pictures one by one."""
    browser.open(url)
    browser.resize(1280, 800)
    browser.one(".row[data-id] .subject").click()
    browser.one("#html")
    shoot(browser, "inbox-light", 1280, 800, "light")
    shoot(browser, "inbox-dark", 1280, 800, "dark")
    shoot(browser, "inbox-phone-message", 390, 760, "light")
    browser.one("#back").click()
    shoot(browser, "inbox-phone", 390, 760, "light")


if __name__ == "__main__":
    main()
