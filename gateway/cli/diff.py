"""`gateway diff`: what a change of point tables does to topics and registers, before a BMS notices.

Exit code 0: nothing that breaks an existing BMS database; 1: something that does; 2: OLD or NEW cannot
be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.cli.terminal import print_failure, problems_of
from gateway.errors import CommandError, GatewayError
from gateway.mapping.topics import sparkplug_scheme
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig
from gateway.tools.diff import compare
from gateway.tools.diff_inventory import inventory_from_csv, inventory_like_csv, inventory_of
from gateway.tools.diff_report import CHANGE_FORMATS, render_changes

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings
    from gateway.tools.diff_inventory import Inventory

_UNUSABLE = 2  # the exit code of argparse for unusable arguments
_SINK_FACTS = ("type", "url", "listen", "host", "port", "serial", "payload")  # what a receiver depends on
_USE = "give a folder of point tables, a gateway.yaml, or a .csv that `gateway points --format csv` wrote"


@dataclass(frozen=True, slots=True)
class _CsvFile:
    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class _Tables:
    """Compiled tables and their settings."""

    settings: Settings
    points: PointMap

    def inventory(self) -> Inventory:
        settings = self.settings
        nodes = {
            name: sink.node_name(settings.name).topic("DDATA")
            for name, sink in settings.sinks.items()
            if isinstance(sink, MqttSparkplugConfig)
        }
        metrics = {name: sparkplug_scheme(node) for name, node in nodes.items()}
        sinks = {
            name: {fact: str(getattr(sink, fact)) for fact in _SINK_FACTS if hasattr(sink, fact)}
            for name, sink in settings.sinks.items()
        }
        return inventory_of(self.points, topics=settings.mqtt_topics | metrics, sinks=sinks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "old",
        type=Path,
        metavar="OLD",
        help="a folder of point tables, a gateway.yaml, or a CSV of `gateway points`",
    )
    parser.add_argument("new", type=Path, metavar="NEW", help="likewise")
    add_config_argument(parser)
    parser.add_argument(
        "--format", choices=tuple(CHANGE_FORMATS), default="text", help="(default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every change with its reason, those that break something first; return the exit code."""
    try:
        old, new = _inventories(
            _read(arguments.old, arguments.config), _read(arguments.new, arguments.config)
        )
    except GatewayError as error:
        print_failure(str(error), problems_of(error))
        return _UNUSABLE
    changes = compare(old, new)
    print(render_changes(changes, form=arguments.format), end="")
    return 1 if any(change.kind.breaks for change in changes) else 0


def _read(path: Path, config: Path) -> _Tables | _CsvFile:
    if path.is_dir():
        return _Tables(*load(config, folder=path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return _CsvFile(data, path)
    if path.suffix.lower() not in {".yaml", ".yml"}:
        raise CommandError(f"{path}: {_USE}")
    if any(line.startswith(b"schema: gateway.points/") for line in data.splitlines()):
        raise CommandError(f"{path}: is one point table; tables are compared by the folder: {_USE}")
    return _Tables(*load(path))


def _inventories(*sides: _Tables | _CsvFile) -> list[Inventory]:
    """Return both sides in the same detail: that of a CSV if one of them is a CSV."""
    has_csv = any(isinstance(side, _CsvFile) for side in sides)
    return [
        inventory_from_csv(side.data, file=str(side.path))
        if isinstance(side, _CsvFile)
        else inventory_like_csv(side.points, topics=side.settings.mqtt_topics)
        if has_csv
        else side.inventory()
        for side in sides
    ]
