"""`gateway check`: validates gateway.yaml and every point table, all problems at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, read_config
from gateway.errors import ConfigError
from gateway.settings import resolve_secrets
from gateway.text import count_text

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--secrets", action="store_true", help="also read every secret, as the daemon will when it starts"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print each problem as `file:line:col: path: message (value)`; return 1 if there is one.

    Warnings begin with `warning:` and do not change the exit code.
    """
    loaded = read_config(arguments.config)
    problems = [str(problem) for problem in loaded.problems]
    if arguments.secrets and not loaded.settings.problems:
        try:
            resolve_secrets(loaded.settings)
        except ConfigError as error:
            problems += error.problems
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems or loaded.point_map is None:
        print(count_text(len(problems), "problem"))
        return 1
    points = loaded.point_map.points
    registers = sum(bool(point.registers) for point in points)
    assets = count_text(len(loaded.point_map.by_asset), "asset")
    objects = sum(bool(point.objects) for point in points)
    on_bacnet = f", {objects} on BACnet" if objects else ""
    print(f"ok: {assets}, {count_text(len(points), 'point')}, {registers} with a register{on_bacnet}")
    return 0
