"""BACnet clients of other makers: bacpypes3, and node-bacnet and @bacnet-js/client in JavaScript.

Each is a process that does requests (JSON lines) and reports what comes without being asked for. Objects are
written `analog-input,1`, properties `present-value`. Values come as lists, one element unless the property
is a list; enumerations are numbers, a bit string is a list of 0 and 1, NaN is "NaN".
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bacpypes3.basetypes import PropertyIdentifier
from bacpypes3.primitivedata import ObjectIdentifier

from support.ports import free_port
from support.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

Values = list[Any]

_HERE = Path(__file__).parent
MODULES = REPOSITORY / ".venv" / "bacnet-clients" / "node_modules"
_WITHIN_S = 60.0


class Maker(StrEnum):
    """The libraries."""

    BACPYPES = "bacpypes3"
    NODE_BACNET = "node-bacnet"
    BACNET_JS = "@bacnet-js/client"


class BacnetError(Exception):
    """An Error-PDU (error class, error code); a Reject- or Abort-PDU (reason)."""


@dataclass(frozen=True)
class IAm:
    """An I-Am; `address` without a port means 47808."""

    address: str
    device: int
    vendor: int


@dataclass(frozen=True)
class Notification:
    """A notification of a change of value."""

    is_confirmed: bool
    process: int
    device: int
    object: str
    remaining_s: int
    values: dict[str, Values]


class BacnetClient:
    """A running client of one device. Lists have what came; an I-Have is object and name."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.i_ams: list[IAm] = []
        self.i_haves: list[tuple[str, str]] = []
        self.notifications: list[Notification] = []
        self.failures: list[str] = []  # of the library, such as a socket that cannot be bound
        self._process = process
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._more = asyncio.Condition()
        self._is_ready = False

    async def discover(self, low: int | None = None, high: int | None = None) -> IAm:
        """Send a Who-Is to the device and return its I-Am."""
        known = len(self.i_ams)
        await self.who_is(low, high)
        await self.wait_for(lambda: len(self.i_ams) > known)
        return self.i_ams[known]

    async def who_is(
        self, low: int | None = None, high: int | None = None, *, broadcast: bool = False
    ) -> None:
        """Send a Who-Is to the device; or to all, which bacpypes3 does on its own port only."""
        await self._request("who-is", low=low, high=high, broadcast=broadcast)

    async def who_has(self, name: str) -> None:
        """Ask the device for an object by its name; bacpypes3 only."""
        await self._request("who-has", name=name)

    async def read(self, name: str, property_name: str, index: int | None = None) -> Values:
        """Read a property of an object."""
        answer: Values = await self._request(
            "read", object=_object(name), property=_property(property_name), index=index
        )
        return answer

    async def read_many(
        self, wanted: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[str, Values | dict[str, list[int]]]]:
        """Read properties of several objects at once; a refused one is `{"error": [class, code]}`."""
        objects = [(_object(name), [_property(each) for each in names]) for name, names in wanted.items()]
        answer = await self._request("read-many", objects=objects)
        return {_object_name(each): _by_name(values) for each, values in answer}

    async def write(self, name: str, property_name: str, value: float) -> None:
        """Write a real number."""
        await self._request("write", object=_object(name), property=_property(property_name), real=value)

    async def subscribe(
        self, name: str, *, process: int = 1, is_confirmed: bool = False, lifetime_s: int = 60
    ) -> None:
        """Subscribe to an object's changes."""
        await self._subscribe(name, process, cancel=False, confirmed=is_confirmed, lifetime=lifetime_s)

    async def unsubscribe(self, name: str, *, process: int = 1) -> None:
        """Cancel a subscription."""
        await self._subscribe(name, process, cancel=True, confirmed=False, lifetime=0)

    async def show(self, instance: int, value: float) -> None:
        """Let an analog input of this device itself show a value; bacpypes3 only."""
        await self._request("show", instance=instance, value=value)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is checked whenever something came."""
        async with asyncio.timeout(_WITHIN_S), self._more:
            await self._more.wait_for(condition)

    async def wait_until_ready(self) -> None:
        """Return once its socket is open."""
        await self.wait_for(lambda: self._is_ready)

    async def take_lines(self) -> None:
        """Read what the process prints to its end."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._more:
                self._take(json.loads(line))
                self._more.notify_all()
            await asyncio.sleep(0)  # what waits looks at it before the next line comes
        for answer in self._answers.values():
            answer.set_exception(RuntimeError("the client has ended; what it wrote stands above"))

    async def _subscribe(self, name: str, process: int, **given: Any) -> None:
        await self._request("subscribe", object=_object(name), process=process, **given)

    async def _request(self, kind: str, **given: Any) -> Any:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"number": number, "do": kind, **given}).encode() + b"\n")
        return await answer

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"number": number, "answer": answer}:
                self._answers.pop(number).set_result(answer)
            case {"number": number, "error": numbers}:
                self._answers.pop(number).set_exception(BacnetError(*numbers))
            case {"number": number, "failure": text}:
                self._answers.pop(number).set_exception(TimeoutError(text))
            case {"event": "ready"}:
                self._is_ready = True
            case {"event": "i-am", "address": address, "device": device, "vendor": vendor}:
                self.i_ams.append(IAm(address, device, vendor))
            case {"event": "i-have", "object": found, "name": name}:
                self.i_haves.append((_object_name(found), name))
            case {"event": "failure", "text": text}:
                self.failures.append(text)
            case _:
                self.notifications.append(_notification(line))


