"""`gateway points`: the register map and topic list to hand to the BMS engineer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.cli.points_document import handover_document
from gateway.errors import CommandError
from gateway.tools.register_map import csv_text, json_text, register_map, screen_table

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "md"),
        default="table",
        help="md is a document to hand over; csv and json have every column, csv can be imported again "
        "(default: table)",
    )
    parser.add_argument(
        "--excel",
        choices=("point", "comma"),
        help="with --format csv: as an Excel with this decimal mark opens it by a double click",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    if arguments.excel and arguments.format != "csv":
        raise CommandError("--excel is about --format csv; add that")
    settings, point_map = load(arguments.config)
    rows = register_map(point_map, topics=settings.mqtt_topics)
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
