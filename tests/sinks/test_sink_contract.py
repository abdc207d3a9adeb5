"""The promises of every sink (`gateway.ports.Sink`), checked at its receiver; one line adds another sink."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from support.mqtt_parts import make_update, now_ms
from support.sink_receivers import RECEIVERS, Broker, Controller, WrittenController

from gateway.errors import GatewayError, RefusedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sink_receivers import Receiver

    from gateway.model import Update

LEAVING_TAKES_AT_MOST_S = 8.0  # tens of ms where nothing else runs
EARLIER_MS = 60_000


@pytest.fixture(params=list(RECEIVERS.values()), ids=list(RECEIVERS))
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """Return a receiver that has no values yet."""
    with request.param(tmp_path) as made:
        yield made


def updates(receiver: Receiver, *values: float, earlier_ms: int = 0) -> list[Update]:
    """Return an update of the first point, and of the second if there is a second value."""
    time_ms = now_ms() - earlier_ms
    points = receiver.points[: len(values)]
    return [make_update(point, value, time_ms=time_ms) for point, value in zip(points, values, strict=True)]


async def until_shown(receiver: Receiver, *expected: float | None) -> None:
    """Wait until the receiver shows these values of the two points."""
    async with asyncio.timeout(60):
        while await receiver.shown() != list(expected):  # noqa: ASYNC110 - what others see has no event
            await asyncio.sleep(0.02)


async def test_entering_restores_the_latest_values(receiver: Receiver) -> None:
    """Values of before the start are shown without a write; a point without one has no value."""
    receiver.latest.take(updates(receiver, 21.5))
    async with receiver.make_sink():
        await until_shown(receiver, 21.5, None)


async def test_written_values_are_shown(receiver: Receiver) -> None:
    """When a write returns, the receiver has every update of it."""
    async with receiver.make_sink() as sink:
        for batch in (updates(receiver, 21.5, 40.0), updates(receiver, 22.0)):
            receiver.latest.take(batch)
            await sink.write(batch)
        assert await receiver.shown() == [22.0, 40.0]


async def test_an_older_value_never_replaces_a_newer(receiver: Receiver) -> None:
    """Before, with or after the newer value, and even if that was never written."""
    older, newer = updates(receiver, 1.0, 2.0, earlier_ms=EARLIER_MS), updates(receiver, 21.5, 40.0)
    async with receiver.make_sink() as sink:
        receiver.latest.take(newer)
        for batch in ([*older, *newer], [*newer, *older], older):
            await sink.write(batch)
            assert await receiver.shown() == [21.5, 40.0]
        newest = updates(receiver, 22.0)
        receiver.latest.take(newest)
        await sink.write(newer)
        assert (await receiver.shown())[0] in {21.5, 22.0}
        await sink.write(newest)
        await sink.write(newer)
        assert await receiver.shown() == [22.0, 40.0]


async def test_the_same_batch_may_come_again(receiver: Receiver) -> None:
    """The outcome is the same as after one write."""
    batch = [*updates(receiver, 20.0, earlier_ms=EARLIER_MS), *updates(receiver, 21.5, 40.0)]
    receiver.latest.take(batch)
    for _ in range(2):
        async with receiver.make_sink() as sink:
            for _ in range(2):
                await sink.write(batch)
                assert await receiver.shown() == [21.5, 40.0]


async def test_a_refused_update_does_not_stop_the_others(receiver: Receiver) -> None:
    """It has its reason; all others are delivered, and the sink goes on."""
    impossible = make_update(receiver.points[0], receiver.impossible)
    async with receiver.make_sink() as sink:
        batch = [impossible, *updates(receiver, 21.5, 40.0)[1:]]
        receiver.latest.take(batch)
        with pytest.raises(RefusedError) as refused:
            await sink.write(batch)
        assert [refusal.update for refusal in refused.value.refusals] == [impossible]
        assert refused.value.refusals[0].reason
        assert await receiver.shown() == [None, 40.0]
        following = updates(receiver, 22.0)
        receiver.latest.take(following)
        await sink.write(following)
        assert await receiver.shown() == [22.0, 40.0]


async def test_leaving_is_prompt_and_seen(receiver: Receiver) -> None:
    """Within a few seconds everything is closed, and the receiver sees that the gateway is away."""
    async with receiver.make_sink() as sink:
        batch = updates(receiver, 21.5, 40.0)
        receiver.latest.take(batch)
        await sink.write(batch)
        assert not await receiver.knows_that_the_gateway_is_away()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < LEAVING_TAKES_AT_MOST_S
    assert await receiver.knows_that_the_gateway_is_away()


async def test_a_new_sink_follows_one_that_left(receiver: Receiver) -> None:
    """Several times at the same address."""
    for value in (1.0, 2.0, 3.0):
        async with receiver.make_sink() as sink:
            batch = updates(receiver, value, value)
            receiver.latest.take(batch)
            await sink.write(batch)
            assert await receiver.shown() == [value, value]
        receiver.latest.take(updates(receiver, value + 0.5))
    async with receiver.make_sink():
        await until_shown(receiver, 3.5, 3.0)


async def test_an_error_inside_is_raised_unchanged(receiver: Receiver) -> None:
    """Leaving closes everything all the same."""
    error = LookupError("inside")

    async def run() -> None:
        async with receiver.make_sink() as sink:
            await sink.write(updates(receiver, 1.0))
            raise error

    with pytest.raises(LookupError) as raised:
        await run()
    assert raised.value is error
    assert await receiver.knows_that_the_gateway_is_away()


async def test_a_cancelled_sink_leaves_too(receiver: Receiver) -> None:
    """It closes promptly, and the cancellation goes on."""

    async def run() -> None:
        async with receiver.make_sink() as sink:
            await sink.write(updates(receiver, 1.0))
            inside.set()
            await asyncio.Event().wait()

    inside = asyncio.Event()
    task = asyncio.create_task(run())
    async with asyncio.timeout(60):
        await inside.wait()
    task.cancel()
    async with asyncio.timeout(LEAVING_TAKES_AT_MOST_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await receiver.knows_that_the_gateway_is_away()


@pytest.mark.parametrize("make", [Broker, WrittenController])
async def test_a_receiver_that_is_away_does_not_make_entering_fail(
    tmp_path: Path, make: type[Broker | WrittenController]
) -> None:
    """A sink that connects keeps trying, a write fails with the reason, and it can be left at any time."""
    receiver = make(tmp_path)
    sink = receiver.make_sink()
    batch = updates(receiver, 21.5, 40.0)
    receiver.latest.take(batch)
    async with sink:
        with pytest.raises(TransientError):
            await sink.write(batch)
        with receiver:
            await until_shown(receiver, 21.5, 40.0)
    async with asyncio.timeout(LEAVING_TAKES_AT_MOST_S):
        async with receiver.make_sink():
            pass


async def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    """The error names the address, and once the port is free the sink can be entered."""
    controller = Controller(tmp_path)
    with (
        socket.create_server(("127.0.0.1", controller.port)),
        pytest.raises(GatewayError, match=rf"127\.0\.0\.1:{controller.port}"),
    ):
        async with controller.make_sink():
            pass
    async with controller.make_sink():
        assert await controller.shown() == [None, None]
