"""The BACnet device beside bacpypes3's own: CPU per read and per notification, start, memory, longest pause.

Both run on uvloop in processes of their own, with 1,000 analog inputs, then with 20,000. Clients send their
next request when the last one is answered, and acknowledge a confirmed notification at once.

    python bench/bacnet.py [--seconds 2] [--clients 8] [--rounds 3]
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _bacnet_servers import HOST
from whole_path import cpu_s

from gateway.model import ObjectType
from gateway.sinks.bacnet import codec, frames
from gateway.sinks.bacnet.frames import Pdu, Peer
from gateway.sinks.bacnet.standard import ConfirmedService, Property

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROGRAM = Path(__file__).with_name("_bacnet_servers.py")
_CLIENT_HOST = "127.0.0.3"
_OBJECTS, _MANY_OBJECTS = 1_000, 20_000
_VALUES_AT_ONCE = 80
_BATCH = 50  # subscriptions of a client: as many unconfirmed notifications as it gets without a pause
_SUBSCRIPTIONS = 2_000
_CHANGES = 10
_WITHIN_S = 10.0
_APDU = 6  # where it begins, behind the headers of the virtual link and of the network


class Server(NamedTuple):
    """A running server, and what its objects cost."""

    process: subprocess.Popen[bytes]
    peer: Peer
    start_s: float
    mib: float

    def change(self, count: int) -> None:
        """Change the values of the first objects; `pause_ms` reads the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"%d\n" % count)
        self.process.stdin.flush()

    def pause_ms(self) -> float:
        """Return the longest pause of the server's loop since the last call."""
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())


@contextmanager
def serving(which: str, objects: int) -> Iterator[Server]:
    """Run a server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        _, port = probe.getsockname()
    command = (sys.executable, _PROGRAM, which, str(port), str(objects))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            start_s, mib = map(float, process.stdout.readline().split())
            yield Server(process, Peer(HOST, port), start_s, mib)
        finally:
            process.kill()


class Client:
    """A socket. `notified` counts the notifications that came; confirmed ones are acknowledged."""

    def __init__(self, server: Peer) -> None:
        self.server = server
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((_CLIENT_HOST, 0))
        self.socket.connect(server.address)
        self.socket.settimeout(_WITHIN_S)
        self.answered = self.notified = 0

    def send(self, apdu: bytes, *, expects_reply: bool = True) -> None:
        """Send to the server."""
        self.socket.send(frames.unicast(apdu, self.server, expects_reply=expects_reply))

    def receive(self) -> None:
        """Receive one datagram."""
        apdu = self.socket.recv(2048)[_APDU:]
        kind = apdu[0] >> 4
        if kind in {Pdu.COMPLEX_ACK, Pdu.SIMPLE_ACK}:
            self.answered += 1
            return
        assert kind in {Pdu.UNCONFIRMED_REQUEST, Pdu.CONFIRMED_REQUEST}, apdu.hex()
        self.notified += 1
        if kind == Pdu.CONFIRMED_REQUEST:
            ack = frames.simple_ack(apdu[2], ConfirmedService.CONFIRMED_COV_NOTIFICATION)
            self.send(ack, expects_reply=False)

    def subscribe(self, instances: Sequence[int], *, is_confirmed: bool) -> None:
        """Subscribe to objects, one after the other, and receive what they show now."""
        for process, instance in enumerate(instances, 1):
            self.send(_subscribe(process, instance, is_confirmed=is_confirmed))
            while self.answered < process:
                self.receive()
        while self.notified < len(instances):
            self.receive()


def _object(instance: int) -> bytes:
    return codec.object_data(ObjectType.ANALOG_INPUT.number, instance)


_LIFETIME = codec.unsigned_data(3600)  # s
_PRESENT_VALUE = codec.unsigned_data(Property.PRESENT_VALUE)


def _read(instance: int) -> bytes:
    body = codec.context(0, _object(instance)) + codec.context(1, _PRESENT_VALUE)
    return frames.confirmed_request(ConfirmedService.READ_PROPERTY, instance & 0xFF, body)


def _read_many(first: int) -> bytes:
    wanted = codec.opening(1) + codec.context(0, _PRESENT_VALUE) + codec.closing(1)
    objects = (codec.context(0, _object(first + at)) + wanted for at in range(_VALUES_AT_ONCE))
    return frames.confirmed_request(ConfirmedService.READ_PROPERTY_MULTIPLE, first & 0xFF, b"".join(objects))


def _subscribe(process: int, instance: int, *, is_confirmed: bool) -> bytes:
    numbers = (codec.unsigned_data(process), _object(instance), bytes((is_confirmed,)), _LIFETIME)
    body = b"".join(codec.context(tag, data) for tag, data in enumerate(numbers))
    return frames.confirmed_request(ConfirmedService.SUBSCRIBE_COV, process & 0xFF, body)


def _readable(polled: selectors.BaseSelector) -> list[Client]:
    """Return the clients that have something to receive."""
    ready = polled.select(_WITHIN_S)
    assert ready, "waited in vain"
    return [key.data for key, _ in ready]


def measure_reads(server: Server, requests: Sequence[bytes], *, clients: int, seconds: float) -> float:
    """Return the server's CPU per request in µs."""
    polled = selectors.DefaultSelector()
    connected = [Client(server.peer) for _ in range(clients)]
    for client, request in zip(connected, requests, strict=False):
        polled.register(client.socket, selectors.EVENT_READ, client)
        client.send(request)
    used_s, count, until = cpu_s(server.process.pid), clients, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for client in _readable(polled):
            client.receive()
            client.send(requests[count % len(requests)])
            count += 1
    used_s = cpu_s(server.process.pid) - used_s
    for client in connected:
        client.socket.close()
    return used_s / count * 1e6


