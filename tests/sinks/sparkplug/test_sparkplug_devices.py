"""Births and deaths of devices: without connection, after a reload, with another type."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.latest_values import DictLatestValues
from support.mqtt_parts import make_point, make_update, now_ms
from support.sparkplug_parts import SparkplugRig

from gateway.model import Quality

if TYPE_CHECKING:
    from support.mosquitto import Mosquitto

    from gateway.model import Point

ROOM, CHILLER = "L03-RM312", "CH-1"
TEMPERATURE, HUMIDITY, SUPPLY = (
    make_point(f"{ROOM}/ZN-T"),
    make_point(f"{ROOM}/ZN-RH"),
    make_point("CH-1/T"),
)


async def test_a_device_without_connection_is_dead_until_it_reports(broker: Mosquitto) -> None:
    """Its last data is stale, then it dies; the next reading causes a birth with all its values."""
    online = replace(make_point(f"{ROOM}/ONLINE"), source="$online")
    rig = SparkplugRig(broker.url, [TEMPERATURE, HUMIDITY, online, SUPPLY])
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5), make_update(HUMIDITY, 40.0), make_update(online, 1))
        await rig.deliver(
            make_update(TEMPERATURE, 21.5, quality=Quality.OFFLINE),
            make_update(HUMIDITY, None, quality=Quality.OFFLINE),
            make_update(online, 0),
        )
        await host.catch_up()
        assert host.order[-2:] == [f"DDATA {ROOM}", f"DDEATH {ROOM}"]
        assert [(metric.quality, metric.value) for metric in host.seen[-2].payload] == [
            (500, 21.5), (500, None), (192, 0),
        ]  # fmt: skip
        host.clear()
        await rig.deliver(make_update(online, 0), make_update(SUPPLY, 6.5))
        await rig.deliver(make_update(TEMPERATURE, 22.0), make_update(online, 1))
        await host.catch_up()
        assert host.order == [f"DDATA {CHILLER}", f"DBIRTH {ROOM}"]
        assert (host.value(ROOM, "ZN-T"), host.tags[ROOM]["ZN-RH"].quality) == (22.0, 500)


async def test_a_device_that_is_offline_at_the_start_is_not_born(broker: Mosquitto) -> None:
    """Nor after a rebirth command; the node and other devices are."""
    rig = SparkplugRig(broker.url, [TEMPERATURE, SUPPLY], rebirth_pause_s=0.1)
    rig.latest.take([make_update(TEMPERATURE, 21.5, quality=Quality.OFFLINE)])
    async with rig.watched() as host:
        assert host.order == ["NBIRTH", f"DBIRTH {CHILLER}"]
        await host.request_rebirth()
        await host.until(lambda: len(host.seen) == 4)
        assert host.order[2:] == ["NBIRTH", f"DBIRTH {CHILLER}"]


async def test_history_of_a_dead_device_is_not_lost(broker: Mosquitto) -> None:
    """The device is born, sends its history, and dies; its tags never look fresh."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    now = now_ms()
    rig.latest.take([make_update(TEMPERATURE, 21.5, quality=Quality.OFFLINE, time_ms=now)])
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 20.0, time_ms=now - 9_000))
        await host.catch_up()
        assert host.order == ["NBIRTH", f"DBIRTH {ROOM}", f"DDATA {ROOM}", f"DDEATH {ROOM}"]
        assert [(metric.value, metric.is_historical) for _, metric in host.history] == [(20.0, True)]
        assert host.tags[ROOM]["ZN-T"].quality == 500


def twin(point: Point, **changes: object) -> Point:
    """Return the point of a table that was compiled again."""
    return replace(point, **changes)  # type: ignore[arg-type]  # any field


