"""The BACnet servers that are measured: each runs in a process of its own until its input ends.

    python bench/_bacnet_servers.py ours|bacpypes3 PORT OBJECTS

It prints what OBJECTS analog inputs cost, in s and MiB, once they can be read. Each line of input
changes the values of the first so many; the answer is the longest pause of the event loop since the last
one, in ms.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import uvloop
from _points import NewestValues, make_point

from gateway.config.value_types import HostPort
from gateway.model import BacnetObject, ObjectType, Point, Quality, Update
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.status import SinkStatus

DEVICE = 3101
HOST = "127.0.0.2"
_LOOK_EVERY_S = 0.001

Change = Callable[[int, float], object]
"""Gives the first so many objects a value."""


class Pauses:
    """The longest time that the event loop did not turn, in CPU time: others on this machine don't count."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._watching = asyncio.create_task(self._watch(), name="pauses")

    def take_ms(self) -> float:
        """Return the longest pause since the last call."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s * 1e3

    async def _watch(self) -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(_LOOK_EVERY_S)
            self._longest_s = max(self._longest_s, time.thread_time() - began_s)


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def _obey(change: Change, used: tuple[float, float]) -> None:
    """Print what the start used, then change values as the input says."""
    pauses, values = Pauses(), itertools.count(-1, -1)  # which no object has at the start
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(*used, flush=True)
    async for line in lines:
        changed = change(int(line), float(next(values)))
        if asyncio.iscoroutine(changed):
            await changed
        print(pauses.take_ms(), flush=True)


def _update(point: Point, value: float) -> Update:
    return Update(point, value, value, Quality.GOOD, 1, seq=1, event_id="evt_1")


async def _ours(port: int, number: int) -> None:
    from gateway.sinks.bacnet.sink import BacnetSink  # noqa: PLC0415 - counts as the start

    points = [
        make_point("RM", str(at), objects=(BacnetObject("bac", ObjectType.ANALOG_INPUT, at),))
        for at in range(1, number + 1)
    ]
    values = NewestValues(points)
    values.newest = {point: _update(point, at) for at, point in enumerate(points, 1)}
    began_s, before_mib = time.perf_counter(), _resident_mib()
    sink = BacnetSink(
        name="bac",
        config=BacnetConfig(
            type="bacnet",
            listen=HostPort(HOST, port),
            device=DEVICE,
            broadcast=IPv4Address("127.255.255.255"),
        ),
        gateway="bench",
        points=values,
        latest=values,
        status=SinkStatus(type="bacnet"),
    )

    async def change(count: int, value: float) -> None:
        batch = [_update(point, value) for point in points[:count]]
        values.newest.update((update.point, update) for update in batch)
        await sink.write(batch)

    async with sink:
        await _obey(change, (time.perf_counter() - began_s, _resident_mib() - before_mib))


async def _bacpypes3(port: int, number: int) -> None:
    from bacpypes3.ipv4.app import NormalApplication  # noqa: PLC0415 - not in the process of ours
    from bacpypes3.local.analog import AnalogInputObject  # noqa: PLC0415 - likewise
    from bacpypes3.local.device import DeviceObject  # noqa: PLC0415 - likewise
    from bacpypes3.pdu import IPv4Address as Address  # noqa: PLC0415 - likewise
    from bacpypes3.primitivedata import Real  # noqa: PLC0415 - likewise
    from bacpypes3.service.cov import ChangeOfValueServices  # noqa: PLC0415 - likewise

    class Application(NormalApplication, ChangeOfValueServices):  # type: ignore[misc]
        pass

    began_s, before_mib = time.perf_counter(), _resident_mib()
    device = DeviceObject(objectIdentifier=("device", DEVICE), objectName="bench", vendorIdentifier=999)
    application = Application(device, Address(f"{HOST}/8:{port}"))
    objects = []
    for at in range(1, number + 1):
        added = AnalogInputObject(
            objectIdentifier=("analog-input", at),
            objectName=f"RM/{at}",
            presentValue=float(at),
            covIncrement=0.0,
        )
        application.add_object(added)
        objects.append(added)

    await application.normal.server._local_transport_ready.wait()  # noqa: SLF001 - nothing public says it

    def change(count: int, value: float) -> None:
        for each in objects[:count]:
            each.presentValue = Real(value)

    await _obey(change, (time.perf_counter() - began_s, _resident_mib() - before_mib))


def main() -> None:
    """Run the one that is asked for."""
    which, port, objects = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    uvloop.run(_ours(port, objects) if which == "ours" else _bacpypes3(port, objects))


if __name__ == "__main__":
    main()
