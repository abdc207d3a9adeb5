"""Sparkplug messages as a SCADA host reads them: births, data, quality, history."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from support.modbus_fixtures import register
from support.mosquitto import Mosquitto
from support.mqtt_parts import make_point, make_update, now_ms
from support.sparkplug_parts import SparkplugRig

from gateway.errors import RefusedError
from gateway.model import Conversion, Cov, Mqtt, Quality, ValueKind

if TYPE_CHECKING:
    from gateway.model import Point, Scalar

ROOM = "L03-RM312"
TEMPERATURE, HUMIDITY = make_point(f"{ROOM}/ZN-T"), make_point(f"{ROOM}/ZN-RH")


def any_kind(name: str, **keys: Any) -> Point:
    """Return a point whose type is not fixed by its table."""
    return replace(make_point(name), unit_of_measure=None, **keys)


async def test_node_and_devices_are_born_in_order_before_any_data(broker: Mosquitto) -> None:
    """NBIRTH has seq 0, bdSeq and the rebirth command; a DBIRTH of each device follows with all metrics."""
    points = [TEMPERATURE, HUMIDITY, make_point("CH-1/CHWS-T")]
    rig = SparkplugRig(broker.url, points)
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5))
        await host.catch_up()
        assert host.order == ["NBIRTH", f"DBIRTH {ROOM}", "DBIRTH CH-1", f"DDATA {ROOM}"]
        birth = host.seen[0].payload
        assert [(metric.name, metric.type, metric.value) for metric in birth] == [
            ("bdSeq", "INT64", 0),
            ("Node Control/Rebirth", "BOOLEAN", False),
        ]
        assert set(host.tags[ROOM]) == {"ZN-T", "ZN-RH"}


async def test_a_birth_has_value_time_unit_and_quality(broker: Mosquitto) -> None:
    """A value keeps its own time; a metric without a value is null and bad."""
    described = replace(TEMPERATURE, description="Zone temperature")
    rig = SparkplugRig(broker.url, [described, HUMIDITY])
    rig.latest.take([make_update(described, 21.5, time_ms=1_795_507_200_007)])
    async with rig.watched() as host:
        known, unknown = host.tags[ROOM]["ZN-T"], host.tags[ROOM]["ZN-RH"]
    assert (known.type, known.value, known.time_ms) == ("DOUBLE", 21.5, 1_795_507_200_007)
    assert known.properties == {
        "Quality": 192,
        "GatewayQuality": "good",
        "engUnit": "degC",
        "documentation": "Zone temperature",
    }
    assert (unknown.type, unknown.value, unknown.is_null, unknown.quality) == ("DOUBLE", None, True, 0)


async def test_only_changes_are_sent(broker: Mosquitto) -> None:
    """The same value and quality again is not sent; a batch is one message per device."""
    other = make_point("CH-1/CHWS-T")
    rig = SparkplugRig(broker.url, [TEMPERATURE, HUMIDITY, other])
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5), make_update(HUMIDITY, 40), make_update(other, 6.5))
        await rig.deliver(make_update(TEMPERATURE, 21.5), make_update(HUMIDITY, 41))
        await rig.deliver(make_update(TEMPERATURE, 21.5))
        await host.catch_up()
        data = [message for message in host.seen if message.verb == "DDATA"]
        assert [message.device for message in data] == [ROOM, "CH-1", ROOM]
        assert [metric.name for metric in data[2].payload] == ["ZN-RH"]
        assert (host.value(ROOM, "ZN-T"), host.value(ROOM, "ZN-RH")) == (21.5, 41)


async def test_a_deadband_holds_back_small_changes(broker: Mosquitto) -> None:
    """Changes below `cov` are not sent."""
    point = make_point(f"{ROOM}/ZN-T", cov=Cov(0.5, 3_600_000))
    rig = SparkplugRig(broker.url, [point])
    async with rig.watched() as host:
        for value in (21.0, 21.2, 21.6):
            await rig.deliver(make_update(point, value))
        await host.catch_up()
        assert [metric.value for message in host.seen[2:] for metric in message.payload] == [21.0, 21.6]


@pytest.mark.parametrize("codes", ["sparkplug", "ignition"])
async def test_a_value_that_is_not_fresh_never_looks_fresh(broker: Mosquitto, codes: str) -> None:
    """Each value has its quality, in the codes of the specification or of Ignition."""
    rig = SparkplugRig(broker.url, [TEMPERATURE], quality_codes=codes)
    stale, bad = (500, 0) if codes == "sparkplug" else (-2147483132, -2147483136)
    steps: list[tuple[Scalar, Quality, int]] = [
        (21.5, Quality.GOOD, 192),
        (21.5, Quality.HELD, stale),
        (None, Quality.STALE, stale),
        (None, Quality.BAD, bad),
        (99.0, Quality.FORCED, 192),
    ]
    async with rig.watched() as host:
        for value, quality, code in steps:
            await rig.deliver(make_update(TEMPERATURE, value, quality=quality))
            await host.catch_up()
            shown = host.tags[ROOM]["ZN-T"]
            assert (shown.value, shown.is_null, shown.quality) == (value, value is None, code)
            assert shown.properties["GatewayQuality"] == quality.name.lower()


async def test_a_late_reading_is_history_and_changes_no_tag(broker: Mosquitto) -> None:
    """It is marked as historical and has its own time; stand-ins are no history."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    now = now_ms()
    async with rig.watched() as host:
        await rig.deliver(
            make_update(TEMPERATURE, 20.5, time_ms=now - 9_000),
            make_update(TEMPERATURE, 21.0, time_ms=now - 5_000),
            make_update(TEMPERATURE, 21.5, time_ms=now),
        )
        await rig.deliver(make_update(TEMPERATURE, 20.0, time_ms=now - 7_000))
        await rig.deliver(make_update(TEMPERATURE, 19.0, time_ms=now - 8_000, quality=Quality.HELD))
        await host.catch_up()
        assert [(metric.value, metric.time_ms) for _, metric in host.history] == [
            (20.5, now - 9_000),
            (21.0, now - 5_000),
            (20.0, now - 7_000),
        ]
        assert host.value(ROOM, "ZN-T") == 21.5


