"""docs/mqtt.md: every command prints what is shown, every example is valid, every setting is explained."""

from __future__ import annotations

import json
import re
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from support.building import eventually, gateway, retained
from support.config_files import complaints, write
from support.daemon import ORGANIZATION
from support.guides import Box, Commands, Guide, not_printed
from support.mosquitto import Mosquitto

from gateway.settings import load_settings
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.sparkplug.config import MqttSparkplugConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GUIDE = Guide("docs/mqtt.md")
STATUS = "gw/v1/$gateway/edge-1/status"
ROOF = """\
schema: gateway.points/1
site: hq-tower
defaults: {stale_after: 2s}
points:
  - {tag: ROOF, point: T, asset: ast-roof1, from: temp, unit: degC, range: [-40, 60], stale_after: 30m}
  - {tag: ROOF, point: SILENT, asset: ast-roof2, from: temp, unit: degC}
  - {tag: ROOF, point: RH, asset: ast-roof2, from: rh, unit: percent, on_stale: hold}
  - {tag: ROOF, point: WIND, asset: ast-roof2, from: wind, unit: m/s, on_stale: {value: 0}}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Run the gateway with the page's settings, all of its sinks on one broker, and a table of the roof."""
    folder = tmp_path_factory.mktemp("box")
    with Mosquitto(folder) as broker:
        box = Box(folder, broker.port, guide=GUIDE)
        write(box.tables, ROOF, "roof.yaml")
        box.start()
        try:
            yield box
        finally:
            box.stop()


@pytest.mark.parametrize("commands", GUIDE.commands, ids=lambda commands: commands.script.splitlines()[0])
def test_commands(box: Box, commands: Commands) -> None:
    """Each block of commands prints what the page shows; they depend on each other, as on the page."""
    box.run(commands)


def test_a_message_of_each_quality(box: Box) -> None:
    """The broker has the page's messages when a point has that quality."""
    shown = re.findall(r"^\| (\w+) \| .* \| `(\{.*\})` \|$", GUIDE.text, flags=re.MULTILINE)
    on = {name: f"gw/v1/hq-tower/ROOF/{name}" for name in ("T", "SILENT", "RH", "WIND")}
    steps: list[tuple[str, str, Callable[[], Any]]] = [
        ("good", on["T"], lambda: send(box, "ast-roof1", "evt_roof1", "temp=20.5")),
        ("bad", on["T"], lambda: send(box, "ast-roof1", "evt_roof2", "temp=85")),
        ("forced", on["T"], lambda: gateway(box, "force", "ROOF/T", "18", "--for", "1m")),
        ("offline", on["T"], lambda: disconnect(box, "ast-roof1", "evt_roof9")),
        ("stale", on["SILENT"], lambda: send(box, "ast-roof2", "evt_roof3", "temp=20", "rh=61", "wind=3")),
        ("held", on["RH"], lambda: None),
        ("stale", on["WIND"], lambda: None),
    ]
    assert [quality for quality, _ in shown] == [quality for quality, _, _ in steps]
    for (quality, message), (_, topic, make_it_so) in zip(shown, steps, strict=True):
        make_it_so()
        assert not_printed(message, message_of(box, topic, quality)) is None


def message_of(box: Box, topic: str, quality: str) -> str:
    """Return the retained message of a topic once it has that quality."""
    eventually(lambda: retained(box.broker_port, topic)["quality"], quality)
    return json.dumps(retained(box.broker_port, topic), separators=(",", ":"))


def send(box: Box, asset: str, event_id: str, *readings: str) -> None:
    """Send readings, as `gateway send` does."""
    assert gateway(box, "send", "--asset", asset, "--id", event_id, *readings).returncode == 0


def disconnect(box: Box, asset: str, event_id: str) -> None:
    """Let Infodeck report that a device is not connected; no point is forced any more."""
    gateway(box, "release", "ROOF/T")
    event = {
        "id": event_id,
        "type": "asset.status.changed",
        "organizationId": ORGANIZATION,
        "created": int(time.time()),
        "livemode": True,
        "data": {"object": {"assetId": asset, "connectionStatus": False}},
    }
    assert box.post(json.dumps(event).encode())[0] == 200


def test_a_killed_gateway_is_offline_and_comes_back_whole(box: Box) -> None:
    """The will publishes it; after the restart status and retained values are back."""
    hall = "gw/v1/hq-tower/L04-HALL/ZN-RH"
    send(box, "ast-d9e0f1a2", "evt_hall", "humidity=39")
    eventually(lambda: retained(box.broker_port, hall)["value"], 39)
    before = retained(box.broker_port, hall)
    box.kill()
    eventually(lambda: status(box), "offline")
    box.start()
    eventually(lambda: status(box), "online")
    assert retained(box.broker_port, hall) == before


def status(box: Box) -> str:
    """Return the gateway's status as a new subscriber gets it."""
    return box.run(Commands(f"mosquitto_sub -p 1883 -C 1 -W 5 -t '{STATUS}'", None)).strip()


@pytest.mark.parametrize("text", GUIDE.settings)
def test_settings(tmp_path: Path, text: str) -> None:
    """Each example of sinks is valid."""
    assert complaints(load_settings(write(tmp_path, text, "gateway.yaml"))) == []


def test_every_setting_is_explained() -> None:
    """The page names every key of both kinds of sinks in code marks."""
    keys = {field.name for shape in (MqttConfig, MqttSparkplugConfig) for field in fields(shape)}
    assert keys - GUIDE.words_in_code() == set()
