"""The BACnet sink over reloads and restarts: what clients see change, and what stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.bacnet_clients import Maker, bacnet_client
from support.bacnet_parts import DEVICE, BacnetRig, RawClient, make_object
from support.latest_values import DictLatestValues
from support.mqtt_parts import PointTable, make_update

from gateway.errors import RefusedError
from gateway.model import ObjectType, Quality
from gateway.sinks.bacnet import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Point, Scalar
    from gateway.sinks.bacnet.sink import BacnetSink

STAYS, GOES, COMES = make_object("L03/ZN-T", 1), make_object("L03/ZN-RH", 2), make_object("L03/CO2", 3)
PRESENT_VALUE, RELIABILITY, STATUS_FLAGS, OBJECT_LIST, REVISION = 85, 103, 111, 76, 155
EVENT_STATE = 36
UNKNOWN_OBJECT = codec.enumerated(1) + codec.enumerated(31)


async def swap(sink: BacnetSink, points: Sequence[Point], *values: Scalar) -> None:
    """Put another point table in force, whose points have these values."""
    latest = DictLatestValues()
    latest.take([make_update(point, value) for point, value in zip(points, values, strict=True)])
    adopt = await asyncio.to_thread(sink.prepare, PointTable(tuple(points)), latest)
    adopt([])


async def revision(client: RawClient) -> int:
    """Return Database_Revision."""
    encoded = await client.read(8, DEVICE, REVISION)
    return int.from_bytes(encoded[1:], "big")


async def test_a_reload_adds_changes_and_removes_objects() -> None:
    """At once, with their values; Database_Revision grows where objects or names differ, only then."""
    rig = BacnetRig([STAYS, GOES])
    rig.latest.take([make_update(STAYS, 21.5), make_update(GOES, 40.0)])
    async with rig.make_sink() as sink:
        with RawClient(rig.port) as client:
            began = await revision(client)
            await swap(sink, [again := replace(STAYS, description="new")], 21.75)
            removed = await revision(client)
            assert await client.read(0, 1, PRESENT_VALUE) == codec.real(21.75)
            with pytest.raises(LookupError) as gone:
                await client.read(0, 2, PRESENT_VALUE)
            assert gone.value.args[0].endswith(UNKNOWN_OBJECT)
            await swap(sink, [again, COMES], 21.75, 600.0)
            added = await revision(client)
            assert await client.read(0, 3, PRESENT_VALUE) == codec.real(600.0)
            assert await client.read(8, DEVICE, OBJECT_LIST, 0) == codec.unsigned(3)
            await swap(sink, [replace(again, description="newer"), replace(COMES)], 22.0, 610.0)
            assert await revision(client) == added
            await swap(sink, [make_object("L03/ZN-TEMP", 1), replace(COMES)], 22.0, 610.0)
            renamed = await revision(client)
            assert began < removed < added < renamed
            assert rig.status.bacnet is not None
            assert rig.status.bacnet.objects == 2


async def test_a_restart_never_shows_an_earlier_revision() -> None:
    """Other point tables may have been put in force meanwhile."""
    rig = BacnetRig([STAYS])
    seen = []
    for _ in range(2):
        async with rig.make_sink():
            with RawClient(rig.port) as client:
                seen.append(await revision(client))
    assert seen == sorted(seen)


async def test_a_sink_that_has_ended_has_no_subscribers() -> None:
    """The status, which outlives a sink, counts none until one subscribes again."""
    rig = BacnetRig([STAYS])
    async with rig.make_sink():
        with RawClient(rig.port) as client:
            subscribe = codec.context(0, b"\1") + codec.context(1, codec.object_data(0, 1)) + b"\x29\0"
            assert await client.request(5, subscribe) == b"\x20\1\5"
        assert rig.status.clients is not None
        assert rig.status.clients.connected == 1
    assert rig.status.clients.connected == 0


async def test_subscriptions_stay_with_objects_that_stay() -> None:
    """A reload notifies a subscriber of what has changed with it, and later of what the new point shows."""
    rig = BacnetRig([STAYS, GOES])
    rig.latest.take([make_update(STAYS, 21.5), make_update(GOES, 40.0)])
    async with rig.make_sink() as sink, bacnet_client(Maker.BACPYPES, rig.address) as client:
        for name in ("analog-input,1", "analog-input,2"):
            await client.subscribe(name, is_confirmed=True)
        await client.wait_for(lambda: len(client.notifications) == 2)
        await swap(sink, [again := replace(STAYS)], 22.0)
        await client.wait_for(lambda: len(client.notifications) == 3)
        await sink.write([make_update(again, 23.0)])
        await client.wait_for(lambda: len(client.notifications) == 4)
        values = [each.values["present-value"] for each in client.notifications[2:]]
        assert values == [[22.0], [23.0]]
        assert len(await client.read(f"device,{DEVICE}", "active-cov-subscriptions")) == 1


@pytest.mark.parametrize(
    ("kind", "good", "wrong", "present"),
    [
        (ObjectType.ANALOG_INPUT, 21.5, "open", codec.real(21.5)),
        (ObjectType.ANALOG_INPUT, 21.5, 1e39, codec.real(21.5)),
        (ObjectType.BINARY_INPUT, True, 2, codec.enumerated(1)),
        (ObjectType.MULTI_STATE_INPUT, "eco", "boost", codec.unsigned(2)),
        (ObjectType.CHARACTERSTRING_VALUE, "x" * 1400, "x" * 1401, codec.character_string("x" * 1400)),
    ],
)
async def test_a_value_that_the_object_cannot_hold_is_refused(
    kind: ObjectType, good: Scalar, wrong: Scalar, present: bytes
) -> None:
    """The last good one stays, as unreliable; the refusal says what to write; a good one ends it."""
    states = ("off", "eco") if kind is ObjectType.MULTI_STATE_INPUT else ()
    point = make_object("L03/X", 1, kind, values=states, texts=states)
    rig = BacnetRig([point])
    async with rig.make_sink() as sink:
        with RawClient(rig.port) as client:
            for value, reliability, flags in ((good, 0, 0x00), (wrong, 7, 0xC0), (good, 0, 0x00)):
                rig.latest.take(batch := [make_update(point, value)])
                if reliability:
                    with pytest.raises(RefusedError, match="write"):
                        await sink.write(batch)
                else:
                    await sink.write(batch)
                assert await client.read(kind.number, 1, PRESENT_VALUE) == present
                assert await client.read(kind.number, 1, RELIABILITY) == codec.enumerated(reliability)
                assert await client.read(kind.number, 1, STATUS_FLAGS) == bytes((0x82, 4, flags))


async def test_a_stale_value_is_a_communication_failure() -> None:
    """Present_Value keeps it; a point that never had one has no sensor, and shows no number."""
    rig = BacnetRig([STAYS, GOES])
    rig.latest.take([make_update(STAYS, 21.5)])
    async with rig.make_sink() as sink:
        with RawClient(rig.port) as client:
            assert await client.read(0, 1, EVENT_STATE) == codec.enumerated(0)
            stale = replace(make_update(STAYS, 21.5), value=None, quality=Quality.STALE)
            rig.latest.take([stale])
            await sink.write([stale])
            assert await client.read(0, 1, PRESENT_VALUE) == codec.real(21.5)
            assert await client.read(0, 1, RELIABILITY) == codec.enumerated(12)
            assert await client.read(0, 1, EVENT_STATE) == codec.enumerated(1)  # fault
            assert await client.read(0, 2, PRESENT_VALUE) == codec.real(float("nan"))
            assert await client.read(0, 2, RELIABILITY) == codec.enumerated(1)
