"""`gateway points`: the register map and topic list to hand to the BMS engineer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load, mqtt_prefixes
from gateway.mapping.listing import FORMS, list_points, render

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument(
        "--format",
        choices=tuple(FORMS),
        default="table",
        help="csv and json have every column (default: table)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    settings, point_map = load(arguments.config)
    rows = list_points(point_map, prefixes=mqtt_prefixes(settings))
    print(render(rows, form=arguments.format), end="")
    return 0
