"""A page that stays open while the gateway stalls, refuses it or loads other tables."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import opened
from support.daemon import Daemon, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, Route

ROOM = "ast-a1b2c3d4"
OLD = "what is shown here is old"


def url(daemon: Daemon) -> str:
    """Return the page's address."""
    return f"http://127.0.0.1:{daemon.admin_port}/"


def row(page: Page, name: str) -> Locator:
    """Return the row of a point."""
    return page.locator(".space .point", has_text=re.compile(rf"^{re.escape(name)}\b"))


def expect_alive(page: Page) -> None:
    """Wait until the page is connected and shows no warning."""
    expect(page.locator("#state")).to_contain_text("takes events")
    expect(page.locator("main.old")).to_have_count(0)


def test_a_gateway_that_stalls_is_not_taken_for_a_quiet_one(daemon: Daemon, browser: Browser) -> None:
    """Without messages, the page says that its values are old."""
    with opened(browser, url(daemon)) as watched:
        expect_alive(watched.page)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            expect(watched.page.locator("#banner")).to_contain_text(OLD)
            expect(watched.page.locator("main.old")).to_have_count(1)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        expect_alive(watched.page)


def test_an_open_point_does_not_stay_good_when_the_gateway_is_gone(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], browser: Browser, tmp_path: Path
) -> None:
    """Its dialog says that its value is old."""
    with run_daemon(tmp_path) as daemon, opened(browser, url(daemon)) as watched:
        page = watched.page
        assert daemon.post(telemetry("evt_open", ROOM, {"temperature": 21.5}))[0] == 200
        row(page, "L03-RM312/ZN-T").click()
        dialog = page.locator("#dialog")
        expect(dialog.locator(".pill")).to_have_text("good")
        daemon.kill()
        expect(dialog.locator(".pill")).to_have_text("old")
        expect(dialog.locator(".pill.good")).to_have_count(0)
        expect(dialog).to_contain_text(OLD)
        daemon.start()
        expect(dialog.locator(".pill")).to_have_text("good")
        expect(dialog).not_to_contain_text(OLD)


def test_a_page_too_many_says_so_and_goes_on_when_there_is_room(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], browser: Browser, tmp_path: Path
) -> None:
    """A refused page says so and tries again."""
    with run_daemon(tmp_path) as daemon, ExitStack() as others:
        while watch(daemon, others):
            pass
        with opened(browser, url(daemon)) as watched:
            expect(watched.page.locator("#banner")).to_contain_text("20 pages are open already")
            others.close()
            expect_alive(watched.page)


def watch(daemon: Daemon, until_left: ExitStack) -> bool:
    """Open a stream; return whether it was accepted."""
    connection = until_left.enter_context(
        socket.create_connection(("127.0.0.1", daemon.admin_port), timeout=60)
    )
    connection.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return b" 200 " in connection.recv(64)


def test_points_that_could_not_be_loaded_are_loaded_later(daemon: Daemon, browser: Browser) -> None:
    """The page shows the reason and tries again."""
    with opened(browser, "about:blank") as watched:
        page = watched.page
        refused: list[str] = []

        def refuse_once(route: Route) -> None:
            if refused:
                route.continue_()
            else:
                refused.append(route.request.url)
                route.abort()

        page.route("**/api/points", refuse_once)
        page.goto(url(daemon))
        expect(page.locator("#banner")).to_contain_text("The points can't be loaded")
        expect_alive(page)
        expect(row(page, "L03-RM312/ZN-T")).to_be_visible()


@pytest.mark.parametrize("wrong_by_s", [-7200, 7200])
def test_ages_are_of_the_gateways_clock(daemon: Daemon, browser: Browser, wrong_by_s: int) -> None:
    """A browser whose clock is two hours wrong shows the right ages."""
    old_ms = int(time.time() * 1000) - 1_800_000
    readings = {"evt_fresh": ("ast-a1b2c3d4", None), "evt_old": ("ast-b7c8d9e0", old_ms)}
    for event, (asset, time_ms) in readings.items():
        event_id = f"{event}{wrong_by_s}"
        assert daemon.post(telemetry(event_id, asset, {"temperature": 21}, time_ms=time_ms))[0] == 200
    with opened(browser, "about:blank") as watched:
        watched.page.clock.install(time=time.time() + wrong_by_s)
        watched.page.goto(url(daemon))
        expect(row(watched.page, "L03-RM312/ZN-T").locator(".age")).to_have_text(
            re.compile(r"^(\d+ s|1 min)$")
        )
        expect(row(watched.page, "L03-RM314/ZN-T").locator(".age")).to_have_text(re.compile(r"^3\d min$"))


@pytest.fixture
def changing(
    run_daemon: Callable[..., AbstractContextManager[Daemon]], tmp_path: Path
) -> Iterator[tuple[Daemon, Path]]:
    """Run the daemon on a table that the test changes."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(table("T", "U"))
    with run_daemon(tmp_path, tables) as daemon:
        yield daemon, tables / "a.yaml"


def table(*points: str) -> str:
    """Return a table of these points of one asset; each takes the reading of its own name."""
    lines = "".join(f"  - {{tag: A, point: {point}, asset: a, from: {point}}}\n" for point in points)
    return f"schema: gateway.points/1\nsite: hq\npoints:\n{lines}"


def test_an_open_point_stays_the_same_when_other_tables_come_into_force(
    changing: tuple[Daemon, Path], browser: Browser
) -> None:
    """Another point's value is never shown under its name."""
    daemon, file = changing
    assert daemon.post(telemetry("evt_1", "a", {"T": 21, "U": 77}))[0] == 200
    with opened(browser, url(daemon)) as watched:
        page = watched.page
        row(page, "A/U").click()
        dialog = page.locator("#dialog")
        expect(dialog).to_contain_text("77")
        file.write_text(table("U", "T", "V"))
        expect(page.locator(".filters")).to_contain_text("3 points")
        expect(dialog.locator("h2")).to_have_text("A/U")
        expect(dialog.locator("dd").first).to_have_text("77")
        file.write_text(table("T", "V"))
        expect(dialog).to_contain_text("The point tables have no such point any more.")
