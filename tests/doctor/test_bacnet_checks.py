"""Findings about BACnet devices."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from support.bacnet_clients import BacnetError, Maker, bacnet_client, bacpypes
from support.bacnet_parts import BacnetRig
from support.ports import free_port

if TYPE_CHECKING:
    from support.installation import Installation


@pytest.fixture
def device(installation: Installation) -> dict[str, Any]:
    """Add a BACnet sink; return its settings."""
    return installation.add_bacnet()


async def test_a_port_that_another_program_has(installation: Installation, device: dict[str, Any]) -> None:
    """While the gateway is down, a used port is a problem, with the command that shows its program."""
    host, _, port = device["listen"].partition(":")
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((host, int(port)))
        finding = (await installation.diagnose()).finding("BACnet")
    assert finding.level == "problem"
    assert (
        finding.found == f"sinks.bac.listen: {device['listen']} cannot be listened on: Address already in use"
    )
    assert f"ss -lunp 'sport = :{port}'" in (finding.remedy or "")


@pytest.mark.parametrize("is_running", [False, True])
async def test_another_device_with_the_same_instance(
    installation: Installation, device: dict[str, Any], *, is_running: bool
) -> None:
    """It is found and named, whether the gateway runs or not; a device with another instance is none."""
    port = device["listen"].partition(":")[2]
    if is_running:
        await asyncio.to_thread(installation.start)
    async with BacnetRig([], host="127.0.0.5", port=int(port), device=3102).make_sink():
        assert (await installation.diagnose()).finding("BACnet").level == "ok"
    async with BacnetRig([], host="127.0.0.6", port=int(port), device=3101).make_sink():
        finding = (await installation.diagnose()).finding("BACnet")
    assert finding.level == "problem"
    assert finding.found == f"bac: 127.0.0.6:{port} is device 3101, too"
    assert "sinks.bac.device" in (finding.remedy or "")


async def test_a_bbmd_that_does_not_answer(installation: Installation, device: dict[str, Any]) -> None:
    """It is a problem until a BBMD is there; of a running gateway, its own registration counts."""
    bbmd = f"127.0.0.7:{free_port()}"
    installation.change("sinks.bac", {**device, "foreign_device": {"bbmd": bbmd}})
    finding = (await installation.diagnose()).finding("BACnet")
    assert (finding.level, finding.found) == ("problem", f"bac: no BBMD answers: {bbmd}")
    async with bacpypes(bbmd, instance=1, is_bbmd=True):
        assert (await installation.diagnose()).finding("BACnet").level == "ok"
    await asyncio.to_thread(installation.start)
    finding = (await installation.diagnose()).finding("BACnet")
    assert finding.level == "problem"
    assert finding.found.endswith(f": {bbmd}")


async def test_an_address_that_no_controller_reaches(
    installation: Installation, device: dict[str, Any]
) -> None:
    """`allow` and `listen` are compared as for Modbus."""
    installation.change("sinks.bac", {**device, "allow": ["10.0.0.0/8"]})
    finding = (await installation.diagnose()).finding("BACnet")
    assert (finding.level, finding.found) == (
        "warning",
        f"sinks.bac.listen is {device['listen']}, where no other machine gets to",
    )


async def test_subscriptions_beyond_the_limits(installation: Installation, device: dict[str, Any]) -> None:
    """They are a warning, with the setting."""
    installation.change("sinks.bac", {**device, "max_subscriptions": 4})  # one for each client
    await asyncio.to_thread(installation.start)
    async with bacnet_client(Maker.BACNET_JS, device["listen"]) as client:
        await client.subscribe("analog-input,1", process=1)
        with pytest.raises(BacnetError):
            await client.subscribe("analog-input,1", process=2)
    finding = (await installation.diagnose()).finding("BACnet")
    assert finding.level == "warning"
    assert finding.found == "bac: 1 subscription refused since the start, beyond the limits"
    assert "sinks.bac.max_subscriptions" in (finding.remedy or "")
