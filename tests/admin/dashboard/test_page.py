"""The dashboard in a real browser, on a desktop and on a phone."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import pytest
from playwright.sync_api import expect
from support.browser import DESK, PHONE, boxes, opened
from support.building import eventually
from support.daemon import Daemon, telemetry
from support.ports import free_port

from gateway.status import SourceStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser, Page

ROOM = "ast-a1b2c3d4"
POINT = "L03-RM312/ZN-T"
TOKEN = "made-up-admin-token-1"
PARTS = ("points", "sinks", "intake", "infodeck", "letters", "alarms")
MANY = 1250  # assets of eight points each


def url(daemon: Daemon) -> str:
    """Return the page's address."""
    return f"http://127.0.0.1:{daemon.admin_port}/"


def row(page: Page, name: str) -> Any:
    """Return the row of a point."""
    return page.locator(".space .point", has_text=re.compile(rf"^{re.escape(name)}\b"))


def go(page: Page, part: str) -> Any:
    """Open a tab; return its section."""
    page.click(f'nav a[href="#{part}"]')
    section = page.locator(f"#view-{part}")
    expect(section).to_be_visible()
    return section


def test_a_value_appears_as_it_is_received(daemon: Daemon, browser: Browser) -> None:
    """The point's row shows value, unit, quality, age, topic and register without a reload."""
    with opened(browser, url(daemon)) as watched:
        found = row(watched.page, POINT)
        expect(found).to_contain_text("gw/v1/hq-tower/L03-RM312/ZN-T")
        expect(found).to_contain_text("input 1000 float32")
        for number, value in enumerate((21.5, 22.75, 22.25)):
            assert daemon.post(telemetry(f"evt_page{number}", ROOM, {"temperature": value}))[0] == 200
            expect(found.locator(".value")).to_have_text(f"{value} °C")
        expect(found.locator(".quality")).to_have_text("good")
        expect(found.locator(".age")).to_have_text(re.compile(r"^\d+ s$"))
        expect(found.locator(".trend path")).to_have_count(1)
        assert watched.complaints == []


def test_points_are_searched_and_filtered(daemon: Daemon, browser: Browser) -> None:
    """By words of the name, the topic and the register's number; by site, quality and sink."""
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        shown = page.locator(".space .point")
        expect(row(page, POINT)).to_be_visible()
        page.fill("input[type=search]", "rm312 31001")
        expect(shown).to_have_count(1)
        expect(page.locator(".filters")).to_contain_text(re.compile(r"1 of \d+ points"))
        page.fill("input[type=search]", "no such point")
        expect(page.get_by_text("No point matches.")).to_be_visible()
        page.fill("input[type=search]", "")
        page.select_option('select[aria-label="every quality"]', "waiting")
        expect(row(page, "L03-RM314/ZN-T")).to_be_visible()
        page.select_option('select[aria-label="every quality"]', "forced")
        expect(shown).to_have_count(0)
        assert watched.complaints == []


def test_a_point_is_forced_by_keyboard_alone(daemon: Daemon, browser: Browser) -> None:
    """Down to the row, Enter, the token, a value, Enter; the row says so, and `Release` ends it."""
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        page.locator("#unlock").focus()
        page.keyboard.press("Enter")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#question")).to_contain_text("the admin token is missing or wrong")
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#unlock")).to_have_text("Lock")
        page.locator(".space .point").first.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        dialog = page.locator("#dialog")
        expect(dialog).to_contain_text(POINT)
        dialog.get_by_label("Force to").fill("30")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("Forced to 30 until")
        page.keyboard.press("Escape")
        expect(row(page, POINT).locator(".quality")).to_have_text("forced")
        row(page, POINT).click()
        dialog.get_by_role("button", name="Release").click()
        expect(dialog).to_contain_text("Released")
        eventually(lambda: daemon.status()["mapping"]["forced"], {})
        assert watched.complaints == [
            "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
        ]


