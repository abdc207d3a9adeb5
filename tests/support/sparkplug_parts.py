"""A Sparkplug sink with everything around it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.sinks.sparkplug.sink import MqttSparkplugConfig, MqttSparkplugSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.mqtt_parts import PointTable
from support.sparkplug_host import GROUP, NODE, listen
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.model import Point, Update
    from support.sparkplug_host import SparkplugHost


class SparkplugRig:
    """A sink named `scada` of the gateway `edge-1`, and its latest values."""

    def __init__(
        self,
        url: str,
        points: Sequence[Point],
        *,
        rebirth_pause_s: float = 5.0,
        latest: DictLatestValues | None = None,
        retained: dict[str, bool] | None = None,
        **settings: Any,
    ) -> None:
        self.retained = {} if retained is None else retained
        self.port = int(url.rpartition(":")[2])
        self.latest = latest or DictLatestValues()
        self.status = SinkStatus(type="mqtt_sparkplug")
        self.sink = MqttSparkplugSink(
            name="scada",
            config=MqttSparkplugConfig(
                type="mqtt_sparkplug",
                url=url,  # type: ignore[arg-type]  # parsed from text
                group=GROUP,
                **settings,
            ),
            gateway=NODE,
            points=PointTable(tuple(points)),
            latest=self.latest,
            status=self.status,
            retained=self.retained,
            rebirth_pause_s=rebirth_pause_s,
        )

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[SparkplugHost]:
        """Run the sink with a host that has received all births."""
        async with listen(self.port) as host, self.sink:
            await self.until("up")
            await host.catch_up()
            yield host

    async def deliver(self, *updates: Update) -> None:
        """Record what is newest, then write, as the delivery loop does."""
        self.latest.take(updates)
        await self.sink.write(updates)

    def swap(self, *points: Point, latest: DictLatestValues | None = None) -> None:
        """Change the point table, as a reload does."""
        self.latest = latest or self.latest
        self.sink.prepare(PointTable(points), self.latest)(())

    async def until(self, state: str, *, timeout_s: float = 60.0) -> None:
        """Wait for a state of the sink."""
        await until(lambda: self.status.state == state, within_s=timeout_s)
