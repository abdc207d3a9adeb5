"""COV subscriptions and long answers, with clients of other makers."""

from __future__ import annotations

import pytest
from support.bacnet_clients import BacnetClient, BacnetError, Maker, bacnet_client
from support.bacnet_frames import FrameRelay, find_malformed
from support.bacnet_parts import DEVICE, BacnetRig, make_object
from support.mqtt_parts import make_update

from gateway.model import Cov, Quality
from gateway.sinks.bacnet.frames import Pdu

_GOOD, _FAULT = [0, 0, 0, 0], [1, 1, 0, 0]  # in alarm, fault, overridden, out of service


class _Losses:
    """Loses each of some segments and acknowledgements once, by kind and sequence number."""

    def __init__(self, to_lose: set[tuple[Pdu, int]]) -> None:
        self.to_lose = set(to_lose)

    def __call__(self, frame: bytes) -> bool:
        """Return whether the frame is lost."""
        apdu = frame[6:]
        found = {each for each in self.to_lose if each == (apdu[0] >> 4, apdu[2])}
        self.to_lose -= found
        return bool(found)


async def _notified(client: BacnetClient, times: int) -> None:
    await client.wait_for(lambda: len(client.notifications) == times)


@pytest.mark.parametrize("is_confirmed", [False, True])
@pytest.mark.parametrize("maker", Maker)
async def test_client_is_notified(maker: Maker, *, is_confirmed: bool) -> None:
    """A client gets the present value, changes beyond the deadband, and FAULT with a stale value."""
    point = make_object("L03/ZN-T", 7, cov=Cov(0.5, 300_000))
    rig = BacnetRig([point])
    rig.latest.take([make_update(point, 21.5)])
    async with rig.make_sink() as sink, bacnet_client(maker, rig.address) as client:
        await client.subscribe("analog-input,7", process=18, is_confirmed=is_confirmed, lifetime_s=60)
        steps = ((21.75, Quality.GOOD, 1), (22.0, Quality.GOOD, 1), (22.0, Quality.STALE, 2))
        for value, quality, before in steps:
            await _notified(client, before)
            update = make_update(point, value, quality=quality)
            rig.latest.take([update])
            await sink.write([update])
        await _notified(client, 3)
        for each in client.notifications:
            assert (each.is_confirmed, each.process, each.device) == (is_confirmed, 18, DEVICE)
            assert (each.object, 0 < each.remaining_s <= 60) == ("analog-input,7", True)
        shown = [(each.values["present-value"], each.values["status-flags"]) for each in client.notifications]
        assert shown == [([21.5], [_GOOD]), ([22.0], [_GOOD]), ([22.0], [_FAULT])]
        assert rig.status.bacnet is not None
        assert rig.status.bacnet.subscriptions == 1
        await client.unsubscribe("analog-input,7", process=18)
        assert rig.status.bacnet.subscriptions == 0
        with pytest.raises(BacnetError) as refused:
            await client.subscribe("analog-input,8")
        assert refused.value.args == (1, 31)  # object, unknown-object


_LOST_SEGMENTS = {(Pdu.COMPLEX_ACK, 2), (Pdu.COMPLEX_ACK, 5)}


@pytest.mark.parametrize(
    ("maker", "lost"),
    [  # bacpypes3 waits no longer for a segment than for an answer; node-bacnet puts no segments together
        (Maker.BACPYPES, _LOST_SEGMENTS),
        (Maker.BACNET_JS, _LOST_SEGMENTS | {(Pdu.SEGMENT_ACK, 0)}),
    ],
)
async def test_long_answers(maker: Maker, lost: set[tuple[Pdu, int]]) -> None:
    """A client reads a list of 2,001 objects in segments, of which the network loses some."""
    rig = BacnetRig([make_object(f"L03/P{number}", number) for number in range(1, 2001)])
    async with rig.make_sink():
        with FrameRelay(rig.address) as relay:
            relay.is_lost = losses = _Losses(lost)
            async with bacnet_client(maker, relay.address) as client:
                listed = await client.read(f"device,{DEVICE}", "object-list")
    assert listed == [[8, DEVICE], *([0, number] for number in range(1, 2001))]
    assert losses.to_lose == set()
    assert find_malformed(relay.from_device) == []


async def test_listed_subscriptions() -> None:
    """A client reads Active_COV_Subscriptions of 300 subscriptions, and each object's notification comes."""
    rig = BacnetRig([make_object(f"L03/P{number}", number) for number in range(1, 301)])
    async with rig.make_sink(), bacnet_client(Maker.BACPYPES, rig.address) as client:
        for number in range(1, 301):
            await client.subscribe(f"analog-input,{number}", is_confirmed=True)
        await _notified(client, 300)
        assert len({each.object for each in client.notifications}) == 300
        assert len(await client.read(f"device,{DEVICE}", "active-cov-subscriptions")) == 300