async def test_history_can_be_turned_off(broker: Mosquitto) -> None:
    """With `history: false`, late readings are not sent."""
    rig = SparkplugRig(broker.url, [TEMPERATURE], history=False)
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5))
        await rig.deliver(make_update(TEMPERATURE, 20.0, time_ms=now_ms() - 9_000))
        await host.catch_up()
        assert (host.history, host.value(ROOM, "ZN-T")) == ([], 21.5)


PSEUDO = any_kind(f"{ROOM}/X", source="$quality")
MAPPED = any_kind(f"{ROOM}/X", conversion=Conversion(map={"vacant": 0, "occupied": 1}))
WORDS = any_kind(f"{ROOM}/X", conversion=Conversion(map={"0": "off", "1": "on"}))
SWITCH = any_kind(f"{ROOM}/X", conversion=Conversion(kind=ValueKind.SWITCH))
TEXT = any_kind(f"{ROOM}/X", registers=(register(0, "string", words=4),))
NUMBER = any_kind(f"{ROOM}/X", conversion=Conversion(kind=ValueKind.NUMBER))


@pytest.mark.parametrize(
    ("point", "of_type", "value", "shown"),
    [
        (NUMBER, "DOUBLE", 21, 21.0),
        (PSEUDO, "INT64", 2, 2),
        (MAPPED, "INT64", 1, 1),
        (WORDS, "STRING", "on", "on"),
        (SWITCH, "BOOLEAN", True, True),
        (SWITCH, "BOOLEAN", 0, False),
        (TEXT, "STRING", "open", "open"),
    ],
)
async def test_the_table_fixes_the_type_of_a_metric(
    broker: Mosquitto, point: Point, of_type: str, value: Scalar, shown: Scalar
) -> None:
    """Unit, map, registers or source fix the type before any reading."""
    rig = SparkplugRig(broker.url, [point])
    async with rig.watched() as host:
        assert host.tags[ROOM]["X"].type == of_type
        await rig.deliver(make_update(point, value))
        await host.catch_up()
        assert host.value(ROOM, "X") == shown
        assert type(host.value(ROOM, "X")) is type(shown)
        assert host.order.count(f"DBIRTH {ROOM}") == 1


