"""An MQTT sink with everything around it, and short ways to make points and updates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.model import Mqtt, OnStale, Point, Quality, StalePolicy, Update
from gateway.sinks.mqtt.sink import MqttConfig, MqttSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.alarms import Alarms
    from gateway.model import Cov, Scalar

STATUS_TOPIC = "gw/v1/$gateway/edge-1/status"


def make_point(
    name: str = "L03-RM312/ZN-T",
    *,
    stale_after_ms: int | None = 90 * 60_000,
    cov: Cov | None = None,
    mqtt: Mqtt | None = Mqtt(),  # noqa: B008 - frozen
) -> Point:
    """Return a temperature point of the site `hq`."""
    tag, _, point = name.partition("/")
    return Point(
        site="hq",
        tag=tag,
        point=point,
        asset="ast-a1b2c3d4",
        source="temperature",
        unit_of_measure="degC",
        stale_after_ms=stale_after_ms,
        on_stale=OnStale(StalePolicy.HOLD),
        cov=cov,
        mqtt=mqtt,
    )


def make_update(
    point: Point, value: Scalar, *, time_ms: int | None = None, quality: Quality = Quality.GOOD, seq: int = 1
) -> Update:
    """Return a value of `point` from the event `evt_<seq>`; `time_ms` None: measured now."""
    return Update(
        point=point,
        value=value,
        safe_value=value,
        quality=quality,
        time_ms=now_ms() if time_ms is None else time_ms,
        seq=seq,
        event_id=f"evt_{seq}",
        raw=value,
    )


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass
class PointTable:
    """A point source."""

    points: tuple[Point, ...]


class MqttRig:
    """A sink named `bms` of the gateway `edge-1`, and its latest values."""

    def __init__(self, url: str, points: Sequence[Point], **settings: Any) -> None:
        retained: dict[str, bool] | None = settings.pop("retained", None)  # of a former run, not a setting
        alarms: Alarms | None = settings.pop("alarms", None)  # likewise no setting
        self.latest = DictLatestValues()
        self.status = SinkStatus(type="mqtt")
        self.table = PointTable(tuple(points))
        self.sink = MqttSink(
            name="bms",
            config=MqttConfig(type="mqtt", url=url, **settings),  # type: ignore[arg-type]  # parsed from text
            gateway="edge-1",
            points=self.table,
            latest=self.latest,
            status=self.status,
            retained=retained,
            alarms=alarms,
        )

    async def deliver(self, *updates: Update) -> None:
        """Record what is newest, then write, as the delivery loop does."""
        self.latest.take(updates)
        await self.sink.write(updates)

    def swap(self, *points: Point, news: Sequence[Update] = ()) -> None:
        """Change the point table, as a reload does."""
        self.sink.prepare(PointTable(points), self.latest)(news)

    async def until(self, state: str, *, timeout_s: float = 60.0) -> None:
        """Wait for a state of the sink."""
        await until(lambda: self.status.state == state, within_s=timeout_s)
