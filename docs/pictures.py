"""
Makes the front page's terminal anew, from the real program: ``python docs/pictures.py``.

It starts the catcher, sends it a few mails, and draws what is printed as SVG.
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

IMAGES = Path(__file__).parent / "images"

COMMAND = "python -m twisted_smtpserver"

#: What is sent: sender, recipient, subject.
MAILS = (
    ("news@garden.example", "ann@example.org", "What to sow in November"),
    ("shop@example.com", "joe@example.org", "Your order 4711 is on its way"),
    ("ci@example.com", "team@example.org", "Build 1042 is green"),
    ("shop@example.com", "ann@example.org", "Welcome to the shop"),
)

#: A message's line in the log: when, who to whom, how large.
MESSAGE = r"^(\d\S+) .* (from <.*> to <.*?>).*, (\S+ octets): 250.*"

#: The terminal: size of a character, its rows' distance, and the space around, in pixels.
CHARACTER, ROW, SPACE = 8.4, 20, 18


@contextmanager
def catcher() -> Iterator[tuple[list[str], int]]:
    """Run the catcher; the lines that it prints, and its port."""
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
        assert port is not None, said
        yield lines, int(port[1])
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
        lines += [line for line in rest.splitlines() if "message " in line]


def send(port: int) -> None:
    """Send the mails."""
    for sender, recipient, subject in MAILS:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
        mail.set_content("Hello\n")
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


def main() -> None:
    """Make it."""
    with catcher() as (lines, port):
        send(port)
    (IMAGES / "terminal.svg").write_text(terminal(tidy(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
