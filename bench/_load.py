"""The load: signed requests made beforehand, and connections that send them as fast as they are answered."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from typing import TYPE_CHECKING, Self, cast

from gateway.intake.signature import HEADER, sign

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = b"bench-secret"
ORGANIZATION = "o-bench"
PATH = "/webhooks/infodeck"
ASSETS = 500
_PACED_CONNECTIONS = 16


class Sender(asyncio.Protocol):
    """One connection: sends the next request as soon as the last one is answered with 200."""

    def __init__(self, requests: list[bytes], deadline: float) -> None:
        self.requests = requests
        self.deadline = deadline
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = cast("asyncio.Transport", transport)
        self.next()

    def data_received(self, data: bytes) -> None:
        """Count the answer; answers are small and come in one piece."""
        assert data.startswith(b"HTTP/1.1 200"), data
        self.answered += 1
        self.next()

    def next(self) -> None:
        """Send one request, or stop when the time is over."""
        if time.perf_counter() > self.deadline or not self.requests:
            self.transport.close()
            self.done.set_result(self.answered)
        else:
            self.transport.write(self.requests.pop())


def make_requests(count: int) -> list[bytes]:
    """Return signed requests, oldest first: no id comes twice, and no asset reports twice in a second."""
    now = int(time.time())
    requests = []
    for number in range(count):
        created = now - (count - 1 - number) // ASSETS
        body = (
            b'{"id":"evt_%b","type":"asset.telemetry.updated","organizationId":"o-bench","created":%d,"livemode":true,'
            b'"data":{"object":{"assetId":"ast-%d","telemetry":{"temperature":%d.5,"humidity":48,"co2":612}}}}'
        ) % (secrets.token_hex(12).encode(), created, number % ASSETS, number // ASSETS % 40)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"{HEADER}: {sign(body, SECRET, now)}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)
    return requests


async def load(port: int, requests: list[bytes], connections: int, seconds: float) -> float:
    """Return answered requests per second."""
    requests.reverse()  # senders take them from the end
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    senders = [
        (await loop.create_connection(lambda: Sender(requests, began + seconds), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    answered: int = sum(await asyncio.gather(*(sender.done for sender in senders)))
    return answered / (time.perf_counter() - began)


def random_times(count: int, rate: float, *, now_s: float) -> Iterator[float]:
    """Yield when each of some events is due: independent sensors report at random, `rate` times a second."""
    chance = random.Random(count)  # noqa: S311 - no secret
    for _ in range(count):
        now_s += chance.expovariate(rate)
        yield now_s


class ConnectionPool:
    """Connections to a server; each waits for the answer to one request.

    One is opened when all others wait: the gateway closes those that send nothing at first.
    """

    def __init__(self, port: int, count: int = _PACED_CONNECTIONS) -> None:
        self._port = port
        self._requests = asyncio.Semaphore(count)  # at once
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for _reader, writer in self._free:
            writer.close()

    async def post(self, request: bytes) -> None:
        """Send one request on a free connection, and wait for its 200."""
        async with self._requests:
            connection = (
                self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
            )
            reader, writer = connection
            writer.write(request)
            answer = await reader.readuntil(b'{"received":true}')
            assert answer.startswith(b"HTTP/1.1 200"), answer
            self._free.append(connection)


async def send_paced(port: int, requests: list[bytes], rate: float) -> None:
    """Send requests at random times, so many a second, whether or not earlier ones are answered."""
    async with ConnectionPool(port) as connections, asyncio.TaskGroup() as tasks:
        times = random_times(len(requests), rate, now_s=time.perf_counter())
        for request, due_s in zip(requests, times, strict=True):
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            tasks.create_task(connections.post(request))
