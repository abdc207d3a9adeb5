"""A Sparkplug session: births and deaths over reconnects, rebirth, the primary host."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import support
from support.mosquitto import Mosquitto
from support.mqtt_parts import make_point, make_update
from support.sparkplug_host import listen
from support.sparkplug_parts import SparkplugRig
from support.sparkplug_payloads import command
from support.waiting import until_delivered

from gateway.errors import TransientError

if TYPE_CHECKING:
    from support.sparkplug_host import SparkplugHost

ROOM = "L03-RM312"
POINT = make_point(f"{ROOM}/ZN-T")
CLIENT_ID = "gateway-edge-1-scada"
TESTS = Path(support.__file__).parents[1]
PROGRAM = """
import asyncio, sys
from support.mqtt_parts import make_point
from support.sparkplug_parts import SparkplugRig
async def main():
    async with SparkplugRig(sys.argv[1], [make_point()]).sink:
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def take_the_connection_away(host: SparkplugHost) -> None:
    """Have the broker end the gateway's connection through a client with the same id."""
    await host.publish("support/other", b"", "-i", CLIENT_ID)


async def deliver_for_sure(rig: SparkplugRig, *values: float) -> None:
    """Write until it succeeds, as the delivery loop does."""
    updates = [make_update(POINT, value) for value in values]
    await until_delivered(partial(rig.deliver, *updates))


async def test_each_connection_has_the_next_number(
    broker: Mosquitto,
) -> None:
    """The will has the number of its birth; each CONNECT counts on; births have all state."""
    rig = SparkplugRig(broker.url, [POINT])
    async with rig.watched() as host:
        for number in range(3):
            assert (host.is_online, host.bd_seq) == (True, number)
            await deliver_for_sure(rig, float(number))
            await host.catch_up()
            host.clear()
            await take_the_connection_away(host)
            await host.until(lambda: host.order[-2:] == ["NBIRTH", f"DBIRTH {ROOM}"])
            assert host.order == ["NDEATH", "NBIRTH", f"DBIRTH {ROOM}"]
            assert host.seen[0].payload["bdSeq"].value == number
            assert host.seen[0].payload.seq is None
            assert host.value(ROOM, "ZN-T") == number
        await rig.until("up")
    assert rig.status.reconnects == 3


async def test_the_number_goes_on_after_a_restart(broker: Mosquitto) -> None:
    """A late will of a killed gateway is no death of the next one."""
    retained: dict[str, bool] = {}
    for number in (0, 1, 2):
        rig = SparkplugRig(broker.url, [POINT], retained=dict(retained))
        async with rig.watched() as host:
            assert host.bd_seq == number
        retained = rig.retained
    assert len(retained) == 1


async def test_the_broker_publishes_the_death_after_a_kill(broker: Mosquitto) -> None:
    """After kill -9, the will has the number of the birth."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, broker.url, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        async with listen(broker.port) as host:
            await host.until(lambda: host.is_online)
            process.kill()
            await host.until(lambda: not host.is_online)
            assert host.is_dead(ROOM)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_clean_end_publishes_the_death(broker: Mosquitto, protocol: str) -> None:
    """NDEATH is published; with MQTT 5, the broker publishes the will, too, as specified.

    The session is a clean one, and the will has QoS 1 and is not retained.
    """
    async with listen(broker.port) as host:
        rig = SparkplugRig(broker.url, [POINT], protocol=protocol)
        async with rig.sink:
            await host.until(lambda: host.order == ["NBIRTH", f"DBIRTH {ROOM}"])
            await deliver_for_sure(rig, 21.5)
            await host.catch_up()
            assert host.value(ROOM, "ZN-T") == 21.5
        await host.until(lambda: not host.is_online)
        await host.catch_up()
        deaths = [message for message in host.seen if message.verb == "NDEATH"]
        assert len(deaths) == (2 if protocol == "5" else 1)
        assert {message.payload["bdSeq"].value for message in deaths} == {0}
        assert "Received DISCONNECT from " + CLIENT_ID in broker.log
        assert f"as {CLIENT_ID} (p{5 if protocol == '5' else 2}, c1, " in broker.log
        assert "bytes) (r0, q1)." in broker.log


async def test_births_after_an_outage_have_all_state(broker: Mosquitto) -> None:
    """A host that requests births after an outage gets all values of before and meanwhile."""
    rig = SparkplugRig(broker.url, [POINT, make_point("CH-1/CHWS-T")], rebirth_pause_s=0.1)
    async with rig.sink:
        await deliver_for_sure(rig, 21.0)
        broker.kill()
        delivering = asyncio.create_task(deliver_for_sure(rig, 21.5))
        await rig.until("away")
        await asyncio.to_thread(broker.start)
        await delivering
        async with listen(broker.port) as host:
            await host.request_rebirth()
            await host.until(lambda: len(host.tags) == 3)
            assert host.value(ROOM, "ZN-T") == 21.5
            assert host.value("CH-1", "CHWS-T") is None
    assert rig.status.reconnects == 1


async def test_a_frozen_broker_gets_the_batch_again(tmp_path: Path) -> None:
    """A write that the broker does not confirm fails, though its bytes were sent."""
    with Mosquitto(tmp_path) as broker:
        rig = SparkplugRig(broker.url, [POINT], keepalive="1s")
        async with rig.sink:
            await deliver_for_sure(rig, 21.0)
            broker.freeze()
            with pytest.raises(TransientError, match=r"acknowledged nothing|Keep alive timeout"):
                await rig.deliver(make_update(POINT, 21.5))
            broker.thaw()
            await deliver_for_sure(rig, 21.5)


async def test_a_rebirth_command_is_answered_with_all_births(broker: Mosquitto) -> None:
    """The session's number stays, and the sequence starts at 0."""
    rig = SparkplugRig(broker.url, [POINT])
    async with rig.sink:
        await deliver_for_sure(rig, 21.5)
        async with listen(broker.port) as host:
            await host.request_rebirth()
            await host.until(lambda: host.order == ["NBIRTH", f"DBIRTH {ROOM}"])
            assert (host.bd_seq, host.value(ROOM, "ZN-T")) == (0, 21.5)
            await deliver_for_sure(rig, 22.0)
            await host.catch_up()
            assert host.value(ROOM, "ZN-T") == 22.0


