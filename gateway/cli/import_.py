"""`gateway import`: makes a point table from a spreadsheet, the inverse of `points --format csv`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.table_file import check_name, write_table
from gateway.errors import CommandError, ConfigError
from gateway.settings import load_settings
from gateway.tools.sheets.importing import import_points

if TYPE_CHECKING:
    import argparse

    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.csv",
        help="with the columns tag, point, asset, from, and those of `gateway points --format csv` as needed",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="TABLE.yaml", help="a new file; default: print the table"
    )
    parser.add_argument("--site", help="where the rows name none; or which one, where they name several")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="check the table against the sinks of these settings",
    )
    parser.add_argument("--force", action="store_true", help="replace TABLE.yaml where there is one")


def run(arguments: argparse.Namespace) -> int:
    """Write or print the table; return 0. Raises CommandError after printing what is wrong."""
    output: Path | None = arguments.output
    if output is not None:
        check_name(output)
    if output is not None and output.exists() and not arguments.force:
        raise CommandError(f"{output} is there already; take another name, or replace it with --force")
    known = _known(arguments.config)
    try:
        imported = import_points(
            _read(arguments.file),
            name=arguments.file.name,
            site=arguments.site,
            sinks=known.sinks,
            topics=known.topics,
            limits=known.limits,
        )
    except ConfigError as error:
        for problem in error.problems:
            print(f"{arguments.file}: {problem}", file=sys.stderr)
        count = len(error.problems)
        raise CommandError(f"{count} problem{'' if count == 1 else 's'} in {arguments.file}") from error
    for note in imported.notes:
        print(f"note: {arguments.file}: {note}", file=sys.stderr)
    if output is None:
        print(imported.text, end="")
    else:
        write_table(output, imported.text)
        print(f"{output}: {imported.points} point{'' if imported.points == 1 else 's'}")
    return 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What the settings say of sinks, as for `load_point_map`; None where there are no settings to ask."""

    sinks: dict[str, str] | None = None
    topics: dict[str, TopicScheme] | None = None
    limits: dict[str, WriteLimits] | None = None


def _known(config: Path | None) -> _Known:
    if config is None:
        return _Known()
    settings = load_settings(config).require()
    types = {name: sink.type for name, sink in settings.sinks.items()}
    return _Known(types, settings.mqtt_topics, settings.write_limits)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
