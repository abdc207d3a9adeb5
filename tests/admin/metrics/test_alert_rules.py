"""The shipped alert rules and Grafana dashboard are valid and query existing metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.metrics import encode_metrics
from gateway.status import BacnetStatus, ClientsStatus, SecretStatus, SinkStatus, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[3]
ALERTS = REPOSITORY / "config" / "prometheus" / "alerts.yaml"
DASHBOARD = REPOSITORY / "config" / "grafana" / "gateway.json"
CASES = Path(__file__).with_name("alerts_cases.yaml")
NAME = re.compile(r"\b(?:gateway|process|python)_\w+\b")


def alerts() -> list[dict[str, object]]:
    """Return every rule."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def exposed() -> set[str]:
    """Return the names of all samples of a gateway that has every metric."""
    status = Status(name="gw", started_ms=0)
    status.sinks["regs"] = SinkStatus(type="modbus_server", clients=ClientsStatus(), last_success_ms=1)
    device = BacnetStatus(registration="registered")
    status.sinks["bac"] = SinkStatus(type="bacnet", bacnet=device)
    status.reconcile.last_success_ms = 1
    status.intake.answers[200] = status.intake.refused["missing"] = status.intake.ignored_types["x"] = 1
    status.intake.secrets.append(SecretStatus("{file: secret}", changed_ms=1, last_used_ms=1))
    status.qualities["good"] = status.journal.last_event_ms = 1
    text = encode_metrics(status, accept="")[0].decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def queries(document: object) -> Iterator[str]:
    """Yield every query of a dashboard."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from queries(value)
    elif isinstance(document, list):
        for each in document:
            yield from queries(each)


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_every_queried_metric_exists(file: Path) -> None:
    """A query for a misspelt name would be silent for ever."""
    document = yaml.safe_load(file.read_text())
    asked = {name for query in queries(document) for name in NAME.findall(query)}
    assert len(asked) > 5
    assert asked - exposed() == set()


def test_prometheus_accepts_the_rules() -> None:
    """`promtool check rules` has no objection."""
    checked = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alerts())} rules found" in checked.stdout


def test_prometheus_accepts_the_settings_of_the_guide(tmp_path: Path) -> None:
    """`promtool check config` has no objection, and finds the rules."""
    guide = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"^```yaml\n(rule_files.*?)^```$", guide, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "prometheus.yml").write_text(settings)
    (tmp_path / "gateway").mkdir()
    shutil.copy(ALERTS, tmp_path / "gateway")
    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout


def test_each_fault_raises_its_alert_and_health_raises_none(tmp_path: Path) -> None:
    """Prometheus evaluates every rule over made-up series."""
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(CASES, tmp_path)
    tested = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / CASES.name)], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert {rule["alert"] for rule in alerts()} == set(re.findall(r'alertname="(\w+)"', CASES.read_text()))


def test_every_alert_says_what_to_do() -> None:
    """Each has a severity, a summary and a remedy."""
    for rule in alerts():
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations.keys() == {"summary", "action"}


def test_the_dashboard_has_no_panel_without_a_query() -> None:
    """Each panel has a title and a query, and none overlaps another."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        place = panel["gridPos"]
        cells = {
            (place["x"] + across, place["y"] + down)
            for across in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