def test_what_was_typed_outlives_the_question_for_the_token(daemon: Daemon, browser: Browser) -> None:
    """The point stays open with value and duration, and can then be forced."""
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        row(page, POINT).click()
        dialog = page.locator("#dialog")
        dialog.get_by_label("Force to").fill("31.5")
        dialog.locator("select").select_option("1 hour")
        dialog.get_by_role("button", name="Force", exact=True).click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#question")).to_be_hidden()
        expect(dialog.get_by_label("Force to")).to_have_value("31.5")
        expect(dialog.locator("select")).to_have_value("3600")
        dialog.get_by_role("button", name="Force", exact=True).click()
        expect(dialog).to_contain_text("Forced to 31.5 until")
        dialog.get_by_role("button", name="Release").click()
        expect(dialog).to_contain_text("Released")
        assert watched.complaints == []


def test_the_alarms_tab_lists_what_the_banner_says(
    browser: Browser, run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path: Path
) -> None:
    """An acknowledged alarm leaves the banner; a past one is in the history."""
    tables = tmp_path / "tables"
    tables.mkdir()
    good = "schema: gateway.points/1\nsite: hq\npoints:\n  - {tag: A, point: T, asset: a, from: t}\n"
    (tables / "a.yaml").write_text(good)
    with run_daemon(tmp_path, tables) as daemon, opened(browser, url(daemon)) as watched:
        page = watched.page
        alarms = go(page, "alarms")
        expect(alarms).to_contain_text("No alarm holds.")
        expect(alarms).to_contain_text("No past alarms.")
        expect(page.locator("#banner")).to_be_hidden()
        (tables / "a.yaml").write_text(good.replace("points:", "pionts:"))
        expect(page.locator("#banner")).to_contain_text("tables-refused: changed point tables are refused")
        expect(alarms).to_contain_text("pionts")
        expect(page.locator("#alarm-count")).to_have_text("1")
        alarms.get_by_role("button", name="Acknowledge").click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        alarms.get_by_role("button", name="Acknowledge").click()
        expect(alarms).to_contain_text("by dashboard from 127.0.0.1")
        expect(page.locator("#banner")).to_be_hidden()
        (tables / "a.yaml").write_text(good)
        expect(alarms).to_contain_text("No alarm holds.")
        expect(alarms.locator("tr", has_text="tables-refused")).to_contain_text("by dashboard from 127.0.0.1")
        assert watched.complaints == []


def test_a_sink_that_has_just_gone_is_in_banner_and_tab(
    browser: Browser, run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path: Path
) -> None:
    """Before it is an alarm, both show it without a way to acknowledge it."""
    with run_daemon(tmp_path) as daemon:
        settings = daemon.config.read_text()
        daemon.stop()
        daemon.config.write_text(settings.replace(f':{daemon.broker_port}"', f':{free_port()}"'))
        daemon.start()
        with opened(browser, url(daemon)) as watched:
            expect(watched.page.locator("#banner")).to_contain_text("bms: it is away")
            alarms = go(watched.page, "alarms")
            expect(alarms).to_contain_text("it is away")
            expect(alarms).not_to_contain_text("No alarm holds.")
            expect(alarms.get_by_role("button")).to_have_count(0)


def test_long_reasons_leave_room_for_the_page(daemon: Daemon, browser: Browser) -> None:
    """On a phone the banner shows the beginning of each reason; the tab has all."""
    status = daemon.status()
    status["sinks"]["bms"] |= {"lag": 1, "lag_s": 90.0}
    status["alarms"] = [
        {"name": f"sink-away:bms-{number}", "reason": "word " * 400, "since_ms": status["started_ms"]}
        | {"latched": False, "acknowledged_ms": None, "acknowledged_by": None, "cleared_ms": None}
        for number in range(6)
    ]
    messages = {"tables": 0, "status": {"now_ms": status["started_ms"], **status}}
    with opened(browser, "about:blank", size=PHONE) as watched:
        page = watched.page
        page.route("**/api/points", lambda route: route.fulfill(json={"generation": 0, "points": []}))
        page.add_init_script(
            "window.EventSource = class extends EventTarget { close() {} constructor() { super();"
            f" for (const [name, data] of Object.entries({json.dumps(messages)})) setTimeout(() =>"
            " this.dispatchEvent(new MessageEvent(name, {data: JSON.stringify(data)}))); } };"
        )
        page.goto(f"{url(daemon)}#sinks")
        banner = page.locator("#banner")
        expect(banner).to_contain_text("sink-away:bms-0: word word")
        expect(banner).to_contain_text("and 3 more in Alarms")
        expect(page.locator("#view-sinks")).to_contain_text("1 event, 1 min")
        assert boxes(banner)[0]["height"] < PHONE[1] / 2
        expect(go(page, "alarms")).to_contain_text("word " * 399)