@pytest.mark.parametrize(
    ("values", "of_type", "shown"),
    [
        ((21.5,), "DOUBLE", 21.5),
        ((True,), "BOOLEAN", True),
        (("open",), "STRING", "open"),
        ((True, 7), "DOUBLE", 7.0),
        ((7, "open", 8.5), "STRING", "8.5"),
    ],
)
async def test_a_value_of_another_type_widens_the_type(
    broker: Mosquitto, values: tuple[Scalar, ...], of_type: str, shown: Scalar
) -> None:
    """The device is born again with a type that holds both."""
    point = any_kind(f"{ROOM}/X")
    rig = SparkplugRig(broker.url, [point])
    async with rig.watched() as host:
        for value in values:
            await rig.deliver(make_update(point, value))
        await host.catch_up()
        births = [message for message in host.seen if message.verb == "DBIRTH"]
        assert births[-1].payload["X"].type == of_type
        assert len(births) <= 3
        assert host.value(ROOM, "X") == shown


async def test_points_of_no_asset_are_metrics_of_the_node(broker: Mosquitto) -> None:
    """They are in NBIRTH, and their data is NDATA."""
    own = replace(make_point("gateway/Load"), asset="")
    rig = SparkplugRig(broker.url, [own, TEMPERATURE])
    async with rig.watched() as host:
        await rig.deliver(make_update(own, 0.5))
        await host.catch_up()
        assert host.order == ["NBIRTH", f"DBIRTH {ROOM}", "NDATA"]
        assert host.value("", "gateway/Load") == 0.5


async def test_computed_points_are_metrics_of_their_tag(broker: Mosquitto) -> None:
    """A computed point needs no asset to be in a device, and does not keep an offline device alive."""
    mean = replace(make_point("FLOOR-3/MEAN"), asset="", source="$mean of */ZN-T")
    dew_point = replace(make_point(f"{ROOM}/DEWPT"), source="$expr ZN-T - 9")
    rig = SparkplugRig(broker.url, [mean, dew_point, TEMPERATURE])
    async with rig.watched() as host:
        await rig.deliver(make_update(mean, 21.5, seq=0))
        await rig.deliver(make_update(TEMPERATURE, 21.5), make_update(dew_point, 12.5, seq=0))
        await host.catch_up()
        assert (host.value("FLOOR-3", "MEAN"), host.value(ROOM, "DEWPT")) == (21.5, 12.5)
        gone = make_update(TEMPERATURE, None, quality=Quality.OFFLINE)
        await rig.deliver(gone, make_update(dew_point, None, quality=Quality.STALE, seq=0))
        await host.catch_up()
        assert host.order[-1] == f"DDEATH {ROOM}"


async def test_a_point_may_go_to_other_brokers_only(broker: Mosquitto) -> None:
    """`mqtt: {to: […]}` and `mqtt: false` keep points away; a device without points does not exist."""
    elsewhere = make_point("CH-1/CHWS-T", mqtt=Mqtt(frozenset({"bms"})))
    nowhere = make_point("CH-2/CHWS-T", mqtt=None)
    here = make_point(f"{ROOM}/ZN-T", mqtt=Mqtt(frozenset({"scada"})))
    rig = SparkplugRig(broker.url, [elsewhere, nowhere, here])
    async with rig.watched() as host:
        await rig.deliver(*(make_update(point, 1.0) for point in (elsewhere, nowhere, here)))
        await host.catch_up()
        assert set(host.tags) == {"", ROOM}


async def test_the_sequence_wraps_over_all_messages_of_the_node(broker: Mosquitto) -> None:
    """Births, data and deaths of all devices share one sequence, 0 to 255 and again."""
    points = [make_point(f"R-{number}/T") for number in range(7)]
    rig = SparkplugRig(broker.url, points)
    async with rig.watched() as host:
        for value in range(100):
            await rig.deliver(*(make_update(point, value) for point in points))
        await host.catch_up()
        numbers = [message.payload.seq for message in host.seen]
        assert numbers == [number % 256 for number in range(1 + 7 + 700)]


