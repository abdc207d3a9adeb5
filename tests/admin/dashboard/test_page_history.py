"""The history of a point, links, sorting and files on the dashboard, in a real browser."""

from __future__ import annotations

import csv
import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import boxes, opened
from support.building import eventually
from support.daemon import Daemon, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Browser, Download, Page

HOUR_MS = 3_600_000
MARKUP = "<img src=x onerror=alert(1)>"
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {stale_after: 2h, modbus: {to: regs, table: input}}
points:
  - tag: R
    point: T2
    asset: r
    from: t
    unit: degC
    range: [0, 50]
    modbus: {register: 0, type: int16, scale: 10}
  - {tag: R, point: T10, asset: r, from: u, unit: ug/m3}
  - {tag: R, point: TEXT, asset: r, from: text}
  - {tag: "=R", point: T1, asset: s, from: t, unit: percent}
"""


@pytest.fixture(scope="module")
def room(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Run the daemon with a day of readings: one an hour, five missing, then one that is bad."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "tables").mkdir()
    (folder / "tables" / "a.yaml").write_text(TABLE)
    began_ms = time.time_ns() // 1_000_000 - 24 * HOUR_MS
    with run_daemon(folder, folder / "tables") as daemon:
        for hour in (*range(12), *range(17, 24)):
            readings = {"t": 21 + hour / 10, "u": 5, "text": MARKUP}
            body = telemetry(f"evt_{hour}", "r", readings, time_ms=began_ms + hour * HOUR_MS)
            assert daemon.post(body)[0] == 200
        assert daemon.post(telemetry(f"evt_{MARKUP}", "r", {"t": 60}))[0] == 200
        assert daemon.post(telemetry("evt_s", "s", {"t": 7}))[0] == 200
        yield daemon


def url(daemon: Daemon, address: str = "") -> str:
    """Return the page's address."""
    return f"http://127.0.0.1:{daemon.admin_port}/{address}"


def names(page: Page) -> list[str]:
    """Return the names of the visible points in their order."""
    found: list[str] = page.locator(".space .point").evaluate_all(
        """(rows) => rows.sort((one, other) => one.dataset.place - other.dataset.place)
            .map((row) => row.querySelector(".name").innerText.trim())"""
    )
    return found


def rows_of(download: Download) -> list[list[str]]:
    """Return the cells of a saved file."""
    with download.path().open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_the_history_shows_gaps_and_leads_to_events(room: Daemon, browser: Browser) -> None:
    """Stale and bad stretches have no line; a reading is found by key, its event opens, Escape goes back."""
    with opened(browser, url(room, "#points?point=R/T2")) as watched:
        page, dialog = watched.page, watched.page.locator("#dialog")
        expect(dialog).to_contain_text("20 readings")
        expect(dialog).to_contain_text("60 is outside its range, 0 to 50")
        expect(dialog.get_by_role("row").last).to_contain_text("8000 = no value")
        picture = dialog.locator("svg.history")
        expect(picture.locator("path")).to_have_attribute("d", re.compile("^M[^M]+M[^M]+$"))
        expect(picture.locator("rect.stale")).to_have_count(1)
        expect(picture.locator("rect.bad")).to_have_count(1)
        assert len(picture.locator("text").all_inner_texts()) > 4
        page.set_viewport_size({"width": 390, "height": 800})  # a day between texts, also after two days
        expect(picture.get_by_text(re.compile(r"^\d+ \w+$"))).to_have_count(2)
        picture.focus()
        page.keyboard.press("Home")
        expect(dialog).to_contain_text("21 °C good evt_0")
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        expect(dialog).to_contain_text("23.3 °C good evt_23")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text('"assetId": "r"')
        expect(dialog).to_contain_text("modbus regs  unit 1  input 0  30001  int16 scale 10  00E9 = 233")
        page.keyboard.press("Escape")
        expect(dialog.locator("h2")).to_have_text("R/T2")
        dialog.get_by_text(f"evt_{MARKUP}").click()
        expect(dialog).to_contain_text("Body as received")
        expect(page.locator("img[src=x]")).to_have_count(0)
        assert watched.complaints == []