def _notification(line: dict[str, Any]) -> Notification:
    return Notification(
        is_confirmed=line["event"] == "confirmed",
        process=line["process"],
        device=line["device"][1],
        object=_object_name(line["object"]),
        remaining_s=line["remaining"],
        values=_by_name(line["values"]),
    )


def _object(name: str) -> list[int]:
    kind, instance = ObjectIdentifier(name)
    return [int(kind), instance]


def _object_name(found: list[int]) -> str:
    return str(ObjectIdentifier((found[0], found[1])))


def _property(name: str) -> int:
    return int(PropertyIdentifier(name))


def _by_name(values: list[tuple[int, Any]]) -> dict[str, Any]:
    return {str(PropertyIdentifier(number)): value for number, value in values}


@contextlib.asynccontextmanager
async def bacnet_client(
    maker: Maker,
    device: str,
    *,
    own: str = "127.0.0.3",
    broadcast: str = "127.255.255.255",
    answer_within_s: float = _WITHIN_S,
) -> AsyncIterator[BacnetClient]:
    """Run a client for the device at `ip:port`; broadcasts of the JavaScript clients go to its port.

    They raise TimeoutError without an answer in time; bacpypes3 asks four times within 12 s.
    """
    address = f"{own}:{free_port()}"
    if maker is Maker.BACPYPES:
        running = bacpypes(address, device=device)
    else:
        program = ("node", str(_HERE / "bacnet_node_process.js"), maker, address, device)
        port = device.partition(":")[2]
        running = _running(*program, f"{broadcast}:{port}", str(answer_within_s))
    async with running as client:
        yield client


@contextlib.asynccontextmanager
async def bacpypes(
    address: str,
    *,
    device: str = "127.0.0.2:47808",
    instance: int = 999,
    bbmd: str | None = None,
    is_bbmd: bool = False,
) -> AsyncIterator[BacnetClient]:
    """Run bacpypes3 at `ip:port` as a client of `device`, a device, a foreign device at `bbmd`, a BBMD."""
    ip, _, port = address.partition(":")
    role = ["bbmd"] if is_bbmd else ["foreign", bbmd] if bbmd else ["normal"]
    program = (sys.executable, str(_HERE / "bacpypes_process.py"), f"{ip}/8:{port}", device, str(instance))
    async with _running(*program, *role) as client:
        yield client


@contextlib.asynccontextmanager
async def _running(*command: str) -> AsyncIterator[BacnetClient]:
    assert MODULES.is_dir(), "the BACnet clients are not installed: make .venv/.bacnet-clients"
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"NODE_PATH": str(MODULES)},
    )
    client = BacnetClient(process)
    reading = asyncio.create_task(client.take_lines(), name=command[1])
    try:
        await client.wait_until_ready()
        yield client
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading
