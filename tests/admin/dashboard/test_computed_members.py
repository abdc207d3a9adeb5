"""Computed points on the dashboard: how they are computed, their members, and which of these are not used."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser import opened
from support.building import eventually
from support.computed_table import COMPUTED
from support.daemon import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Browser
    from support.daemon import Daemon

MEAN = "FLOOR-3/ZN-T-AVG"


@pytest.fixture(scope="module")
def computing(
    tmp_path_factory: pytest.TempPathFactory, run_daemon: Callable[..., AbstractContextManager[Daemon]]
) -> Iterator[Daemon]:
    """Run the daemon with computed points: of three rooms, one has a value and one is out of range."""
    folder = tmp_path_factory.mktemp("computed")
    (folder / "tables").mkdir()
    (folder / "tables" / "hq.yaml").write_text(COMPUTED, encoding="utf-8")
    with run_daemon(folder, folder / "tables") as daemon:
        for asset, value in (("ast-1", 20), ("ast-2", 99)):
            assert daemon.post(telemetry(f"evt_{asset}", asset, {"temperature": value}))[0] == 200
        eventually(lambda: ask(daemon, "points/L03-RM2/ZN-T")["quality"], "bad")
        yield daemon


def ask(daemon: Daemon, path: str) -> Any:
    """Return the answer to a request."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/api/{path}", timeout=60) as answer:
        return json.load(answer)


def test_a_point_has_its_members(computing: Daemon) -> None:
    """Each member has its value, and the reason if it is not used; those come first."""
    described = next(point for point in ask(computing, "points")["points"] if point["name"] == MEAN)
    assert (described["from"], described["asset"]) == ("$mean of L03-*/ZN-T, at least 50%", None)
    found = ask(computing, f"points/{MEAN}")
    assert (found["value"], found["quality"]) == (None, "stale")
    assert (found["members_used"], found["members_needed"], found["members_in_all"]) == (1, 2, 3)
    assert [tuple(member.values()) for member in found["members"]] == [
        ("L03-RM2/ZN-T", "degC", 99, "bad", "99 is outside its range, -20 to 60"),
        ("L03-RM3/ZN-T", "degC", None, "waiting", "no reading yet"),
        ("L03-RM1/ZN-T", "degC", 20, "good", None),
    ]
    assert "members" not in ask(computing, "points/L03-RM1/ZN-T")
    bad = ask(computing, "points/L03-RM1/DEWPT")
    assert (bad["quality"], bad["bad_reason"]) == ("bad", "it cannot be computed from what its members show")


def test_the_page_shows_members_as_they_change(computing: Daemon, browser: Browser) -> None:
    """The point's dialog lists its members, and a value that comes makes the point good."""
    with opened(browser, f"http://127.0.0.1:{computing.admin_port}/#points?point={MEAN}") as watched:
        dialog = watched.page.locator("#dialog")
        expect(dialog).to_contain_text("mean of L03-*/ZN-T, at least 50%")
        expect(dialog).to_contain_text("1 of 3 points used, 2 needed")
        expect(dialog).to_contain_text("too few of the points that it is computed from have a value")
        members = dialog.locator("table").first.locator("tbody tr")
        expect(members.first).to_contain_text("not used: 99 is outside its range, -20 to 60")
        assert computing.post(telemetry("evt_later", "ast-3", {"temperature": 21}))[0] == 200
        expect(dialog).to_contain_text("2 of 3 points used, 2 needed")
        expect(dialog).to_contain_text("68.9 °F")
        members.filter(has_text="L03-RM3").get_by_role("link").click()
        expect(dialog.locator("#dialog-title")).to_have_text("L03-RM3/ZN-T")
        assert watched.complaints == []
