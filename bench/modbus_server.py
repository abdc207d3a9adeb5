"""The Modbus server: reads of 100 holding registers by 20 clients, against two other servers.

Ours, pymodbus's own (on the same event loop, uvloop) and libmodbus's own (C, its sockets polled from
Python) take turns in processes of their own; each client sends its next reads when the last ones are
answered. Prints reads/s and the server's CPU per read as ratios. pymodbus's server answers one of several
reads in a segment, so it takes part only where each client sends one at a time.

    python bench/modbus_server.py [--seconds 2] [--clients 20] [--rounds 3] [--window 10]
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from whole_path import cpu_s, free_port, running

_SERVERS = Path(__file__).with_name("_modbus_servers.py")
_COUNT = 100
_ANSWER_BYTES = 9 + 2 * _COUNT
_START_WITHIN_S = 20.0
_VALUES = struct.pack(f">{_COUNT}H", *range(_COUNT))


@dataclass
class _Client:
    """A connection with `window` reads under way at a time."""

    socket: socket.socket
    reads: bytes
    expected: int
    buffer: bytearray = field(default_factory=lambda: bytearray(1 << 16))
    received: int = 0
    answered: int = 0

    def go_on(self, window: int) -> None:
        """Take what came; when it is all, ask again."""
        self.received += self.socket.recv_into(memoryview(self.buffer)[self.received :])
        if self.received == self.expected:
            self.received = 0
            self.answered += window
            self.socket.send(self.reads)


def connect(port: int) -> socket.socket:
    """Connect as soon as the server is there."""
    deadline = time.monotonic() + _START_WITHIN_S
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def read_frame(transaction: int, function: int) -> bytes:
    """Make a read of 100 registers."""
    return struct.pack(">HHHBBHH", transaction, 0, 6, 1, function, 0, _COUNT)


def load(clients: list[_Client], window: int, seconds: float) -> float:
    """Return answered reads per second."""
    polled = selectors.DefaultSelector()
    for client in clients:
        polled.register(client.socket, selectors.EVENT_READ, client)
        client.socket.send(client.reads)
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        for key, _ in polled.select():
            key.data.go_on(window)
    took_s = time.perf_counter() - began
    return sum(client.answered for client in clients) / took_s


def measure(server: str, *, clients: int, window: int, seconds: float) -> tuple[float, float]:
    """Return reads/s, and the server's CPU seconds per read."""
    port = free_port()
    reads = b"".join(read_frame(i, 3) for i in range(window))
    with running(sys.executable, _SERVERS, server, str(port)) as process:
        connected = [_Client(connect(port), reads, window * _ANSWER_BYTES) for _ in range(clients)]
        used_s = cpu_s(process.pid)
        rate = load(connected, window, seconds)
        used_s = cpu_s(process.pid) - used_s
        last = connected[0]
        assert server == "libmodbus" or last.buffer[9:_ANSWER_BYTES] == _VALUES
        for client in connected:
            client.socket.close()
    return rate, used_s / (rate * seconds)


def compare(servers: list[str], *, rounds: int, clients: int, window: int, seconds: float) -> None:
    """Let the servers take turns, and print the medians of their ratios."""
    turns = [
        {each: measure(each, clients=clients, window=window, seconds=seconds) for each in servers}
        for _ in range(rounds)
    ]
    rate, cost = (statistics.median(column) for column in zip(*(turn["ours"] for turn in turns), strict=True))
    print(
        f"Modbus server, {clients} clients, {window} reads of {_COUNT} registers under way in each:"
        f" {rate:.0f} reads/s, {cost * 1e6:.1f} µs CPU per read"
    )
    for other in servers[1:]:
        faster = statistics.median(turn["ours"][0] / turn[other][0] for turn in turns)
        cheaper = statistics.median(turn["ours"][1] / turn[other][1] for turn in turns)
        print(f"  against {other}: {faster:.2f} times the reads/s, {cheaper:.2f} times the CPU per read")


def main() -> None:
    """Compare one read at a time, and several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=int, default=10)
    arguments = parser.parse_args()
    for window, servers in (
        (1, ["ours", "pymodbus", "libmodbus"]),
        (arguments.window, ["ours", "libmodbus"]),
    ):
        compare(
            servers,
            rounds=arguments.rounds,
            clients=arguments.clients,
            window=window,
            seconds=arguments.seconds,
        )


if __name__ == "__main__":
    main()
