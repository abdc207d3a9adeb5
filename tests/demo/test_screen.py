"""The table of points in the demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.latest_values import DictLatestValues
from support.mqtt_parts import make_point, make_update

from gateway.demo.screen import Screen
from gateway.mapping.topics import TopicScheme
from gateway.model import Quality
from gateway.records import Alarm
from gateway.status import Status

if TYPE_CHECKING:
    from gateway.model import Update

NOW_MS = 1_795_507_200_000


def shown(capsys: pytest.CaptureFixture[str], *updates: Update, alarms: tuple[Alarm, ...] = ()) -> str:
    """Return what the screen prints for these updates and alarms."""
    latest = DictLatestValues()
    latest.take(updates)
    screen = Screen(
        points=tuple(update.point for update in updates) or (make_point(),),
        latest=latest,
        status=Status(name="demo", started_ms=NOW_MS, alarms=alarms),
        topics={"bms": TopicScheme(prefix="gw/v1")},
        mqtt_port=1883,
        how_to=[],
        dashboard_url="http://127.0.0.1:9680/",
        config=Path("/demo/gateway.yaml"),
        clock_ms=lambda: NOW_MS,
    )
    screen.show()
    return capsys.readouterr().out


@pytest.mark.parametrize("quality", Quality)
def test_every_quality_is_shown(capsys: pytest.CaptureFixture[str], quality: Quality) -> None:
    """Each quality is shown by name."""
    point = make_point()
    assert f" {quality.name.lower()} " in shown(capsys, make_update(point, 21.5, quality=quality))


def test_a_point_without_readings_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """Before its first reading a point is waiting."""
    assert " waiting " in shown(capsys)


def test_alarms_are_shown_while_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Current alarms are shown."""
    alarm = Alarm(name="webhook-silent", reason="no webhook for 5 min", since_ms=NOW_MS)
    assert "ALARM webhook-silent: no webhook for 5 min\n" in shown(capsys, alarms=(alarm,))
    assert "ALARM" not in shown(capsys)