def test_times_and_names_are_whole_beside_a_long_reason(daemon: Daemon, browser: Browser) -> None:
    """In the history, a long reason does not break dates and names."""
    over = {"name": "certificate-ends:intake.tls", "reason": "a-very-long-word " * 40, "since_ms": 1.7e12}
    over |= {"cleared_ms": 1.7e12, "acknowledged_ms": 1.7e12, "acknowledged_by": "dashboard from 127.0.0.1"}
    with opened(browser, "about:blank") as watched:
        page = watched.page
        page.route("**/api/alarms", lambda route: route.fulfill(json={"current": [], "past": [over]}))
        page.goto(f"{url(daemon)}#alarms")
        expect(page.locator("#view-alarms tbody tr")).to_be_visible()
        broken = page.evaluate(
            """() => [...document.querySelectorAll("#view-alarms td:not(:last-child)")].flatMap((cell) => {
                const text = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT).nextNode();
                return [...text.data.matchAll(/[^\\s-]+/g)].filter((word) => {
                    const range = document.createRange();
                    range.setStart(text, word.index);
                    range.setEnd(text, word.index + word[0].length);
                    return range.getClientRects().length > 1;
                }).map((word) => word[0]);
            })"""
        )
        assert broken == []
        assert watched.overflow() == 0


def test_a_plot_of_rates_begins_without_a_peak(daemon: Daemon, browser: Browser) -> None:
    """Two states milliseconds apart do not make a rate of hundreds a second."""
    status = daemon.status()
    before = status["intake"]["answers"].get("200", 0)
    states = []
    for after_ms, requests in ((0, 0), (5, 1), (1005, 1), (2005, 3)):
        status["intake"]["answers"] = {"200": before + requests}
        states.append(f"event: status\ndata: {json.dumps({'now_ms': after_ms, **status})}\n\n")
    with opened(browser, "about:blank") as watched:
        page = watched.page
        page.route(
            "**/api/stream",
            lambda route: route.fulfill(body="".join(states), content_type="text/event-stream"),
        )
        page.goto(f"{url(daemon)}#intake")
        expect(page.locator("#view-intake .axis").first).to_contain_text(re.compile(r"to [12]\.\d/s"))


def test_a_source_is_shown_in_place_of_an_intake(daemon: Daemon, browser: Browser) -> None:
    """Its state, what waits for it, and which gateways verified the events are on the tab of the intake."""
    source = SourceStatus(type="nats", stream="INFODECK", consumer="hq-tower", pending=1234)
    source.state = "away"
    source.record_error("no answer", at_ms=1)
    source.verified_by["intake-<b>1</b>"] = 12
    source.unusable["the body is not JSON"] = 3
    shown = Status(name="test-box", started_ms=0, source=source).snapshot()
    event = json.dumps({"now_ms": 0, **daemon.status(), "source": shown["source"]})
    with opened(browser, "about:blank") as watched:
        page = watched.page
        page.route(
            "**/api/stream",
            lambda route: route.fulfill(
                body=f"event: status\ndata: {event}\n\n", content_type="text/event-stream"
            ),
        )
        page.goto(f"{url(daemon)}#intake")
        view = page.locator("#view-intake")
        expect(view).to_contain_text("away: no answer")
        expect(view).to_contain_text("intake-<b>1</b>")
        expect(view).to_contain_text("the body is not JSON")
        expect(view).not_to_contain_text("Signing secrets")


