"""`gateway release`: ends an override before its time; the measured value is shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.control_client import ask
from gateway.cli.loading import add_config_argument
from gateway.errors import CommandError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument("point", nargs="?", metavar="POINT", help="its name, such as L03-RM312/ZN-T")
    parser.add_argument("--all", action="store_true", help="release every forced point")


def run(arguments: argparse.Namespace) -> int:
    """Release one point or all; return 0 once it is done."""
    if arguments.all == (arguments.point is not None):
        raise CommandError("say which point to release, or --all")
    document = {"all": True} if arguments.all else {"point": arguments.point}
    released = ask(arguments.config, "/release", document)["released"]
    if not released:
        print("nothing was forced")
    for name in released:
        print(f"{name} is released: what is measured is shown again")
    return 0
