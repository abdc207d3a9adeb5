"""`gateway import`: makes a point table from a spreadsheet, such as `points --format csv` prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import inputs_of
from gateway.cli.table_file import check_name, write_table
from gateway.errors import CommandError, ConfigError
from gateway.settings import load_settings
from gateway.text import count_text
from gateway.tools.import_report import understanding_text
from gateway.tools.import_table import import_points
from gateway.tools.spreadsheet import read_sheet

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE.csv|FILE.xlsx",
        help="with headings in English, German or French, or those of `gateway points --format csv`",
    )
    parser.add_argument("--sheet", metavar="NAME", help="of a workbook; default: the only one with points")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="TABLE.yaml", help="a new file; default: print the table"
    )
    parser.add_argument("--site", help="of rows that name none; of several sites, the one to import")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="check the table against the sinks of these settings",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing TABLE.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Write or print the table; return 0. Raises CommandError with all problems."""
    output: Path | None = arguments.output
    if output is not None:
        check_name(output)
    if output is not None and output.exists() and not arguments.force:
        raise CommandError(f"{output} is there already; take another name, or replace it with --force")
    inputs = None if arguments.config is None else inputs_of(load_settings(arguments.config).require())
    try:
        data = arguments.file.read_bytes()
        sheet = read_sheet(data, title=arguments.sheet)
        print(understanding_text(sheet), file=sys.stderr)
        imported = import_points(sheet, name=arguments.file.name, site=arguments.site, inputs=inputs)
    except OSError as error:
        raise CommandError(f"{arguments.file}: cannot be read: {error.strerror}") from error
    except ConfigError as error:
        problems = [f"{arguments.file}: {problem}" for problem in error.problems]
        count = count_text(len(problems), "problem")
        raise CommandError(f"{count} in {arguments.file}", problems=problems) from error
    for note in imported.notes:
        print(f"note: {arguments.file}: {note}", file=sys.stderr)
    if output is None:
        print(imported.text, end="")
    else:
        write_table(output, imported.text)
        print(f"{output}: {count_text(imported.points, 'point')}")
    return 0