def test_an_event_is_followed_on_its_way(daemon: Daemon, browser: Browser) -> None:
    """It is shown as stored, mapped, and written by each sink; unmapped ones say so."""
    assert daemon.post(telemetry("evt_followed", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(telemetry("evt_unknown", "ast-unknown", {"temperature": 1}))[0] == 200
    assert daemon.post(telemetry("evt_unreadable", "ast-unknown", {}))[0] == 200
    assert daemon.post(b"{}", "t=1")[0] == 401
    with opened(browser, url(daemon)) as watched:
        intake = go(watched.page, "intake")
        followed = intake.locator("tr", has_text="evt_followed")
        for step in ("on disk", "mapped", "bms", "regs"):
            expect(followed.locator(".pill.good", has_text=step)).to_have_count(1)
        expect(intake.locator("tr", has_text="evt_unknown")).to_contain_text("in no table")
        unreadable = intake.locator("tr", has_text="evt_unreadable")
        expect(unreadable.locator(".pill.bad")).to_have_text("unreadable")
        expect(unreadable).not_to_contain_text("mapped")
        expect(intake).to_contain_text("401, signature")
        expect(intake).to_contain_text("malformed")
        assert watched.complaints == []


def test_dead_letters_are_read_and_forgotten(daemon: Daemon, browser: Browser) -> None:
    """Dropping needs the token, which leaves the keyboard where it was, and a confirmation."""
    assert daemon.post(telemetry("evt_odd", ROOM, {}))[0] == 200
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        letters = go(page, "letters")
        expect(letters.locator("tr", has_text="evt_odd")).to_contain_text("mapping")
        letters.locator("tr", has_text="evt_odd").get_by_role("checkbox").check()
        letters.get_by_role("button", name="Forget").click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(letters.get_by_role("button", name="Forget")).to_be_focused()
        page.keyboard.press("Enter")
        question = page.locator("#question")
        expect(question).to_contain_text("Forget 1 dead letter?")
        question.get_by_role("button", name="Cancel").click()
        expect(letters.locator("tr", has_text="evt_odd")).to_have_count(1)
        letters.get_by_role("button", name="Forget").click()
        question.get_by_role("button", name="Forget for good").click()
        expect(letters).to_contain_text("1 forgotten.")
        expect(letters.locator("tr", has_text="evt_odd")).to_have_count(0)
        assert watched.complaints == []


def test_foreign_texts_are_shown_as_text(
    browser: Browser, run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path: Path
) -> None:
    """Markup in descriptions and ids is shown, never run."""
    tables = tmp_path / "tables"
    tables.mkdir()
    markup = "<img src=x onerror=alert(1)>"
    (tables / "a.yaml").write_text(
        f"schema: gateway.points/1\nsite: hq\npoints:\n"
        f'  - {{tag: A, point: T, asset: a, from: t, description: "{markup}"}}\n'
    )
    with run_daemon(tmp_path, tables) as daemon, opened(browser, url(daemon)) as watched:
        assert daemon.post(telemetry(markup, "a", {"t": markup}))[0] == 200
        assert daemon.post(telemetry("evt_2", markup, {"t": 1}))[0] == 200
        expect(row(watched.page, "A/T")).to_contain_text(markup)
        expect(go(watched.page, "intake")).to_contain_text(markup)
        expect(watched.page.locator("img[src=x]")).to_have_count(0)
        assert watched.complaints == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345678.91, "12345678.91"),
        (9007199254740993, "9007199254740993"),
        (18446744073709551615, "18446744073709551615"),
        (-0.05, "-0.05"),
        (True, "true"),
        ("one\ntwo", "one two"),
        (None, "\N{EN DASH}"),
    ],
)
def test_a_value_is_shown_with_all_its_digits(
    plain: Daemon, browser: Browser, value: object, text: str
) -> None:
    """Counters and 64-bit numbers are not rounded."""
    with opened(browser, url(plain)) as watched:
        assert plain.post(telemetry(f"evt_{text}", "a", {"t": value}))[0] == 200
        expect(row(watched.page, "A/T").locator(".value")).to_have_text(text)
        assert watched.complaints == []