async def test_many_rebirth_commands_are_answered_twice(broker: Mosquitto) -> None:
    """The first at once, all others together after a pause; data goes on."""
    rig = SparkplugRig(broker.url, [POINT], rebirth_pause_s=5.0)
    async with rig.watched() as host:
        host.clear()
        demands = [None] * 20 + [b"no payload", b"", command(**{"Node Control/Reboot": True})]
        await asyncio.gather(*map(host.request_rebirth, demands))
        await deliver_for_sure(rig, 21.5)
        await host.catch_up()
        assert 1 <= host.order.count("NBIRTH") <= 2
        assert host.value(ROOM, "ZN-T") == 21.5
        await host.until(lambda: host.order.count("NBIRTH") == 2)


async def test_births_wait_for_the_primary_host(broker: Mosquitto) -> None:
    """Until it is online, nothing is sent, and a write fails with the reason."""
    rig = SparkplugRig(broker.url, [POINT], primary_host="scada")
    async with listen(broker.port) as host, rig.sink:
        for text in (
            '{"online":false,"timestamp":5}',
            "ONLINE",
            '{"online":true}',
            '{"online":true,"timestamp":4}',
        ):
            await host.publish_state(text)
        await host.publish_state('{"online":true,"timestamp":9}', name="another")
        with pytest.raises(TransientError, match="waiting for the primary host scada"):
            await rig.deliver(make_update(POINT, 21.5))
        assert host.order == []
        await host.publish_state('{"online":true,"timestamp":6}')
        await deliver_for_sure(rig, 21.5)
        await host.catch_up()
        assert host.value(ROOM, "ZN-T") == 21.5


async def test_a_primary_host_that_leaves_ends_the_session(broker: Mosquitto) -> None:
    """The node dies, and is born again when the host is back; an older state changes nothing."""
    rig = SparkplugRig(broker.url, [POINT], primary_host="scada")
    async with listen(broker.port) as host:
        await host.publish_state('{"online":true,"timestamp":6}')
        async with rig.sink:
            await rig.until("up")
            await host.publish_state('{"online":false,"timestamp":5}')
            await deliver_for_sure(rig, 21.5)
            await host.publish_state('{"online":false,"timestamp":7}')
            await rig.until("away")
            assert rig.status.last_error == "the primary host scada is offline"
            await host.until(lambda: not host.is_online)
            await host.publish_state('{"online":true,"timestamp":8}')
            await rig.until("up")
            await host.catch_up()
            assert host.value(ROOM, "ZN-T") == 21.5


async def test_without_its_subscription_the_node_is_not_born(tmp_path: Path) -> None:
    """If the broker refuses the subscription to commands, the status has the reason."""
    rules = tmp_path / "rules.json"
    may = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules.write_text(json.dumps({"defaultACLAccess": may}))
    plugin = ("plugin mosquitto_dynamic_security.so", f"plugin_opt_config_file {rules}")
    with Mosquitto(tmp_path, "allow_anonymous true", *plugin) as broker:
        rig = SparkplugRig(broker.url, [POINT])
        async with rig.sink:
            with pytest.raises(TransientError, match=r"refuses a subscription to spBv1\.0/hq/NCMD/edge-1"):
                await rig.deliver(make_update(POINT, 21.5))
