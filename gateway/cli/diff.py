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
from gateway.mapping.listing import list_points
from gateway.mapping.topics import sparkplug_scheme
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig
from gateway.tools.diff.comparison import compare
from gateway.tools.diff.handed_out import inventory_in
from gateway.tools.diff.inventory import inventory_of
from gateway.tools.diff.report import CHANGE_FORMS, render_changes
from gateway.tools.sheets.listing_forms import csv_rows

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.settings import Settings
    from gateway.tools.diff.inventory import Inventory

_UNUSABLE = 2  # as argparse exits for what it cannot use
_SINK_FACTS = (
    "type",
    "url",
    "listen",
    "host",
    "port",
    "serial",
    "payload",
)  # what a receiver has to know of a sink
_USE = "give a folder of point tables, a gateway.yaml, or a .csv that `gateway points --format csv` wrote"


@dataclass(frozen=True, slots=True)
class _Tables:
    """Compiled tables with the settings that they belong to."""

    settings: Settings
    points: PointMap

    def inventory(self) -> Inventory:
        """Return all that there is to know."""
        return inventory_of(self.points, topics=_places(self.settings), sinks=_sinks(self.settings))

    def csv(self) -> bytes:
        """Return what `gateway points --format csv` prints."""
        return csv_rows(list_points(self.points, topics=self.settings.mqtt_topics)).encode()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "old",
        type=Path,
        metavar="OLD",
        help="a folder of point tables, a gateway.yaml, or a CSV of `gateway points`",
    )
    parser.add_argument("new", type=Path, metavar="NEW", help="likewise")
    add_config_argument(parser)
    parser.add_argument(
        "--format", choices=tuple(CHANGE_FORMS), default="text", help="(default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every change with its reason, those that break something first; return the exit code."""
    try:
        old, new = _inventories(arguments.old, arguments.new, config=arguments.config)
    except GatewayError as error:
        print_failure(str(error), problems_of(error))
        return _UNUSABLE
    changes = compare(old, new)
    print(render_changes(changes, form=arguments.format), end="")
    return 1 if any(change.kind.breaks for change in changes) else 0


def _inventories(old: Path, new: Path, *, config: Path) -> tuple[Inventory, Inventory]:
    """Return both sides in the same detail: where one is a CSV, the other is taken as its CSV as well."""
    sides = [_read(path, config) for path in (old, new)]
    if any(isinstance(side, bytes) for side in sides):
        first, second = (
            inventory_in(side if isinstance(side, bytes) else side.csv(), file=str(path))
            for side, path in zip(sides, (old, new), strict=True)
        )
        return first, second
    before, after = (side.inventory() for side in sides if isinstance(side, _Tables))
    return before, after


def _read(path: Path, config: Path) -> _Tables | bytes:
    """Return compiled tables, or the contents of a CSV."""
    if path.is_dir():
        return _Tables(*load(config, folder=path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
        return data
    if path.suffix.lower() not in {".yaml", ".yml"}:
        raise CommandError(f"{path}: {_USE}")
    if any(line.startswith(b"schema: gateway.points/") for line in data.splitlines()):
        raise CommandError(f"{path}: is one point table; tables are compared by the folder: {_USE}")
    return _Tables(*load(path))


def _places(settings: Settings) -> dict[str, TopicScheme]:
    """Return where points stand on each MQTT sink, whatever it speaks there."""
    nodes = {
        name: sink.name_of(settings.name).topic("DDATA")
        for name, sink in settings.sinks.items()
        if isinstance(sink, MqttSparkplugConfig)
    }
    return settings.mqtt_topics | {name: sparkplug_scheme(node) for name, node in nodes.items()}


def _sinks(settings: Settings) -> dict[str, dict[str, str]]:
    """Return what a receiver has to know of each sink, by its name."""
    return {
        name: {fact: str(getattr(sink, fact)) for fact in _SINK_FACTS if hasattr(sink, fact)}
        for name, sink in settings.sinks.items()
    }
