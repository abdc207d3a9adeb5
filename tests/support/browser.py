"""A real Chromium, and the errors on its console."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

DESK, PHONE = (1280, 800), (390, 800)
_WITHIN_MS = 60_000  # for what takes some seconds at most on an idle machine

expect.set_options(timeout=_WITHIN_MS)


@dataclass
class Watched:
    """A page and its console errors."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def overflow(self) -> float:
        """Return by how many pixels the page is wider than its window."""
        return float(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def clipped(self) -> list[str]:
        """Return texts that are cut off, except by an intended ellipsis."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll("h1, h2, h3, button, a, dt, dd, th, .pill, .axis span")]
                .filter((node) => node.offsetParent !== null && node.scrollWidth > node.clientWidth + 1
                    && getComputedStyle(node).display !== "inline")
                .map((node) => node.textContent)"""
        )
        return found

    def squeezed(self) -> list[str]:
        """Return facts and cells of tables that have no room for a word."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll("dd, td:not(:empty)")]
                .filter((node) => node.offsetParent !== null && node.clientWidth < 80
                    && node.textContent.length > 8)
                .map((node) => node.textContent)"""
        )
        return found


def boxes(locator: Locator) -> list[dict[str, float]]:
    """Return where the elements are in the window.

    In one step, as the page may draw them again at any time: Playwright's own `bounding_box` finds an
    element first and measures it later, and has no answer for one that was replaced in between.
    """
    found: list[dict[str, float]] = locator.evaluate_all(
        "nodes => nodes.map((node) => node.getBoundingClientRect().toJSON())"
    )
    assert found, f"no element for {locator}"
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium without a screen."""
    path = shutil.which("chromium")
    assert path is not None, "chromium is missing: `make packages` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = DESK,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Watched]:
    """Open a page in a fresh profile; at the end it must have had no errors."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale="en-GB"
    )
    context.set_default_timeout(_WITHIN_MS)
    watched = Watched(context.new_page())

    def note(message: Any) -> None:
        if message.type in ("error", "warning"):
            watched.complaints.append(message.text)

    watched.page.on("console", note)
    watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    try:
        watched.page.goto(url)
        yield watched
    finally:
        context.close()
