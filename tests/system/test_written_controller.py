"""A gateway that writes into a controller: outages of either, and the heartbeat."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from support.building import eventually, gateway
from support.daemon import Daemon, telemetry
from support.libmodbus_controller import LibmodbusController
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = """\
schema: gateway.points/1
site: hq
defaults: {modbus: {to: ahu, table: holding, unit: 3}}
points:
  - {tag: CH, point: CHWS-T, asset: ast-77aa, from: t, range: [-5, 30], modbus: {register: 40, type: float32}}
  - {tag: CH, point: FLOW, asset: ast-77aa, from: flow, modbus: {register: 42, type: int16, scale: 10}}
  - {tag: CH, point: RUN, asset: ast-77aa, from: running, modbus: {table: coil, register: 0}}
  - {tag: CH, point: WRONG, asset: ast-77aa, from: wrong, modbus: {register: 9999, type: int32}}
system:
  heartbeat: {every: 1s, modbus: {unit: 1, register: 0, type: uint16}}
"""


@pytest.fixture
def controller() -> Iterator[LibmodbusController]:
    """Return a running controller."""
    with LibmodbusController() as running:
        yield running


@pytest.fixture
def daemon(tmp_path: Path, controller: LibmodbusController) -> Iterator[Daemon]:
    """Return a running gateway that writes into the controller, and whose broker is away."""
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "plant.yaml").write_text(TABLE)
    daemon = Daemon(tmp_path, broker_port=free_port(), tables=tmp_path / "mappings")
    client = f"  ahu: {{type: modbus_client, host: 127.0.0.1, port: {controller.port}, timeout: 500ms}}\n"
    daemon.config.write_text(daemon.config.read_text().replace("mappings:", f"{client}mappings:"))
    daemon.start()
    yield daemon
    daemon.kill()


def post(daemon: Daemon, number: int, **readings: float) -> None:
    """Post an event."""
    assert daemon.post(telemetry(f"evt_{number}", "ast-77aa", readings))[0] == 200


def shown(controller: LibmodbusController) -> list[float]:
    """Return the controller's registers of the plant."""
    return [
        *controller.floats(40, unit=3),
        *controller.registers(42, unit=3),
        *controller.coils(0, unit=3),
    ]


def sink(daemon: Daemon, field: str) -> object:
    """Return the status of the sink."""
    return daemon.status()["sinks"]["ahu"][field]


def test_a_controller_that_restarts_empty(daemon: Daemon, controller: LibmodbusController) -> None:
    """It gets all values again, also those that came meanwhile, and the heartbeat goes on."""
    post(daemon, 1, t=6.5, running=1, flow=12.3)
    eventually(lambda: shown(controller), [6.5, 123, 1])
    beat = controller.registers(0)
    eventually(lambda: controller.registers(0) != beat, expected=True)
    controller.kill()
    eventually(lambda: sink(daemon, "state"), "away")
    for number in range(2, 60):
        post(daemon, number, t=number / 2)
    controller.start()
    eventually(lambda: shown(controller), [29.5, 123, 1])
    eventually(lambda: controller.registers(0) != [0], expected=True)
    eventually(lambda: (sink(daemon, "state"), sink(daemon, "lag")), ("up", 0))
    assert sink(daemon, "reconnects") == 1


def test_a_gateway_that_dies(daemon: Daemon, controller: LibmodbusController) -> None:
    """The heartbeat stops. After a restart, a controller that was emptied meanwhile gets all values."""
    post(daemon, 1, t=6.5, running=1, flow=12.3)
    eventually(lambda: shown(controller), [6.5, 123, 1])
    daemon.kill()
    controller.kill()
    controller.start()
    assert shown(controller) == [0, 0, 0]
    daemon.start()
    eventually(lambda: shown(controller), [6.5, 123, 1])


def test_a_register_that_the_controller_lacks(daemon: Daemon, controller: LibmodbusController) -> None:
    """Its values are dead letters with the reason; all others arrive."""
    post(daemon, 1, t=6.5, wrong=5, running=1, flow=12.3)
    eventually(lambda: shown(controller), [6.5, 123, 1])
    eventually(lambda: sink(daemon, "dead_letters"), 1)
    assert "exception 2 (illegal data address) for unit 3, holding 9999-10000" in daemon.log
    post(daemon, 2, t=31, flow=1)
    eventually(lambda: controller.registers(42, unit=3), [10])
    assert math.isnan(controller.floats(40, unit=3)[0])


def test_a_forced_value_and_a_changed_table(daemon: Daemon, controller: LibmodbusController) -> None:
    """`gateway force` and an edited table reach the controller."""
    post(daemon, 1, t=6.5, running=1, flow=12.3)
    eventually(lambda: shown(controller), [6.5, 123, 1])
    assert gateway(daemon, "force", "CH/CHWS-T", "12.5", "--for", "5m").returncode == 0
    eventually(lambda: shown(controller), [12.5, 123, 1])
    (daemon.tables / "plant.yaml").write_text(TABLE.replace("register: 42", "register: 50"))
    eventually(lambda: controller.registers(50, unit=3), [123])
    assert shown(controller) == [12.5, 123, 1]
    refused = TABLE.replace("register: 40, type: float32", "table: input, register: 40, type: float32")
    (daemon.tables / "plant.yaml").write_text(refused)
    checked = gateway(daemon, "check")
    assert checked.returncode == 1
    assert "input registers can only be read: write into holding registers" in checked.stderr
