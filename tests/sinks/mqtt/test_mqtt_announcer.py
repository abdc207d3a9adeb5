"""What stands beside the values on a broker: any number of retained messages for each topic."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import make_point
from support.waiting import until

from gateway.mapping.topics import TopicScheme
from gateway.sinks.broker.connection import connect
from gateway.sinks.broker.dial import Dial, Will
from gateway.sinks.broker.message import Message
from gateway.sinks.mqtt.announcer import Announcer, Value
from gateway.sinks.mqtt.layout import Change, Layout, describe_by_meta
from gateway.sinks.mqtt.outlet import Companion
from gateway.sinks.mqtt.sink import MqttConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from gateway.model import Point
    from gateway.sinks.mqtt.layout import AnyOutlet


def with_card(outlet: AnyOutlet) -> Iterable[Companion]:
    """Describe an outlet by `$meta`, and on a topic that is elsewhere."""
    return (outlet.meta(), Companion(f"cards/{outlet.points[0].point}", b"card"))


def layout_of(*points: Point, has_cards: bool = True) -> Layout:
    """Lay out points for the sink `bms`."""
    describe = with_card if has_cards else describe_by_meta
    return Layout.of(points, sink="bms", topics=TopicScheme(prefix="gw/v1"), plain=False, describe=describe)


class Desk:
    """An announcer at work on a connection of its own, with the layout that it looks at."""

    def __init__(self, layout: Layout, retained: dict[str, bool]) -> None:
        self.layout = layout
        self.now_s = 0.0
        self.announcer = Announcer(sink="bms", retained=retained, clock_s=lambda: self.now_s)

    @asynccontextmanager
    async def open(self, broker: Mosquitto) -> AsyncIterator[Desk]:
        """Connect and announce everything."""
        config = MqttConfig(type="mqtt", url=broker.url)  # type: ignore[arg-type]  # parsed from text
        connection = await connect(Dial.to(config, client_id="desk", will=Will("desk", b"gone")))
        self.announcer.note_all(self.layout)
        run = self.announcer.run(
            connection.publish, layout=lambda: self.layout, value=lambda _: Value(is_there=True)
        )
        task = asyncio.create_task(run)
        try:
            yield self
        finally:
            task.cancel()
            await connection.close(Message("desk", b"", retain=True), timeout_s=2)

    def swap(self, layout: Layout) -> None:
        """Do as the sink does at a reload."""
        change = Change.between(self.layout, layout)
        self.layout = layout
        self.announcer.note(change.topics)


async def until_there(broker: Mosquitto, *expected: str) -> None:
    """Wait until exactly these topics are retained."""
    async with asyncio.timeout(10):
        found: set[str] = set()
        while found != set(expected):
            async with subscribe(broker.port) as late:
                found = {message.topic for message in (*late.seen, *late.meta) if message.payload}


ONE, OTHER = make_point("T/ONE"), make_point("T/OTHER")
ONES = ("gw/v1/hq/T/ONE/$meta", "cards/ONE")
OTHERS = ("gw/v1/hq/T/OTHER/$meta", "cards/OTHER")


async def test_companions_come_and_go_with_their_point(broker: Mosquitto) -> None:
    """Everything that describes a point is retained, and cleared when a reload takes the point away."""
    retained: dict[str, bool] = {}
    async with Desk(layout_of(ONE, OTHER), retained).open(broker) as desk:
        await until_there(broker, *ONES, *OTHERS)
        desk.swap(layout_of(ONE))
        await until_there(broker, *ONES)
    assert retained == dict.fromkeys((*ONES, *OTHERS), False)


async def test_companions_of_a_former_run_are_cleared(broker: Mosquitto) -> None:
    """A kind of description that is turned off is gone after the restart that turns it off; values stay."""
    retained: dict[str, bool] = {}
    async with Desk(layout_of(ONE, OTHER), retained).open(broker):
        await until_there(broker, *ONES, *OTHERS)
    async with Desk(layout_of(ONE, has_cards=False), retained).open(broker):
        await until_there(broker, "gw/v1/hq/T/ONE/$meta")
    assert retained == dict.fromkeys((*ONES, *OTHERS), False)


async def test_companions_are_there_again_on_a_broker_that_lost_them(tmp_path: Path) -> None:
    """Each connection announces everything, whatever is remembered of the broker."""
    retained: dict[str, bool] = {}
    with Mosquitto(tmp_path) as before:
        async with Desk(layout_of(ONE), retained).open(before):
            await until_there(before, *ONES)
    with Mosquitto(tmp_path) as after:
        async with Desk(layout_of(ONE), retained).open(after):
            await until_there(after, *ONES)


async def test_what_is_cleared_is_remembered_for_an_hour(broker: Mosquitto) -> None:
    """A broker may be set back by minutes; what is there, or there again, is never forgotten."""
    retained: dict[str, bool] = {}
    desk = Desk(layout_of(ONE, OTHER), retained)
    async with desk.open(broker):
        await until_there(broker, *ONES, *OTHERS)
        desk.swap(layout_of(ONE))
        await until_there(broker, *ONES)
        desk.now_s += 3599
        desk.swap(layout_of(OTHER))
        await until_there(broker, *OTHERS)
        assert set(retained) == {*ONES, *OTHERS}
        desk.swap(layout_of(ONE))
        await until_there(broker, *ONES)
        desk.now_s += 3600
        desk.swap(layout_of())
        await until_there(broker)
        await until(lambda: set(retained) == {*ONES})
