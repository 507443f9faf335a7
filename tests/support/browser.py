"""A real browser: Debian's chromium, by selenium."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.liveserver import PATIENCE

T = TypeVar("T")

#: A new, empty browser that asks nobody for anything by itself.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--hide-scrollbars", "--force-color-profile=srgb"),
)


class Browser:
    """
    A browser with one window.

    :param chromium: its program.
    :param chromedriver: likewise.
    :ivar driver: selenium's.
    """

    def __init__(self, chromium: str, chromedriver: str) -> None:
        self._profile = tempfile.mkdtemp()
        options = Options()
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(chromedriver))

    def close(self) -> None:
        """End it."""
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Give the page exactly this size."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``: what the system is said to prefer."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.command("Emulation.setEmulatedMedia", features=[feature])

    def command(self, name: str, **arguments: Any) -> Any:
        """One of the DevTools' commands."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, url: str) -> None:
        """Go to a page."""
        self.driver.get(url)

    def all(self, selector: str) -> list[Any]:
        """The elements that a selector of CSS finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        """The first of them, when it is there and can be seen."""
        return self.until(
            lambda: next((each for each in self.all(selector) if each.is_displayed()), None),
            f"nothing visible is {selector!r}",
        )

    def texts(self, selector: str) -> list[str]:
        """What they say, from top to bottom."""
        script = (
            "return [...document.querySelectorAll(arguments[0])]"
            ".map(e => [e.getBoundingClientRect().top, e.textContent])"
        )
        return [text for _, text in sorted(self.driver.execute_script(script, selector))]

    def until(self, condition: Callable[[], T | None], problem: str = "") -> T:
        """Wait until something is there; it is a bound, not a pause."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = condition()
            except WebDriverException:  # the page was painted anew in between
                found = None
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{problem}; the browser says {self.log()}")
            time.sleep(0.02)

    def log(self) -> list[str]:
        """What is in the browser's console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
