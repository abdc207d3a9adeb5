"""docs/modbus.md: every command prints what is shown, every example is valid, every setting is explained."""

from __future__ import annotations

import re
import struct
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from support.config_files import complaints, write
from support.guides import Box, Commands, Guide
from support.libmodbus_controller import LibmodbusController
from support.mosquitto import Mosquitto

from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.settings import load_settings
from gateway.sinks.modbus_client.config import ModbusClientConfig, Serial
from gateway.sinks.modbus_server.answers import ModbusIdentity
from gateway.sinks.modbus_server.security import ModbusTls
from gateway.sinks.modbus_server.sink import ModbusServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUIDE = Guide("docs/modbus.md")
SINKS = {"bms": "mqtt", "regs": "modbus_server", "ahu": "modbus_client"}
SHAPES = (ModbusServerConfig, ModbusTls, ModbusIdentity, ModbusClientConfig, Serial)
ORDERS = {"ABCD": (0, 1, 2, 3), "CDAB": (2, 3, 0, 1), "BADC": (1, 0, 3, 2), "DCBA": (3, 2, 1, 0)}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Run the gateway with the page's settings and tables, and a controller instead of 192.0.2.10."""
    folder = tmp_path_factory.mktemp("box")
    with Mosquitto(folder) as broker, LibmodbusController() as controller:
        stand_ins = {"192.0.2.10": "127.0.0.1", "502": str(controller.port)}
        box = Box(folder, broker.port, guide=GUIDE, stand_ins=stand_ins)
        box.start()
        try:
            yield box
        finally:
            box.stop()


@pytest.mark.parametrize("commands", GUIDE.commands, ids=lambda commands: commands.script.splitlines()[0])
def test_commands(box: Box, commands: Commands) -> None:
    """Each block of commands prints what the page shows; they depend on each other, as on the page."""
    box.run(commands)


@pytest.mark.parametrize("text", GUIDE.settings)
def test_settings(tmp_path: Path, text: str) -> None:
    """Each example of sinks is valid."""
    assert complaints(load_settings(write(tmp_path, text, "gateway.yaml"))) == []


@pytest.mark.parametrize("text", GUIDE.tables)
def test_tables(tmp_path: Path, text: str) -> None:
    """Each example of a point table has no problems."""
    write(tmp_path, text, "example.yaml")
    assert [str(problem) for problem in load_point_map(TableInputs(tmp_path, SINKS)).problems] == []


def test_every_setting_is_explained() -> None:
    """The page names every key of the server's and the client's settings in code marks."""
    keys = {field.name for shape in SHAPES for field in fields(shape)}
    assert keys - GUIDE.words_in_code() == set()


def test_word_orders() -> None:
    """The page's bytes on the wire are those numbers in those orders, by this test's code alone."""
    numbers = [struct.pack(">I", 0x12345678), struct.pack(">f", 21.44), struct.pack(">Q", 0x0123456789ABCDEF)]
    for order, places in ORDERS.items():
        row = re.search(rf"^\| {order} \| (\d\d .*) \|$", GUIDE.text, flags=re.MULTILINE)
        assert row is not None
        assert [bytes.fromhex(cell) for cell in row[1].split("|")] == [
            reordered(number, places) for number in numbers
        ]


def reordered(number: bytes, places: tuple[int, ...]) -> bytes:
    """Return a number's bytes in an order of four; one of eight swaps its halves if words are swapped."""
    halves = [number[start : start + 4] for start in range(0, len(number), 4)]
    if places[0] > 1:  # low word first
        halves.reverse()
    return b"".join(bytes(half[place] for place in places) for half in halves)
