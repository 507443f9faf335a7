"""
Makes the pictures of the front page anew, from the real program: ``python docs/pictures.py``.

It starts the catcher, sends it a few mails, draws the terminal as SVG, and has Chromium take
pictures of the inbox. It needs Debian's chromium and chromium-driver, and selenium.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "_static"

COMMAND = "python -m twisted_smtpserver"

#: What is sent: sender, recipient, subject, text, HTML.
MAILS = (
    ("news@garden.example", "ann@example.org", "What to sow in November", "Garlic, mostly.", ""),
    (
        "shop@example.com",
        "joe@example.org",
        "Your order 4711 is on its way",
        "Two pens, blue. They arrive on Monday.",
        "<h1>On its way</h1><p>Two pens, <b>blue</b>. They arrive on <b>Monday</b>.</p>",
    ),
    ("ci@example.com", "team@example.org", "Build 1042 is green", "412 tests, no failures.", ""),
    (
        "shop@example.com",
        "ann@example.org",
        "Welcome to the shop",
        "Your code is 1234.",
        '<h1 style="color:#2757c4">Welcome, Ann</h1><p>Your code is <b>1234</b>.</p>',
    ),
)

#: A message's line in the log: when, who to whom, how large.
MESSAGE = r"^(\d\S+) .* (from <.*> to <.*?>).*, (\S+ octets): 250.*"

#: The terminal: size of a character, its rows' distance, and the space around, in pixels.
CHARACTER, ROW, SPACE = 8.4, 20, 18


@contextmanager
def catcher() -> Iterator[tuple[list[str], int, str]]:
    """Run the catcher; the lines that it prints, its port, and its page's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "twisted_smtpserver", "--port=0", "--inbox=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                break
        said = "\n".join(lines)
        port = re.search(r"port (\d+)", said)
        page = re.search(r"http://\S+", said)
        assert port is not None and page is not None, said
        yield lines, int(port[1]), page[0]
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
        lines += [line for line in rest.splitlines() if "message " in line]


def send(port: int) -> None:
    """Send the mails."""
    for sender, recipient, subject, text, html in MAILS:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
        mail.set_content(text)
        if html:
            mail.add_alternative(html, subtype="html")
        with smtplib.SMTP("127.0.0.1", port, "laptop.example", timeout=30) as client:
            client.send_message(mail)


def tidy(lines: list[str]) -> list[str]:
    """The lines as they are with the usual ports, short enough for a picture."""
    text = re.sub(r"(Read it at\s+http://127\.0\.0\.1:)\d+", r"\g<1>8025", "\n".join(lines))
    text = re.sub(r"(port )\d+", r"\g<1>2525", text)
    return re.sub(MESSAGE, r"\1  \2, \3: 250 OK", text, flags=re.MULTILINE).split("\n")


def terminal(lines: list[str]) -> str:
    """A terminal, as SVG."""
    shown = [f"$ {COMMAND}", *lines]
    width = max(map(len, shown)) * CHARACTER + 2 * SPACE
    height = (len(shown) + 1) * ROW + 2 * SPACE
    rows = "".join(
        f'<text x="{SPACE}" y="{SPACE + (number + 2) * ROW}"'
        f' class="{"said" if number else "typed"}" xml:space="preserve">{escape(line)}</text>'
        for number, line in enumerate(shown)
    )
    dots = "".join(
        f'<circle cx="{SPACE + 4 + 20 * n}" cy="18" r="6" fill="{color}"/>'
        for n, color in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' role="img" aria-label="{escape(COMMAND)}">'
        "<style>text{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}"
        ".typed{fill:#fff;font-weight:600}.said{fill:#c9d4ea}</style>"
        f'<rect width="100%" height="100%" rx="10" fill="#1b2333"/>{dots}{rows}</svg>\n'
    )


def photograph(page: str) -> None:
    """Take pictures of the inbox, light, dark and narrow."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    browser: Any = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        for name, width, height, scheme in (
            ("inbox-light", 1200, 560, "light"),
            ("inbox-dark", 1200, 560, "dark"),
            ("inbox-narrow", 390, 640, "light"),
        ):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(page)
            rows = WebDriverWait(browser, 20).until(
                lambda found: (
                    found.find_elements(By.PARTIAL_LINK_TEXT, "Welcome")
                    or found.find_elements(By.XPATH, "//*[contains(text(),'Welcome to the shop')]")
                )
            )
            if width > 600:
                rows[0].click()
                WebDriverWait(browser, 20).until(
                    lambda found: found.find_elements(By.TAG_NAME, "iframe")
                )
                browser.implicitly_wait(1)
            browser.save_screenshot(str(STATIC / f"{name}.png"))
    finally:
        browser.quit()


def main() -> None:
    """Make them all."""
    STATIC.mkdir(exist_ok=True)
    with catcher() as (lines, port, page):
        send(port)
        photograph(page)
    (STATIC / "terminal.svg").write_text(terminal(tidy(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