@pytest.fixture(scope="module")
def plain(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Run the daemon with one point that accepts any reading."""
    folder = tmp_path_factory.mktemp("plain")
    tables = folder / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(
        "schema: gateway.points/1\nsite: hq\npoints:\n  - {tag: A, point: T, asset: a, from: t}\n"
    )
    with run_daemon(folder, tables) as daemon:
        yield daemon


def test_a_gateway_that_is_gone_is_not_taken_for_a_quiet_one(
    browser: Browser, run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path: Path
) -> None:
    """The page says that its values are old, and continues when the gateway is back."""
    with run_daemon(tmp_path) as daemon, opened(browser, url(daemon)) as watched:
        page = watched.page
        expect(page.locator("#state")).to_contain_text("takes events")
        daemon.stop()
        expect(page.locator("#banner")).to_contain_text("what is shown here is old")
        daemon.start()
        expect(page.locator("#state")).to_contain_text("takes events")
        assert daemon.post(telemetry("evt_back", ROOM, {"temperature": 19.25}))[0] == 200
        expect(row(page, POINT).locator(".value")).to_have_text("19.25 °C")


@pytest.fixture(scope="module")
def large(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """Run the daemon with 10,000 points."""
    folder = tmp_path_factory.mktemp("large")
    tables = folder / "tables"
    tables.mkdir()
    points = "".join(f"      P{number}: {{from: k{number}, unit: degC}}\n" for number in range(8))
    assets = "".join(f"  - {{id: ast-{n}, tag: T{n:04}, use: room}}\n" for n in range(MANY))
    (tables / "many.yaml").write_text(
        f"schema: gateway.points/1\nsite: hq\ntemplates:\n  room:\n    points:\n{points}assets:\n{assets}"
    )
    with run_daemon(folder, tables) as daemon:
        for number in range(0, MANY, 10):
            readings = {f"k{each}": number + each for each in range(8)}
            assert daemon.post(telemetry(f"evt_{number}", f"ast-{number}", readings))[0] == 200
        yield daemon


def test_ten_thousand_points_are_a_short_list(large: Daemon, browser: Browser) -> None:
    """Only visible rows are in the page; the last point is found by key and by search."""
    with opened(browser, url(large)) as watched:
        page = watched.page
        expect(page.locator(".filters")).to_contain_text("10,000 points")
        page.locator(".space .point").first.focus()
        page.keyboard.press("End")
        expect(row(page, "T1249/P7")).to_be_focused()
        assert page.locator(".space .point").count() < 60
        page.fill("input[type=search]", "t0640/p3")
        expect(row(page, "T0640/P3").locator(".value")).to_have_text("643 °C")
        assert watched.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_cut_off_anywhere(
    daemon: Daemon, browser: Browser, size: tuple[int, int], scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    """Each tab fits the window's width, and every line has a plot."""
    assert daemon.post(telemetry("evt_fit", ROOM, {"temperature": 21.5}))[0] == 200
    assert daemon.post(telemetry("evt_fit_and_odd", ROOM, {}))[0] == 200
    with opened(browser, url(daemon), size=size, scheme=scheme) as watched:
        page = watched.page
        expect(row(page, POINT).locator(".value")).to_contain_text("°C")
        for part in PARTS:
            section = go(page, part)
            expect(section).not_to_be_empty()
            if part in ("sinks", "intake"):
                expect(section.locator("svg.plot").first).to_be_visible()
            page.screenshot(path=tmp_path / f"{part}.png")
            assert (part, watched.overflow(), watched.clipped(), watched.squeezed()) == (part, 0, [], [])
        go(page, "points")
        row(page, POINT).click()
        expect(page.locator("#dialog")).to_contain_text("Measured")
        assert (watched.overflow(), watched.clipped()) == (0, [])
        assert watched.complaints == []


def test_a_click_is_not_lost_where_a_value_comes_meanwhile(daemon: Daemon, browser: Browser) -> None:
    """A redraw between press and release does not lose the click on a row, or on a link to an event."""
    assert daemon.post(telemetry("evt_pressed_1", ROOM, {"temperature": 21.25}))[0] == 200
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        value = row(page, POINT).locator(".value")
        expect(value).to_contain_text("21.25")
        unit = boxes(value.locator("small"))[0]
        page.mouse.move(unit["x"] + 2, unit["y"] + 2)
        page.mouse.down()
        assert daemon.post(telemetry("evt_pressed_2", ROOM, {"temperature": 21.75}))[0] == 200
        expect(value).to_contain_text("21.75")
        page.mouse.up()
        dialog = page.locator("#dialog")
        expect(dialog).to_contain_text("Measured")
        dialog.get_by_role("link", name="evt_pressed_2").first.hover()
        page.mouse.down()
        assert daemon.post(telemetry("evt_pressed_3", ROOM, {"temperature": 22.25}))[0] == 200
        expect(value).to_contain_text("22.25")
        page.mouse.up()
        expect(dialog).to_contain_text("Body as received")
