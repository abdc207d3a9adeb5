"""`gateway points`: the register map and topic list to hand to the BMS engineer."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.cli.loading import add_config_argument, load
from gateway.cli.points_document import handover_document
from gateway.errors import CommandError
from gateway.tools.ede import EdeDevice, ede_files
from gateway.tools.register_map import csv_text, json_text, register_map, screen_table

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.plan import PointMap
    from gateway.settings import Settings

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")  # of files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "md", "ede"),
        default="table",
        help="md is a document to hand over; csv and json have every column, csv can be imported again; "
        "ede makes the EDE files of each BACnet sink (default: table)",
    )
    parser.add_argument(
        "--excel",
        choices=("point", "comma"),
        help="with --format csv: as an Excel with this decimal mark opens it by a double click",
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="with --format ede: where the files go (default: here)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    if arguments.excel and arguments.format != "csv":
        raise CommandError("--excel is about --format csv; add that")
    if arguments.to and arguments.format != "ede":
        raise CommandError("--to is about --format ede; add that")
    settings, point_map = load(arguments.config)
    if arguments.format == "ede":
        return _write_ede_files(point_map, settings, arguments.to or Path())
    rows = register_map(point_map, topics=settings.mqtt_topics, bacnet=settings.bacnet_devices)
    match arguments.format:
        case "csv":
            text = csv_text(rows, excel=arguments.excel)
        case "json":
            text = json_text(rows)
        case "md":
            text = handover_document(point_map, gateway=settings.name, sinks=settings.sinks)
        case _:
            text = screen_table(rows)
    print(text, end="")
    return 0


def _write_ede_files(point_map: PointMap, settings: Settings, folder: Path) -> int:
    """Write the files of each BACnet sink and print their names; return the exit code."""
    if not settings.bacnet_devices:
        raise CommandError("EDE files describe BACnet devices: gateway.yaml has no sink of `type: bacnet`")
    project = ", ".join(dict.fromkeys(point.site for point in point_map.points))
    author, today = f"{settings.name}, gateway {__version__}", datetime.now().astimezone().date()
    for sink, config in settings.bacnet_devices.items():
        device = EdeDevice(sink, config.device, config.name_in_network(settings.name, sink))
        name = _NOT_IN_NAMES.sub("-", f"{settings.name}-{sink}")
        files = ede_files(point_map.points, device, project=project, author=author, today=today)
        for suffix, text in files.items():
            _write(folder / f"{name}{suffix}", text)
    return 0


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode())
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
    print(file)