def measure_notifications(server: Server, *, seconds: float, is_confirmed: bool) -> float:
    """Return the server's CPU per notification in µs; the change of the value is part of it."""
    subscribers = _subscribers(server, _OBJECTS, is_confirmed=is_confirmed)
    rounds, used_s, until = 0, cpu_s(server.process.pid), time.perf_counter() + seconds
    while time.perf_counter() < until:
        _change_all(server, subscribers, _OBJECTS)
        server.pause_ms()
        rounds += 1
    used_s = cpu_s(server.process.pid) - used_s
    return used_s / (rounds * _OBJECTS) * 1e6


def _subscribers(server: Server, count: int, *, is_confirmed: bool) -> list[Client]:
    """Return clients that have subscribed to the first objects, each to some."""
    subscribers = [Client(server.peer) for _ in range(count // _BATCH)]
    for number, client in enumerate(subscribers):
        client.subscribe(range(number * _BATCH + 1, (number + 1) * _BATCH + 1), is_confirmed=is_confirmed)
    return subscribers


def _change_all(server: Server, subscribers: Sequence[Client], count: int) -> None:
    """Change the first objects, and return when all notifications have come."""
    with selectors.DefaultSelector() as polled:
        for client in subscribers:
            polled.register(client.socket, selectors.EVENT_READ, client)
        goal = sum(client.notified for client in subscribers) + count
        server.change(count)
        while sum(client.notified for client in subscribers) < goal:
            for client in _readable(polled):
                client.receive()


def measure_pause(server: Server) -> float:
    """Return the longest pause in ms while all objects change, each with a confirmed subscription."""
    subscribers = _subscribers(server, _SUBSCRIPTIONS, is_confirmed=True)
    server.change(0)
    server.pause_ms()  # up to here
    for _ in range(_CHANGES):
        _change_all(server, subscribers, _SUBSCRIPTIONS)
    server.change(0)
    return max(server.pause_ms() for _ in range(_CHANGES + 1))


def measure(which: str, *, clients: int, seconds: float) -> Iterator[float]:
    """Yield a value for each of `_TITLES`; the last one of ours alone, others take minutes."""
    with serving(which, _OBJECTS) as server:
        reads = [_read(instance) for instance in range(1, _OBJECTS + 1)]
        yield measure_reads(server, reads, clients=clients, seconds=seconds)
        many = [_read_many(first) for first in range(1, _OBJECTS - _VALUES_AT_ONCE + 2)]
        yield measure_reads(server, many, clients=clients, seconds=seconds)
    for is_confirmed in (False, True):
        with serving(which, _OBJECTS) as server:
            yield measure_notifications(server, seconds=seconds, is_confirmed=is_confirmed)
    with serving(which, _MANY_OBJECTS) as server:
        yield server.start_s * 1e3
        yield server.mib
        if which == "ours":
            yield measure_pause(server)


_TITLES = {
    "ReadProperty, CPU": "µs",
    f"ReadPropertyMultiple of {_VALUES_AT_ONCE} values, CPU": "µs",
    "unconfirmed notification of a change, CPU": "µs",
    "confirmed notification of a change, CPU": "µs",
    f"{_MANY_OBJECTS:,} objects, ready after": "ms",
    f"{_MANY_OBJECTS:,} objects, memory": "MiB",
    f"{_SUBSCRIPTIONS:,} confirmed subscriptions that all change, longest pause of the loop": "ms",
}


def main() -> None:
    """Compare, and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    turns = [
        {each: list(measure(each, clients=arguments.clients, seconds=arguments.seconds)) for each in _SERVERS}
        for _ in range(arguments.rounds)
    ]
    for row, (title, unit) in enumerate(_TITLES.items()):
        ours = statistics.median(turn["ours"][row] for turn in turns)
        print(f"{title}: {ours:.3g} {unit}{_comparison(turns, row)}")


def _comparison(turns: list[dict[str, list[float]]], row: int) -> str:
    """Return the median of the ratios of a row, empty if bacpypes3 did not take part."""
    if row >= len(turns[0]["bacpypes3"]):
        return ""
    ratio = statistics.median(turn["bacpypes3"][row] / turn["ours"][row] for turn in turns)
    return f"; bacpypes3 {ratio:.1f} times as much"


_SERVERS = ("ours", "bacpypes3")


if __name__ == "__main__":
    main()
