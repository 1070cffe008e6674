"""A real browser: Debian's Chromium, without a screen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Self

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.npm import fetch
from tests.support.optional import missing
from tests.support.waiting import TIMEOUT, wait_until

INSTALL = "needs Chromium and its driver, for example: apt-get install chromium chromium-driver"
AXE = Path(__file__).parent / "axe"
# As root Chromium has no sandbox; containers have a small /dev/shm; the rest keeps it from the network.
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
)  # fmt: skip


class Browser:
    """One browser with one window. Used by one thread."""

    def __init__(self) -> None:
        driver = shutil.which("chromedriver")
        if driver is None or shutil.which("chromium") is None:
            missing(INSTALL)
        options = ChromeOptions()
        for each in _OPTIONS:
            options.add_argument(each)
        options.binary_location = str(shutil.which("chromium"))
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options, ChromeService(driver))
        self.driver.set_script_timeout(TIMEOUT)
        self.driver.set_page_load_timeout(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def run(self, script: str, *arguments: object) -> Any:
        """The result of a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements of a CSS selector, also of hidden ones."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector
        )
        return found

    def wait_text(self, selector: str, part: str, deadline: float = 20.0) -> str:
        """Return once an element has a text with this part."""
        return (
            wait_until(
                lambda: next((text for text in self.texts(selector) if part in text), None),
                deadline,
                f"{part!r} in {selector}: {self.texts(selector)}",
                0.05,
            )
            or ""
        )

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Give the page this size in CSS pixels, and a colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def problems(self) -> list[str]:
        """Errors and warnings of the console since the last call, such as violations of the security policy."""
        logged = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [each["message"] for each in logged if each["level"] in {"SEVERE", "WARNING"}]

    def axe(self) -> list[str]:
        """What the accessibility checker finds in the page: rule, elements and advice."""
        if not self.run("return 'axe' in window"):
            self.run((fetch(AXE) / "axe-core" / "axe.min.js").read_text())
        found: list[Any] = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(r => done(r.violations))"
        )
        return [f"{each['id']}: {[node['html'] for node in each['nodes']]}: {each['help']}" for each in found]
