"""Messages of whole assets after a reload, or with another layout."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from support.latest_values import DictLatestValues
from support.mosquitto import Mosquitto, subscribe
from support.mqtt_parts import MqttRig, PointTable, make_update
from support.mqtt_rooms import ROOM, on, room, until_retained, values

from gateway.records import KnownAsset


async def test_a_removed_point_leaves_the_message_of_its_asset(broker: Mosquitto) -> None:
    """The reload publishes the state without the point, before any new reading."""
    kept, gone = room("KEPT", "GONE")
    rig = MqttRig(broker.url, [kept, gone], layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(make_update(kept, 1), make_update(gone, 2))
        rig.swap(replace(kept))
        await subscriber.wait_for(lambda: len(on(subscriber, ROOM)) == 2)
        found = await until_retained(broker, ROOM, f"{ROOM}/$meta")
    assert values(found[ROOM]) == {"KEPT": 1}
    assert list(found[f"{ROOM}/$meta"].json["points"]) == ["KEPT"]


async def test_a_renamed_asset_gets_new_metadata_only(broker: Mosquitto) -> None:
    """`$meta` is published again, the state is not."""
    known = KnownAsset(id="ast-a1b2c3d4", name="Room 1", location="East wing")
    points = [replace(point, known=known) for point in room("A", "B")]
    rig = MqttRig(broker.url, points, layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*(make_update(point, 1) for point in points))
        await subscriber.wait_for(lambda: len(subscriber.meta) == 1)
        rig.swap(*(replace(point, known=replace(known, name="Room 2")) for point in points))
        await subscriber.wait_for(lambda: len(subscriber.meta) == 2)
        await subscriber.catch_up()
        assert len(on(subscriber, ROOM)) == 1
    assert subscriber.meta[1].json == {
        "asset": "ast-a1b2c3d4",
        "name": "Room 2",
        "location": "East wing",
        "tag": "R1",
        "points": {"A": {"unit": "degC"}, "B": {"unit": "degC"}},
    }


async def test_a_removed_asset_is_cleared(broker: Mosquitto) -> None:
    """Its state and `$meta` are cleared; the other asset is not published again."""
    one, two = room("A"), room("A", tag="R2")
    rig = MqttRig(broker.url, [*one, *two], layout="asset")
    async with rig.sink, subscribe(broker.port) as subscriber:
        await rig.deliver(*(make_update(point, 1) for point in (*one, *two)))
        rig.swap(*map(replace, one))
        await until_retained(broker, ROOM, f"{ROOM}/$meta")
        await subscriber.catch_up()
        assert len(on(subscriber, ROOM)) == 1
        assert [message.payload for message in on(subscriber, "gw/v1/hq/R2")][1:] == [""]


async def test_an_asset_without_values_is_cleared(broker: Mosquitto) -> None:
    """Values of a former device under the same tag are not shown as the new one's."""
    (point,) = room("A")
    rig = MqttRig(broker.url, [point], layout="asset")
    async with rig.sink:
        await rig.deliver(make_update(point, 1))
        rig.sink.prepare(PointTable((replace(point, asset="ast-2"),)), DictLatestValues())(())
        await until_retained(broker, f"{ROOM}/$meta")


POINTS = {f"{ROOM}/{end}" for end in ("A", "A/$meta", "B", "B/$meta")}
ASSETS = {ROOM, f"{ROOM}/$meta"}
LAYOUTS = {"point": POINTS, "asset": ASSETS, "both": POINTS | ASSETS}


async def test_another_layout_clears_the_topics_of_the_former(broker: Mosquitto) -> None:
    """After any change of layout, exactly the topics of the present layout are retained."""
    retained: dict[str, bool] = {}
    for layout, after in pairwise(["point", "asset", "both", "asset", "point", "both", "point"]):
        for each in (layout, after):
            points = room("A", "B")
            rig = MqttRig(broker.url, points, layout=each, retained=retained)
            async with rig.sink:
                await rig.deliver(*(make_update(point, 1) for point in points))
                await until_retained(broker, *LAYOUTS[each])
