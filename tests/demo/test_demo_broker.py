"""The demo's broker with mosquitto's clients and the MQTT sink."""

from __future__ import annotations

import asyncio

import pytest
from support.mqtt_parts import STATUS_TOPIC, MqttRig, make_point, make_update

from gateway.demo.demo_broker import DemoBroker
from gateway.errors import CommandError


async def first_messages(port: int, count: int, *options: str) -> dict[str, str]:
    """Return the first `count` messages that a new `mosquitto_sub` gets, by topic."""
    command = ("mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", "#", "-F", "%t %p")
    process = await asyncio.create_subprocess_exec(
        *command, "-C", str(count), "-W", "60", *options, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return dict(line.split(" ", 1) for line in output.decode().splitlines())


async def publish(port: int, topic: str) -> None:
    """Publish "x" on a topic."""
    command = ("mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, "-m", "x")
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def wait_for_retained(port: int, expected: dict[str, str]) -> None:
    """Wait until a new subscriber gets exactly these retained messages."""
    async with asyncio.timeout(120):
        while await first_messages(port, len(expected), "-q", "0", "-W", "20") != expected:
            pass


async def test_our_sink_and_a_late_subscriber(capfd: pytest.CaptureFixture[str]) -> None:
    """Published values are retained; the broker prints nothing."""
    updates = [make_update(make_point(f"T/P{n}"), n) for n in range(200)]
    async with DemoBroker() as broker:
        rig = MqttRig(
            f"mqtt://127.0.0.1:{broker.port}", [u.point for u in updates], protocol="3.1.1", payload="value"
        )
        async with rig.sink:
            await rig.deliver(*updates)
            values = {f"gw/v1/hq/T/P{n}": str(n) for n in range(200)}
            await wait_for_retained(broker.port, {STATUS_TOPIC: "online"} | values)
    printed = capfd.readouterr()
    assert "sink.up" in printed.out
    assert len((printed.out + printed.err).splitlines()) == 1


async def test_a_client_gets_its_own_subscriptions_only() -> None:
    """A client gets the retained messages of its own subscriptions only."""
    update = make_update(make_point("T/P"), 1)
    async with DemoBroker() as broker:
        rig = MqttRig(f"mqtt://127.0.0.1:{broker.port}", [update.point], protocol="3.1.1", payload="value")
        async with rig.sink:
            await rig.deliver(update)
            await wait_for_retained(broker.port, {STATUS_TOPIC: "online", "gw/v1/hq/T/P": "1"})
            command = ("mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", STATUS_TOPIC)
            process = await asyncio.create_subprocess_exec(
                *command, "-t", "end", "-C", "2", "-W", "60", "-F", "%t %p", stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == f"{STATUS_TOPIC} online\n".encode()
            await publish(broker.port, "end")
            assert await process.stdout.read() == b"end x\n"
            await process.wait()


async def test_the_will_of_a_client_that_broke_off() -> None:
    """The will of a lost client is published, retained."""
    async with DemoBroker() as broker:
        command = (
            "mosquitto_sub",
            "-h",
            "127.0.0.1",
            "-p",
            str(broker.port),
            "-t",
            "x",
            "--will-topic",
            "gone",
        )
        process = await asyncio.create_subprocess_exec(
            *command,
            "--will-payload",
            "yes",
            "--will-retain",
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        connected = asyncio.create_task(process.stdout.readline())
        while not connected.done():
            await publish(broker.port, "x")
        process.kill()
        await process.wait()
        assert await first_messages(broker.port, 1) == {"gone": "yes"}


async def test_odd_clients_do_not_disturb_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Browsers, noise and silent clients neither stop it nor make it print."""
    async with DemoBroker() as broker:
        silent = await asyncio.open_connection("127.0.0.1", broker.port)
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), b"\x10\xff\xff\xff\xff"):
            _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
            writer.write(noise)
            writer.close()
            await writer.wait_closed()
        rig = MqttRig(f"mqtt://127.0.0.1:{broker.port}", [], protocol="3.1.1")
        async with rig.sink:
            await rig.until("up")
        assert (await first_messages(broker.port, 1))[STATUS_TOPIC] == "offline"
        silent[1].close()
    printed = capfd.readouterr()
    assert len((printed.out + printed.err).splitlines()) == 1


async def test_it_stops_while_clients_are_connected() -> None:
    """A connected subscriber does not delay the stop."""
    async with asyncio.timeout(60):
        async with DemoBroker() as broker:
            command = (
                "mosquitto_sub",
                "-h",
                "127.0.0.1",
                "-p",
                str(broker.port),
                "-t",
                "#",
                "-F",
                "%t",
                "-N",
            )
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            async with MqttRig(f"mqtt://127.0.0.1:{broker.port}", [], protocol="3.1.1").sink:
                assert process.stdout is not None
                assert await process.stdout.read(1) == b"g"
        process.kill()
        await process.wait()


async def test_a_port_in_use_is_an_error() -> None:
    """A port in use is a CommandError."""
    async with DemoBroker() as broker:
        with pytest.raises(CommandError, match=rf"cannot listen on 127.0.0.1:{broker.port}: .*in use"):
            async with DemoBroker(broker.port):
                pass
