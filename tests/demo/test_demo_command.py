"""`gateway demo` as a process, with other commands run against it."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from support.processes import run_gateway, run_script
from support.running_demo import RunningDemo, running_demo

from gateway.cli.demo_files import demo_ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """Run the demo; its settings are gone when it has ended."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running
    assert not running.config.exists()


def test_other_commands_work_against_it(demo: RunningDemo) -> None:
    """Its settings are valid, and a sent event can be explained."""
    config = demo.config
    checked = run_gateway("check", "-c", config)
    assert (checked.returncode, checked.stderr) == (0, "")
    sent = run_gateway(
        "send", "-c", config, "--asset", "ast-demo-rm301", "--id", "evt_mine", "temperature=20"
    )
    assert sent.stdout == 'evt_mine: 200 {"received":true}\n'
    explained = run_gateway("explain", "-c", config, "evt_mine")
    assert "L03-RM301/ZN-T" in explained.stdout


async def test_its_infodeck_knows_the_building_and_the_webhook(demo: RunningDemo) -> None:
    """The API lists assets, types and locations; the webhook and its log are managed with the token."""
    config = demo.config
    infodeck = yaml.safe_load(config.read_text())["infodeck"]
    base = f"{infodeck['api']}/organizations/{infodeck['organization']}"
    key = {"X-Api-Key": (config.parent / infodeck["api_key"]["file"]).read_text()}
    token = (config.parent / infodeck["bearer_token"]["file"]).read_text()

    async def ask(path: str, headers: dict[str, str], method: str = "GET") -> Any:
        async with (
            aiohttp.ClientSession(headers=headers, raise_for_status=True) as session,
            session.request(method, base + path) as answer,
        ):
            return await answer.json()

    room = (await ask("/assets", key))["data"][0]
    assert (await ask("/asset-types/at-iaq", key))["name"] == "Indoor air quality sensor"
    assert {"temperature", "co2"} <= room["shadows"]["DeviceUplink"]["state"]["reported"].keys()
    locations = {item["id"]: item for item in (await ask("/locations", key))["data"]}
    assert locations[room["locationId"]]["parentId"] == "loc-tower"
    bearer = {"Authorization": f"Bearer {token}"}
    (webhook,) = (await ask("/webhooks", bearer))["data"]
    assert (webhook["url"], webhook["status"]) == (infodeck["webhook"]["url"], "Active")
    path = infodeck["webhook"]["rotate"].format(id=webhook["id"]).removesuffix("/rotate")
    await ask(f"{path}/test", bearer, "POST")
    deliveries = (await ask(f"{path}/deliveries", bearer))["data"]
    assert {entry["statusCode"] for entry in deliveries} == {200}


def test_a_bacnet_client_finds_and_reads_it(demo: RunningDemo, tmp_path: Path) -> None:
    """The printed command shows the device and the value of the first room."""
    command = demo.find(r"^bacnet: +(.*?)    \(L01-RM101/ZN-T")
    device, value = run_script(command, folder=tmp_path).splitlines()
    assert re.fullmatch(r"3101 127\.0\.0\.2(:\d+)?", device)
    assert 15 < float(value) < 30


def test_demos_that_start_at_once_get_different_ports() -> None:
    """A second demo takes no port that the first one has chosen, and does not listen on yet."""
    with demo_ports() as first, demo_ports() as second:
        assert not set(asdict(first).values()) & set(asdict(second).values())


def test_its_secrets_are_for_their_owner_alone(demo: RunningDemo) -> None:
    """Nobody else may read the secrets or their folder."""
    config = demo.config
    secrets = [config.parent / name for name in ("signing-secret", "api-key", "bearer-token")]
    assert [path.stat().st_mode & 0o077 for path in (config.parent, *secrets)] == [0, 0, 0, 0]


def test_it_serves_this_machine_alone(demo: RunningDemo) -> None:
    """All its TCP ports listen on 127.0.0.1."""
    process = demo.process
    links = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    own = {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[9] in own and columns[3] == "0A":
                listening.append(columns[1].split(":")[0])
    assert listening == ["0100007F"] * 5
