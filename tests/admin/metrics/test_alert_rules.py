"""The alert rules and the dashboard that are handed to the operator: valid, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.metrics import make_registry
from gateway.status import ClientsStatus, SecretStatus, SinkStatus, Status

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


def told() -> set[str]:
    """Return the names of all samples of a gateway that has everything there is to tell of."""
    status = Status(name="gw", started_ms=0)
    status.sinks["regs"] = SinkStatus(type="modbus_server", clients=ClientsStatus(), last_success_ms=1)
    status.reconcile.last_success_ms = 1
    status.intake.answers[200] = status.intake.refused["missing"] = status.intake.ignored_types["x"] = 1
    status.intake.secrets.append(SecretStatus("{file: secret}", changed_ms=1, last_used_ms=1))
    status.qualities["good"] = status.journal.last_event_ms = 1
    text = generate_latest(make_registry(status)).decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def queries(document: object) -> Iterator[str]:
    """Yield every query of a dashboard, wherever in it."""
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
def test_every_metric_that_is_asked_for_exists(file: Path) -> None:
    """A query for a misspelt name is silent for ever."""
    document = yaml.safe_load(file.read_text())
    asked = {name for query in queries(document) for name in NAME.findall(query)}
    assert len(asked) > 5
    assert asked - told() == set()


def test_prometheus_takes_the_rules() -> None:
    """`promtool check rules` has no objection."""
    checked = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(alerts())} rules found" in checked.stdout


def test_prometheus_takes_the_settings_that_the_guide_shows(tmp_path: Path) -> None:
    """`promtool check config` has no objection to them, and finds the rules where they say."""
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
    """By Prometheus's own evaluation, over hours of made-up series; there is a case for every rule."""
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(CASES, tmp_path)
    tested = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / CASES.name)], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert {rule["alert"] for rule in alerts()} == set(re.findall(r'alertname="(\w+)"', CASES.read_text()))


def test_every_alert_says_what_to_do() -> None:
    """Each has how bad it is, what is wrong, and what to do about it."""
    for rule in alerts():
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations.keys() == {"summary", "action"}


def test_the_dashboard_has_no_panel_without_a_query() -> None:
    """Each panel has a title, asks for something, and stands where no other one stands."""
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
