"""What the dashboard and the metrics show of a BACnet device."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser import opened
from support.config_files import write
from support.daemon import telemetry
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser
    from support.daemon import Daemon

_TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: R-1, point: ZN-T, asset: ast-1, from: temperature, bacnet: {instance: 7}}
  - {tag: R-1, point: ZN-RH, asset: ast-1, from: humidity, bacnet: false}
"""


@pytest.fixture
def daemon(tmp_path: Path, run_daemon: Callable[..., AbstractContextManager[Daemon]]) -> Iterator[Daemon]:
    """Run the daemon with a BACnet device that has one object."""
    tables = tmp_path / "tables"
    tables.mkdir()
    write(tables, _TABLE)
    with run_daemon(tmp_path, tables, more_sinks=_sink()) as gateway:
        yield gateway


def _sink() -> str:
    return f"  bac: {{type: bacnet, listen: 127.0.0.2:{free_port()}, device: 3101}}\n"


def test_object_and_device_are_shown(daemon: Daemon, browser: Browser) -> None:
    """A point is found by its object, and shows what a client reads of it; the sink has its clients."""
    with opened(browser, f"http://127.0.0.1:{daemon.admin_port}/") as watched:
        page = watched.page
        page.fill("input[type=search]", "analog-input 7")
        shown = page.locator(".space .point")
        expect(shown).to_have_count(1)
        shown.click()
        dialog = page.locator("#dialog")
        expect(dialog).to_contain_text("bacanalog-input 7NaNin-alarm, fault, no-sensor")
        daemon.post(telemetry("evt_1", "ast-1", {"temperature": 21.5}))
        expect(dialog).to_contain_text("bacanalog-input 721.5no flags")
        daemon.post(telemetry("evt_2", "ast-1", {"temperature": "warm"}))
        expect(dialog).to_contain_text(
            "in-alarm, fault, unreliable-other: analog-input holds numbers, not the text"
        )
        page.keyboard.press("Escape")
        page.click('nav a[href="#sinks"]')
        card = page.locator("#view-sinks article", has_text="bacnet")
        expect(card).to_contain_text("0 requests, 0 ignored (not in allow), 0 subscriptions of 0 clients")
        assert watched.complaints == []
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/metrics", timeout=60) as answer:
        assert 'gateway_sink_bacnet_objects{sink="bac"} 1.0' in answer.read().decode()
