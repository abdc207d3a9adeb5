"""The dashboard is accessible: axe-core reports nothing, and a keyboard reaches everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.browser import DESK, PHONE, boxes, opened
from support.daemon import Daemon, telemetry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOM = "ast-a1b2c3d4"
TOKEN = "made-up-admin-token-1"
PARTS = ("points", "sinks", "intake", "infodeck", "letters", "alarms")


def url(daemon: Daemon) -> str:
    """Return the page's address."""
    return f"http://127.0.0.1:{daemon.admin_port}/"


def violations(page: Page) -> str:
    """Return axe-core's report, "" if it is empty."""
    found = Axe().run(page)
    return "" if found.violations_count == 0 else found.generate_report()


def contrast(page: Page, selector: str, colour: str, *, against: str = "background-color") -> float:
    """Return the contrast of two colours of an element, by the formula of WCAG."""
    luminances = page.evaluate(
        """([selector, names]) => names.map((name) => {
            const isHint = name === "::placeholder";
            const style = getComputedStyle(document.querySelector(selector), isHint ? name : null);
            const text = style.getPropertyValue(isHint ? "color" : name);
            const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                .map((part) => (part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4));
            return .2126 * parts[0] + .7152 * parts[1] + .0722 * parts[2];
        })""",
        [selector, [colour, against]],
    )
    low, high = sorted(luminances)
    return float((high + 0.05) / (low + 0.05))


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_reports_nothing_anywhere(
    daemon: Daemon, browser: Browser, scheme: Literal["light", "dark"], size: tuple[int, int]
) -> None:
    """On every tab and in each dialog, with dead letters and events."""
    assert daemon.post(telemetry(f"evt_axe_{scheme}_{size[0]}", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(telemetry(f"evt_odd_{scheme}_{size[0]}", ROOM, {}))[0] == 200
    with opened(browser, url(daemon), size=size, scheme=scheme) as watched:
        page = watched.page
        expect(page.locator(".space .point").first).to_be_visible()
        for part in PARTS:
            page.click(f'nav a[href="#{part}"]')
            expect(page.locator(f"#view-{part}")).not_to_be_empty()
            if part in ("intake", "letters"):
                expect(page.locator(f"#view-{part} table")).to_be_visible()
            assert (part, violations(page)) == (part, "")
        page.click('nav a[href="#points"]')
        page.locator(".space .point").first.click()
        expect(page.get_by_role("dialog")).to_contain_text("Stale after")
        assert violations(page) == ""
        page.keyboard.press("Escape")
        page.click("#unlock")
        expect(page.locator("#token")).to_be_visible()
        assert violations(page) == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fields_and_their_hints_are_seen(
    daemon: Daemon, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    """Borders of fields have a contrast of 3:1, hints one of 4.5:1."""
    with opened(browser, url(daemon), scheme=scheme) as watched:
        page = watched.page
        expect(page.locator(".filters input")).to_be_visible()
        for field in (".filters input", ".filters select", "#unlock"):
            assert contrast(page, field, "border-top-color") >= 3, field
        assert contrast(page, ".filters input", "::placeholder") >= 4.5


@pytest.mark.parametrize("part", ["intake", "infodeck", "sinks"])
def test_a_long_page_is_scrolled_by_keyboard(daemon: Daemon, browser: Browser, part: str) -> None:
    """The page itself gets the focus after the tabs."""
    with opened(browser, f"{url(daemon)}#{part}", size=(900, 300)) as watched:
        page = watched.page
        expect(page.locator(f"#view-{part} .card").first).to_be_visible()
        page.locator('nav a[href="#alarms"]').focus()
        page.keyboard.press("Tab")
        page.keyboard.press("End")
        expect(page.locator("#content")).not_to_have_js_property("scrollTop", 0)


def test_the_skip_link_stays_on_the_tab(daemon: Daemon, browser: Browser) -> None:
    """It leads to the content of the open tab."""
    with opened(browser, f"{url(daemon)}#intake") as watched:
        page = watched.page
        expect(page.locator("#view-intake")).to_be_visible()
        page.locator(".skip").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        expect(page.locator("#view-intake")).to_be_visible()
        expect(page.locator("#view-points")).to_be_hidden()


def test_dead_letters_fit_a_phone(daemon: Daemon, browser: Browser) -> None:
    """Every cell is inside the window, with its title."""
    assert daemon.post(telemetry("evt_narrow", ROOM, {}))[0] == 200
    with opened(browser, f"{url(daemon)}#letters", size=PHONE) as watched:
        letter = watched.page.locator("#view-letters tr", has_text="evt_narrow")
        expect(letter).to_be_visible()
        for cell in boxes(letter.locator("td")):
            assert cell["left"] >= 0
            assert cell["right"] <= PHONE[0]
        assert watched.overflow() == 0
        reason = letter.locator("td", has_text=re.compile("reading"))
        titles = reason.evaluate_all(
            "nodes => nodes.map((node) => getComputedStyle(node, '::before').content)"
        )
        assert titles == ['"Reason"']
