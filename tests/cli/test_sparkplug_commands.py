"""A Sparkplug sink in `check`, `diff`, `points` and `explain`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from support.processes import run_gateway

from gateway.config.decode import read_document
from gateway.settings import load_settings
from gateway.settings.shape import Settings
from gateway.sinks.sparkplug.config import MqttSparkplugConfig

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
name: edge-1
infodeck: {{organization: o-1}}
intake: {{signing_secrets: [{{env: A}}]}}
journal: {{url: "sqlite://{folder}/journal.db"}}
mappings: .
sinks:
  scada: {{type: mqtt_sparkplug, url: "mqtt://10.0.0.5", group: hq, {keys}}}
"""
TABLE = """
schema: gateway.points/1
site: hq
points:
  - {tag: CH-1, point: CHWS-T, asset: ast-1, from: supply, unit: degC, description: Supply}
  - {tag: CH-1, point: STATE, asset: ast-1, from: state, mqtt: {to: [scada]}}
  - {tag: CH-1, point: NOT-HERE, asset: ast-1, from: other, mqtt: false}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with one table."""
    (tmp_path / "hq.yaml").write_text(TABLE)
    return write_settings(tmp_path, keys="node: plant")


def write_settings(folder: Path, *, keys: str) -> Path:
    """Write settings with one Sparkplug sink; return the file."""
    settings = folder / "settings"
    settings.mkdir()
    file = settings / "gateway.yaml"
    file.write_text(SETTINGS.format(folder=folder, keys=keys).replace("mappings: .", "mappings: .."))
    return file


def test_check_and_diff_accept_it(config: Path) -> None:
    """Tables may name the sink, and a table has no differences from itself."""
    checked = run_gateway("check", "-c", config)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert run_gateway("diff", config, config).returncode == 0


def test_diff_shows_moved_metrics(config: Path, tmp_path: Path) -> None:
    """A renamed point is another metric, another group moves all; an own topic does not matter."""
    table = tmp_path / "hq.yaml"
    before = tmp_path / "before"
    before.mkdir()
    (before / "hq.yaml").write_text(TABLE)
    table.write_text(TABLE.replace("CHWS-T", "CHWS").replace("to: [scada]", "to: [scada], topic: x"))
    done = run_gateway("diff", before, config, "-c", config)
    assert done.returncode == 1
    assert "CH-1/CHWS-T  spBv1.0/hq/DDATA/plant/CH-1 (CHWS-T)" in done.stdout
    assert "STATE" not in done.stdout
    table.write_text(TABLE)
    text = config.read_text()
    old = tmp_path / "settings" / "old.yaml"
    old.write_text(text)
    config.write_text(text.replace("group: hq", "group: lab"))
    printed = run_gateway("diff", old, config).stdout
    assert re.search(r"hq/DDATA/plant/CH-1 \(STATE\) +-> +spBv1\.0/lab/DDATA/plant/CH-1 \(STATE\)", printed)


def test_the_document_has_device_and_metric(config: Path) -> None:
    """Group, node, device and metric of each point."""
    document = run_gateway("points", "-c", config, "--format", "md").stdout
    assert (
        "## Sparkplug B: scada\n\n"
        "The broker is mqtt://10.0.0.5:1883. Group hq, edge node plant; each tag is a device, each point a"
        " metric; the property GatewayQuality of a metric has its quality as a word.\n\n"
        "| device | metric | in | without value | meaning |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| CH-1 | CHWS-T | degC | null | Supply |\n"
        "| CH-1 | STATE |  | null |  |\n"
    ) in document
    assert "NOT-HERE" not in document


def test_explain_shows_metric_and_quality(config: Path, tmp_path: Path) -> None:
    """The topic, the metric with value and type, and its quality code."""
    event = tmp_path / "event.json"
    telemetry = {"id": "ast-1", "telemetry": {"supply": 6.5, "state": "on"}}
    created = 4_000_000_000  # never too old
    body = {
        "id": "evt_1",
        "type": "asset.telemetry.updated",
        "created": created,
        "data": {"object": telemetry},
    }
    event.write_text(json.dumps(body | {"organizationId": "o-1", "livemode": True}))
    printed = run_gateway("explain", "-c", config, event).stdout
    assert "mqtt scada  spBv1.0/hq/DDATA/plant/CH-1  CHWS-T = 6.5  DOUBLE, quality 192" in printed
    assert 'STATE = "on"  STRING, quality 192' in printed


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("node: a/b", "node: becomes part of a topic, so it cannot start with $ or contain /, + or #"),
        ("primary_host: '#'", "primary_host: becomes part of a topic"),
        ("quality_codes: opc", "quality_codes:"),
        ("prefix: gw/v1", "prefix: unknown key"),
    ],
)
def test_wrong_settings_are_errors(tmp_path: Path, keys: str, problem: str) -> None:
    """Names are levels of topics; keys of other sinks are unknown."""
    document = read_document(write_settings(tmp_path, keys=keys), Settings, may_be_null=lambda _: False)
    (found,) = document.problems
    assert f"sinks.scada.{problem}" in str(found)


@pytest.mark.parametrize(("keys", "is_refused"), [("", True), ("node: edge-1", True), ("node: other", False)])
def test_two_sinks_with_one_node_on_one_broker_are_an_error(
    tmp_path: Path,
    keys: str,
    is_refused: bool,  # noqa: FBT001 - an expectation
) -> None:
    """Another node of the group is accepted."""
    file = write_settings(tmp_path, keys="")
    second = f'  second: {{type: mqtt_sparkplug, url: "mqtt://10.0.0.5", group: hq, {keys}}}\n'
    file.write_text(file.read_text() + second)
    problems = [str(problem) for problem in load_settings(file).problems]
    expected = (
        "sinks.second.group: sinks.scada is the same node on the same broker: set another `group` or `node`"
    )
    assert [expected in line for line in problems] == ([True] if is_refused else [])


def test_most_keys_have_defaults(tmp_path: Path) -> None:
    """The node has the gateway's name, and history is sent."""
    document = read_document(write_settings(tmp_path, keys=""), Settings, may_be_null=lambda _: False)
    sink = document.require().sinks["scada"]
    assert isinstance(sink, MqttSparkplugConfig)
    assert (sink.node_name("edge-1").node, sink.history, sink.quality_codes) == ("edge-1", True, "sparkplug")
