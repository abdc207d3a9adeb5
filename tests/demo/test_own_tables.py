"""`gateway demo --mappings DIR`: the user's own tables, with readings for all of their assets."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from support.config_files import write
from support.daemon import REPOSITORY
from support.processes import GatewayProcess, run_gateway, run_script
from support.waiting import until

TABLE = """\
schema: gateway.points/1
site: clinic
defaults: {stale_after: 1m, modbus: {to: plc1, unit: 3, table: holding}, bacnet: false}
templates:
  valve:
    match: {asset_type: at-valve, name: "VLV *"}
    auto: true
    points:
      POS: {from: position, unit: percent, range: [0, 100]}
  pump:
    stride: 8
    points:
      FLOW: {from: flow, unit: m3/h, range: [0, 40], modbus: {register: 0, type: float32, order: CDAB}}
      PRESS:
        from: $.data.object.deep.pressure.value
        unit: kPa
        mqtt: {to: [site]}
        modbus: {to: panel, register: 2, type: uint16}
      RUN: {from: running, mqtt: {to: [cloud]}, modbus: {table: coil, register: 0, type: bit}}
assets:
  - {id: pump-1, tag: P-1, use: pump, base: 100}
  - {id: pump-2, tag: P-2, use: pump, base: 108, points: {FLOW: {bacnet: {to: [field], instance: 7}}}}
"""
SETTINGS = """\
infodeck: {organization: o}
intake: {signing_secrets: [{env: S}]}
mappings: tables
sinks:
  site: {type: mqtt, url: "mqtt://127.0.0.1:1884"}
  cloud: {type: mqtt, url: "mqtt://127.0.0.1"}
  plc1: {type: modbus_client, host: 127.0.0.1}
  panel: {type: modbus_server, listen: 127.0.0.1:5020}
  field: {type: bacnet, listen: 127.0.0.2:47808, device: 3101}
"""
POINTS = [f"{tag}/{point}" for tag in ("P-1", "P-2") for point in ("FLOW", "PRESS", "RUN")]


async def test_every_point_has_good_values(tmp_path: Path) -> None:
    """On every sink that the tables name; the printed commands poll and send, and no file is written."""
    out, tables = tmp_path / "out", tmp_path / "own tables"
    tables.mkdir()
    out.touch()
    write(tables, TABLE)
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    demo = GatewayProcess(
        ["demo", "--for", "60s", "--mappings", str(tables)],
        folder=REPOSITORY,
        streams=[Path(os.devnull), out, out],
        environment={"PYTHONUNBUFFERED": "1"},
    )
    good = [*POINTS, "VLV 1/POS", "VLV 2/POS", "VLV 3/POS"]
    await until(lambda: all(re.search(rf"^{name} .* good ", out.read_text(), re.MULTILINE) for name in good))
    lines = dict(re.findall(r"^([a-z ]+): +(.*?)(?:    \(.*)?$", out.read_text(), re.MULTILINE))
    assert "gw/cloud/clinic/P-1/RUN" in out.read_text()
    assert re.fullmatch(r"cloud: topics gw/cloud/#, panel: Modbus server on port \d+", lines["more sinks"])
    polled = re.search(r"^\[100\]:\s+(\S+)$", run_script(lines["poll"]), re.MULTILINE)
    assert polled is not None
    assert 0 <= float(polled[1]) <= 40
    device, value = run_script(lines["bacnet"], folder=tmp_path).splitlines()
    assert device.startswith("3101 127.0.0.2")
    assert 0 <= float(value) <= 40
    assert ': 200 {"received":true}' in run_script(lines["send"])
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(timeout=60) == 0
    assert "Traceback" not in out.read_text()
    assert before == {path.name: path.read_bytes() for path in tables.iterdir()}


def test_problems_are_reported_as_by_check(tmp_path: Path) -> None:
    """Each with its place in the user's file."""
    tables = tmp_path / "tables"
    tables.mkdir()
    write(tables, TABLE.replace("from: flow", "form: flow").replace("base: 108", "base: 99999"))
    done = run_gateway("demo", "--for", "1s", "--mappings", tables)
    checked = run_gateway("check", "-c", write(tmp_path, SETTINGS, "gateway.yaml"))
    *problems, summary = done.stderr.splitlines()
    assert (done.returncode, problems) == (1, checked.stderr.splitlines())
    assert len(problems) == 2
    assert summary == f"gateway: 2 problems in the point tables of {tables}"