async def test_a_value_that_no_type_holds_is_refused_alone(broker: Mosquitto) -> None:
    """The other values are sent, and a birth has no value for it."""
    rig = SparkplugRig(broker.url, [TEMPERATURE, HUMIDITY])
    async with rig.watched() as host:
        with pytest.raises(RefusedError, match="DOUBLE") as refused:
            await rig.deliver(make_update(TEMPERATURE, 10**400), make_update(HUMIDITY, 40.0))
        assert [refusal.update.point for refusal in refused.value.refusals] == [TEMPERATURE]
        await host.catch_up()
        assert (host.value(ROOM, "ZN-T"), host.value(ROOM, "ZN-RH")) == (None, 40.0)


async def test_a_birth_above_the_broker_limit_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The updates of the device are refused; the sequence of all others has no gap."""
    folder = tmp_path_factory.mktemp("broker")
    large = [any_kind(f"HALL/P{number}") for number in range(40)]
    text = any_kind(f"{ROOM}/X", conversion=Conversion(map={"1": "x"}))
    with Mosquitto(folder, "allow_anonymous true", "max_packet_size 1000") as broker:
        rig = SparkplugRig(broker.url, [*large, TEMPERATURE, text])
        async with rig.watched() as host:
            for value in (1.0, 2.0):
                with pytest.raises(RefusedError, match="at most 1000 bytes"):
                    await rig.deliver(make_update(large[0], value), make_update(TEMPERATURE, value))
            with pytest.raises(RefusedError, match="at most 1000 bytes"):
                await rig.deliver(make_update(text, "x" * 1000))
            await rig.deliver(make_update(TEMPERATURE, 3.0))
            await host.catch_up()
            assert host.value(ROOM, "ZN-T") == 3.0
            assert "HALL" not in host.tags


async def test_history_is_split_to_the_broker_limit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Too large messages are split, in order; a value that is too large alone is refused."""
    folder = tmp_path_factory.mktemp("broker")
    text = any_kind(f"{ROOM}/X", conversion=Conversion(map={"1": "x"}))
    with Mosquitto(folder, "allow_anonymous true", "max_packet_size 3000") as broker:
        rig = SparkplugRig(broker.url, [TEMPERATURE, text])
        async with rig.watched() as host:
            await rig.deliver(make_update(TEMPERATURE, 0, time_ms=1_000_000))
            await rig.deliver(make_update(text, "x", time_ms=1_000_000))
            late = [make_update(TEMPERATURE, number, time_ms=number) for number in range(300)]
            late.insert(150, make_update(text, "x" * 3000, time_ms=150))
            with pytest.raises(RefusedError, match="at most 3000 bytes") as refused:
                await rig.deliver(*late)
            await host.catch_up()
            values = [metric.value for _, metric in host.history]
    assert [refusal.update.value for refusal in refused.value.refusals] == ["x" * 3000]
    assert values == list(range(300))


@pytest.mark.parametrize("types_in_data", [False, True])
async def test_types_in_data(broker: Mosquitto, *, types_in_data: bool) -> None:
    """Some libraries read a value only with its type."""
    rig = SparkplugRig(broker.url, [TEMPERATURE], types_in_data=types_in_data)
    async with rig.watched() as host:
        await rig.deliver(make_update(TEMPERATURE, 21.5))
        await host.catch_up()
        data = host.seen[-1]
    assert (data.verb, data.payload["ZN-T"].value) == ("DDATA", 21.5)
    assert data.payload["ZN-T"].type == ("DOUBLE" if types_in_data else "UNKNOWN")


async def test_a_single_change_is_delivered_at_once(broker: Mosquitto) -> None:
    """The round trip does not wait 40 ms for TCP's delayed acknowledgement, which none escapes."""
    rig = SparkplugRig(broker.url, [TEMPERATURE])
    loop = asyncio.get_running_loop()
    prompt, values = 0, count()
    async with rig.watched(), asyncio.timeout(60):
        while prompt < 15:
            began = loop.time()
            await rig.deliver(make_update(TEMPERATURE, next(values)))
            prompt += loop.time() - began < 0.03