def test_a_part_of_the_history_is_zoomed(room: Daemon, browser: Browser) -> None:
    """By dragging, back by a button, and on in time as readings come."""
    with opened(browser, url(room, "#points?point=R/T10")) as watched:
        page, dialog = watched.page, watched.page.locator("#dialog")
        expect(dialog).to_contain_text("19 readings")
        plot = dialog.locator(".plot-area")
        width = boxes(plot)[0]["width"]
        plot.drag_to(
            plot,
            source_position={"x": width * 0.55, "y": 50},
            target_position={"x": width * 0.75, "y": 60},
            steps=4,
        )
        said = dialog.get_by_role("status").first
        expect(said).to_have_text(re.compile(r"^([7-9]|1[0-2]) readings"))
        dialog.get_by_role("button", name="Show 24 h").click()
        expect(said).to_have_text(re.compile(r"^1[89] readings"))
        assert room.post(telemetry("evt_more", "r", {"u": 6}))[0] == 200
        expect(said).to_have_text(re.compile(r"^(19|20) readings"))
        page.goto(url(room, "#points?point=R/TEXT"))
        expect(dialog.locator("tbody tr", has_text="evt_23")).to_contain_text(MARKUP)
        assert watched.complaints == []


def test_an_address_is_a_link_and_the_back_button_works(room: Daemon, browser: Browser) -> None:
    """Filters, order and the open point are in the address; each can be undone."""
    with opened(browser, url(room, "#points?search=r/t&order=-value")) as watched:
        page, dialog = watched.page, watched.page.locator("#dialog")
        expect(page.locator(".filters")).to_contain_text("4 points")
        eventually(lambda: names(page), ["R/T2", "=R/T1", "R/T10", "R/TEXT"])
        page.get_by_role("button", name="Point", exact=True).click()
        expect(page).to_have_url(re.compile("order=name"))
        eventually(lambda: names(page), ["=R/T1", "R/T2", "R/T10", "R/TEXT"])
        expect(page.get_by_role("columnheader", name="Point")).to_have_attribute("aria-sort", "ascending")
        page.locator(".space .point", has_text="R/T10").click()
        expect(dialog).to_contain_text("R/T10")
        expect(page).to_have_url(re.compile("point="))
        link = page.url
        page.go_back()
        expect(dialog).to_be_hidden()
        page.go_back()
        expect(page.locator("select.order")).to_have_value("-value")
        page.click('nav a[href="#sinks"]')
        page.click("nav a >> text=Points")
        expect(page.locator("input[type=search]")).to_have_value("r/t")
        page.goto("about:blank")
        page.goto(link)
        expect(dialog).to_contain_text("R/T10")
        page.keyboard.press("Escape")
        expect(page.locator("select.order")).to_have_value("name")
        expect(page).not_to_have_url(re.compile("point="))
        assert watched.complaints == []


def test_lists_and_histories_are_saved_for_spreadsheets(room: Daemon, browser: Browser) -> None:
    """The list as filtered, a history with all readings; no cell is a formula, units are as in the tables."""
    with opened(browser, url(room, "#points?search=t1")) as watched:
        page, dialog = watched.page, watched.page.locator("#dialog")
        expect(page.locator(".filters")).to_contain_text("2 of 4 points")
        expect(page.locator(".space .point", has_text="=R/T1")).to_contain_text("7 %")
        with page.expect_download() as saved:
            page.locator(".filters").get_by_role("button", name="CSV").click()
        titles, *rows = rows_of(saved.value)
        points = {row[0]: dict(zip(titles, row, strict=True)) for row in rows}
        assert points.keys() == {"R/T10", "'=R/T1"}
        assert {key: points["'=R/T1"][key] for key in ("value", "unit", "quality", "event", "asset")} == {
            "value": "7",
            "unit": "percent",
            "quality": "good",
            "event": "evt_s",
            "asset": "s",
        }
        page.goto(url(room, "#points?point=R/T2"))
        expect(dialog).to_contain_text("20 readings")
        with page.expect_download() as saved:
            dialog.get_by_role("button", name="as CSV").click()
        titles, *rows = rows_of(saved.value)
        assert saved.value.suggested_filename == "R_T2.csv"
        assert titles == ["time", "value", "unit", "quality", "event"]
        assert [row[3] for row in rows].count("good") == 19
        assert rows[0][1:] == ["21", "degC", "good", "evt_0"]
        assert rows[-1][1:] == ["60", "degC", "bad", f"evt_{MARKUP}"]
        assert watched.complaints == []
