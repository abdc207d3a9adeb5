"""Commands for other programs at a running demo: how to poll, how to discover, and how to send."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import orjson

from gateway.model import ByteOrder, RegisterTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.demo.demo_building import SimulatedAsset
    from gateway.model import Point, Register

_TABLES = {
    RegisterTable.COIL: "0",
    RegisterTable.DISCRETE: "1",
    RegisterTable.INPUT: "3",
    RegisterTable.HOLDING: "4",
}
_FORMATS = {"bit": "", "int16": "", "uint16": "", "int32": ":int", "uint32": ":int", "float32": ":float"}


def poll_command(points: Iterable[Point], *, ports: Mapping[str, int]) -> str | None:
    """Return the command of mbpoll that reads the first measured point it can show, None if there is none.

    `ports` are those of the Modbus servers, by sink.
    """
    for point in points:
        for register in () if point.is_pseudo else point.registers:
            if _is_shown_by_mbpoll(register):
                order = " -B" if register.words > 1 and register.order is ByteOrder.ABCD else ""
                form = f"{_TABLES[register.table]}{_FORMATS[register.type]}{order}"
                server = f"mbpoll -m tcp -p {ports[register.sink]} -a {register.unit}"
                return f"{server} -0 -r {register.address} -t {form} -c 1 -1 127.0.0.1    ({point.name})"
    return None


def _is_shown_by_mbpoll(register: Register) -> bool:
    orders = {ByteOrder.ABCD} if register.words == 1 else {ByteOrder.ABCD, ByteOrder.CDAB}
    return register.type in _FORMATS and register.bit is None and register.order in orders


def bacnet_command(points: Iterable[Point], *, devices: Mapping[str, str]) -> str | None:
    """Return the command of bacpypes3 that finds a device and reads a measured point, None if there is none.

    `devices` are the addresses, `ip:port`, by sink.
    """
    for point in points:
        for shown in () if point.is_pseudo else point.objects:
            address = devices[shown.sink]
            requests = f"whois {address}\\nread {address} {shown.type},{shown.instance} present-value\\n"
            shell = "python3 -m bacpypes3 --address 127.0.0.3/8:0"
            return f"printf '{requests}' | {shell}    ({point.name}; pip install bacpypes3)"
    return None


def program() -> str:
    """Return what starts `gateway` in another terminal: the path that was typed, if it is not on the PATH."""
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "gateway" and shutil.which("gateway") is None else "gateway"


def send_command(asset: SimulatedAsset, *, config: Path) -> str:
    """Return the command that sends an event of the asset with one or two readings."""
    readings = asset.telemetry(0.0, Random(0))
    texts = [value if isinstance(value, str) else orjson.dumps(value).decode() for value in readings.values()]
    pairs = [f"{key}={text}" for key, text in zip(readings, texts, strict=True)][:2]
    command = [program(), "send", "-c", str(config), "--asset", asset.id, *pairs]
    return f"{shlex.join(command)}    ({asset.name})"
