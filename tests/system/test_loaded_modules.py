"""What a daemon with an MQTT and a Modbus server sink loads: memory and time to start are mostly imports."""

from __future__ import annotations

import re
import urllib.request
from typing import TYPE_CHECKING

from support.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from support.mosquitto import Mosquitto

MODULE = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)
UNNEEDED = {
    "amqtt",
    "cryptography",
    "gateway.demo",
    "gateway.doctor",
    "gateway.event_report",  # until somebody looks at an event
    "gateway.infodeck.backfill",
    "gateway.sinks.modbus_client.link",
    "gateway.sinks.sparkplug.edge_node",
    "gateway.tools",
    "gateway.jetstream.connection",
    "google.protobuf",
    "nats",
    "prometheus_client",  # until somebody asks for metrics
    "pymodbus",
    "serial",
}


def test_a_daemon_loads_only_what_its_settings_need(tmp_path: Path, broker: Mosquitto) -> None:
    """What serves other sinks, an API key or Prometheus is not imported before it is needed."""
    daemon = Daemon(tmp_path, broker.port, program=["-X", "importtime", "-m", "gateway"])
    daemon.start()
    loaded = set(MODULE.findall(daemon.log))
    assert loaded >= {"gateway.sinks.mqtt.message_builder", "gateway.sinks.modbus_server.answers"}
    assert loaded & UNNEEDED == set()
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin_port}/metrics", timeout=60) as answer:
        assert b"gateway_ready 1.0" in answer.read()
    assert daemon.stop() == 0
    assert "prometheus_client" in MODULE.findall(daemon.log)
