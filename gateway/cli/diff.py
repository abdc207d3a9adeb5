"""`gateway diff`: what a change of point tables does to topics and registers, before a BMS notices.

Exit code 0: nothing that breaks an existing BMS database; 1: something that does; 2: OLD or NEW cannot
be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.cli.terminal import print_failure, problems_of
from gateway.errors import CommandError, GatewayError
from gateway.mapping.topics import sparkplug_scheme
from gateway.sinks.sparkplug.config import MqttSparkplugConfig
from gateway.tools.diff import compare, inventory_from_csv, inventory_of
from gateway.tools.diff_report import CHANGE_FORMATS
from gateway.tools.register_map import csv_text, register_map

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings
    from gateway.tools.diff import Inventory

_UNUSABLE = 2  # the exit code of argparse for unusable arguments
_SINK_FACTS = (
    "type",
    "url",
    "listen",
    "host",
    "port",
    "serial",
    "payload",
    "device",
)  # what a receiver depends on
_SHEETS = (".csv", ".tsv", ".txt")


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
    files: tuple[Path, Path] = (arguments.old, arguments.new)
    has_csv = any(file.suffix.lower() in _SHEETS for file in files)
    try:
        old, new = (_inventory(file, arguments.config, has_csv=has_csv) for file in files)
    except GatewayError as error:
        print_failure(str(error), problems_of(error))
        return _UNUSABLE
    changes = compare(old, new)
    print(CHANGE_FORMATS[arguments.format](changes), end="")
    return 1 if any(change.kind.breaks for change in changes) else 0


def _inventory(file: Path, config: Path, *, has_csv: bool) -> Inventory:
    """Return one side; that of tables by way of their CSV if the other side is a CSV (`has_csv`)."""
    if file.is_dir():
        settings, points = load(config, folder=file)
    elif file.suffix.lower() in _SHEETS:
        return inventory_from_csv(_content(file), file=str(file))
    elif file.suffix.lower() in {".yaml", ".yml"} and b"\nschema: gateway.points/" not in b"\n" + _content(
        file
    ):
        settings, points = load(file)
    else:
        raise CommandError(
            f"{file}: cannot be compared: give a folder of point tables, a gateway.yaml, or a .csv that"
            " `gateway points --format csv` wrote"
        )
    if has_csv:
        rows = register_map(points, topics=settings.mqtt_topics, bacnet=settings.bacnet_devices)
        listed = csv_text(rows)
        return inventory_from_csv(listed.encode(), file=f"the list of {file}")
    return _tables(settings, points)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error


def _tables(settings: Settings, points: PointMap) -> Inventory:
    metrics = {
        name: sparkplug_scheme(sink.node_name(settings.name).topic("DDATA"))
        for name, sink in settings.sinks.items()
        if isinstance(sink, MqttSparkplugConfig)
    }
    sinks = {
        name: {fact: str(getattr(sink, fact)) for fact in _SINK_FACTS if hasattr(sink, fact)}
        for name, sink in settings.sinks.items()
    }
    for name, device in settings.bacnet_devices.items():
        sinks[name]["device_name"] = device.name_in_network(settings.name, name)
    return inventory_of(points, topics=settings.mqtt_topics | metrics, sinks=sinks)
