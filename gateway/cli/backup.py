"""`gateway backup`: a copy of the journal, while the gateway runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument
from gateway.config.value_types import rounded_size_text
from gateway.journal.backup import back_up
from gateway.settings import load_settings

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="where to; an earlier copy is replaced")


def run(arguments: argparse.Namespace) -> int:
    """Copy; return 0 once the copy is on disk."""
    journal = load_settings(arguments.config).require().journal.path
    size_bytes = back_up(journal, arguments.file)
    print(f"{arguments.file}: a copy of {journal}, {rounded_size_text(size_bytes)}")
    return 0
