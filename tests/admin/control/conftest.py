"""One daemon for a whole module; each test uses a room of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.mosquitto import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOMS = 12
TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: regs, table: input}}
templates:
  room:
    points:
      ZN-T: {from: temperature, unit: degC, range: [-20, 60], modbus: {register: 0, type: float32}}
      ZN-RH: {from: humidity, modbus: {register: 2, type: uint16, scale: 10}}
      OCC: {from: occupancy, map: {vacant: 0, occupied: 1}, modbus: {register: 3, bit: 0}}
      QUAL: {from: $quality, mqtt: false, modbus: {register: 4, type: uint16}}
assets:
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Run mosquitto."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as mosquitto:
        yield mosquitto


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway: room 3 is asset `ast-3`, tag `R3`, registers from 30 on."""
    folder = tmp_path_factory.mktemp("gw")
    (folder / "mappings").mkdir()
    rooms = "".join(f"  - {{id: ast-{n}, tag: R{n}, use: room, base: {10 * n}}}\n" for n in range(ROOMS))
    (folder / "mappings" / "rooms.yaml").write_text(TABLE + rooms)
    gateway = Daemon(folder, broker.port, tables=folder / "mappings")
    gateway.start()
    yield gateway
    gateway.kill()
