"""The MQTT sink against a bare paho-mqtt publisher: QoS 1, the same broker, the same number in flight.

A real mosquitto, 1,000 points. The bare publisher runs in asyncio as paho's own example does, by its
socket callbacks, and sends payloads that were made before. The sink is written batches of 500 updates, as
delivery does, and makes payload and properties itself. Rounds alternate; the ratio is that of the medians.

    python bench/mqtt.py [--messages 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog
from _points import NewestValues, make_point
from _servers import broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from whole_path import free_port

from gateway.app import new_event_loop
from gateway.model import Quality, Update
from gateway.sinks.mqtt.sink import MqttConfig, MqttSink
from gateway.status import SinkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from paho.mqtt.client import SocketLike

    from gateway.model import Point

_POINTS = 1_000
_BATCH = 500  # updates that delivery hands a sink at most
_IN_FLIGHT = 20  # the sink's own setting where nothing else is written
_ROUND_S = 120.0


def make_table() -> NewestValues:
    """Return points without values, so that every update is its point's newest."""
    return NewestValues(
        make_point(f"RM{number}", "ZN-T", unit_of_measure="degC", stale_after_ms=5_400_000)
        for number in range(_POINTS)
    )


def make_updates(points: Sequence[Point], count: int) -> list[Update]:
    """Return updates of all points in turn, as readings bring them."""
    now_ms = time.time_ns() // 1_000_000
    return [
        Update(
            points[seq % len(points)], 20 + seq % 100 / 10, 21.5, Quality.GOOD, now_ms, seq, f"evt_{seq:016}"
        )
        for seq in range(1, count + 1)
    ]


class BarePublisher:
    """Paho-mqtt on asyncio, and nothing else: as many messages in flight as allowed, at all times."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._connected = self._loop.create_future()
        client = Client(CallbackAPIVersion.VERSION2, "bare", protocol=MQTTProtocolVersion.MQTTv5)
        client.max_inflight_messages_set(_IN_FLIGHT)
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_connect = lambda *_: self._connected.set_result(None)
        client.on_publish = lambda *_: self._room.release()
        client.connect("127.0.0.1", port)
        self._client = client

    async def __aenter__(self) -> Self:
        await self._connected
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.disconnect()

    async def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Return when the broker has acknowledged all."""
        for topic, payload in messages:
            await self._room.acquire()
            self._client.publish(topic, payload, qos=1, retain=True)
        for _ in range(_IN_FLIGHT):
            await self._room.acquire()
        for _ in range(_IN_FLIGHT):
            self._room.release()

    def _on_socket_open(self, client: Client, _: Any, sock: SocketLike) -> None:
        self._loop.add_reader(sock.fileno(), client.loop_read)

    def _on_socket_close(self, _client: Client, _: Any, sock: SocketLike) -> None:
        self._loop.remove_reader(sock.fileno())

    def _on_register_write(self, client: Client, _: Any, sock: SocketLike) -> None:
        self._loop.add_writer(sock.fileno(), client.loop_write)

    def _on_unregister_write(self, _client: Client, _: Any, sock: SocketLike) -> None:
        self._loop.remove_writer(sock.fileno())


def payload_of(update: Update) -> tuple[str, bytes]:
    """Return topic and payload as the sink publishes them, so that both send the same bytes."""
    value = (
        f'{{"value":{update.value},"unit":"degC","quality":"good",'
        f'"ts":"2026-11-24T08:00:00.123Z","event":"{update.event_id}"}}'
    )
    return f"gw/v1/bench/{update.point.name}", value.encode()


async def run_bare(port: int, updates: Sequence[Update]) -> float:
    """Return messages/s of the bare publisher."""
    messages = [payload_of(update) for update in updates]
    async with asyncio.timeout(_ROUND_S), BarePublisher(port) as publisher:
        await publisher.publish(messages[:_BATCH])  # warm
        began = time.perf_counter()
        await publisher.publish(messages)
        return len(messages) / (time.perf_counter() - began)


async def run_sink(port: int, updates: Sequence[Update], table: NewestValues) -> float:
    """Return messages/s of the sink."""
    config = MqttConfig(type="mqtt", url=f"mqtt://127.0.0.1:{port}", in_flight=_IN_FLIGHT)  # type: ignore[arg-type]  # parsed from text
    sink = MqttSink(
        name="bms",
        config=config,
        gateway="bench",
        points=table,
        latest=table,
        status=SinkStatus(type="mqtt"),
        retained={},
    )
    async with asyncio.timeout(_ROUND_S), sink:
        await sink.write(updates[:_BATCH])  # connects, and describes the points
        began = time.perf_counter()
        for start in range(0, len(updates), _BATCH):
            await sink.write(updates[start : start + _BATCH])
        return len(updates) / (time.perf_counter() - began)


def run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, float]) -> float:
    """Run to the end on a loop of this kind."""
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def measure(make_loop: Callable[[], asyncio.AbstractEventLoop], messages: int, rounds: int) -> None:
    """Alternate both publishers on one broker, and print medians and their ratio."""
    table, port = make_table(), free_port()
    updates = make_updates(table.points, messages)
    bare, sink = [], []
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder), port):
        for _ in range(rounds):
            bare.append(run(make_loop(), run_bare(port, updates)))
            sink.append(run(make_loop(), run_sink(port, updates, table)))
    loop = make_loop()
    kind = type(loop).__module__.partition(".")[0]
    loop.close()
    ours, theirs = statistics.median(sink), statistics.median(bare)
    print(
        f"MQTT sink on {kind}, QoS 1, {_IN_FLIGHT} in flight: {ours:.0f} messages/s, bare paho-mqtt"
        f" {theirs:.0f}; ratio {ours / theirs:.2f} (aim 0.90)"
    )


def main() -> None:
    """Measure on the loop that the daemon uses, and on asyncio's own where that is another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for make_loop in (new_event_loop, asyncio.new_event_loop):
        measure(make_loop, arguments.messages, arguments.rounds)


if __name__ == "__main__":
    main()