async def test_after_a_reload_all_births_follow_the_new_table(broker: Mosquitto) -> None:
    """Removed devices die, and all others are born again; data of the old table is not sent."""
    rig = SparkplugRig(broker.url, [TEMPERATURE, SUPPLY, make_point("GONE/T")])
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5), make_update(SUPPLY, 6.5))
        await host.catch_up()
        host.clear()
        same, other = twin(TEMPERATURE), twin(SUPPLY, unit_of_measure="degF")
        rig.swap(same, other, make_point("NEW/T"))
        await host.until(lambda: len(host.seen) == 5)
        at_ms = now_ms()  # of all three: same and TEMPERATURE have one name, and a later one would be newer
        values = ((same, 21.5), (other, 43.7), (TEMPERATURE, 1.0))
        await rig.deliver(*(make_update(point, value, time_ms=at_ms) for point, value in values))
        await rig.deliver(make_update(same, 22.0))
        await host.catch_up()
        assert host.order[:2] == ["DDEATH GONE", "NBIRTH"]
        assert sorted(host.order[2:5]) == [f"DBIRTH {CHILLER}", f"DBIRTH {ROOM}", "DBIRTH NEW"]
        assert host.order[5:] == [f"DDATA {CHILLER}", f"DDATA {ROOM}"]
        assert host.tags[CHILLER]["T"].value == 43.7
        assert host.value(ROOM, "ZN-T") == 22.0
        assert host.is_dead("GONE")


async def test_an_added_point_is_in_the_birth_before_its_data(broker: Mosquitto) -> None:
    """Data never has a metric that is not in the birth."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    async with rig.watched() as host:
        same = twin(TEMPERATURE)
        rig.swap(same, HUMIDITY)
        await rig.deliver(make_update(HUMIDITY, 40.0), make_update(same, 21.5))
        await host.catch_up()
        assert (host.value(ROOM, "ZN-RH"), host.value(ROOM, "ZN-T")) == (40.0, 21.5)


async def test_a_point_moved_to_another_asset_loses_its_value(broker: Mosquitto) -> None:
    """It is null until the new device reports."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5))
        await host.catch_up()
        assert host.value(ROOM, "ZN-T") == 21.5
        rig.swap(twin(TEMPERATURE, asset="ast-other"), latest=DictLatestValues())
        await host.until(lambda: host.order.count(f"DBIRTH {ROOM}") == 2)
        assert host.tags[ROOM]["ZN-T"].is_null


async def test_a_point_of_the_node_is_in_its_birth(broker: Mosquitto) -> None:
    """After the reload, NBIRTH and then every DBIRTH are sent."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    async with rig.watched() as host:
        host.clear()
        rig.swap(twin(TEMPERATURE), twin(make_point("gateway/Load"), asset=""))
        await host.until(lambda: host.order == ["NBIRTH", f"DBIRTH {ROOM}"])


async def test_devices_removed_by_reloads_in_a_row_are_dead(broker: Mosquitto) -> None:
    """Also a device removed by the first of two reloads."""
    rig = SparkplugRig(broker.url, [TEMPERATURE, SUPPLY, make_point("GONE/T")])
    async with rig.watched() as host:
        rig.swap(twin(TEMPERATURE), twin(SUPPLY))
        rig.swap(twin(TEMPERATURE))
        await host.until(lambda: {"GONE", CHILLER} <= host.stale)
        await host.catch_up()
        assert not host.is_dead(ROOM)


async def test_after_a_reload_a_type_is_known_from_the_value(broker: Mosquitto) -> None:
    """A birth has the type of the latest value, so that the next text needs no second birth."""
    text = replace(make_point(f"{ROOM}/STATE"), unit_of_measure=None)
    rig = SparkplugRig(broker.url, [text])
    async with rig.watched() as host:
        await rig.deliver(make_update(text, "open"))
        await host.catch_up()
        host.clear()
        same = twin(text)
        rig.swap(same)
        await host.until(lambda: len(host.seen) == 2)
        await rig.deliver(make_update(same, "closed"))
        await host.catch_up()
        assert host.order == ["NBIRTH", f"DBIRTH {ROOM}", f"DDATA {ROOM}"]
        assert host.value(ROOM, "STATE") == "closed"
