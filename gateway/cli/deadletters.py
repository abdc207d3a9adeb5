"""`gateway deadletters`: what could not be delivered, and why; hands it out again, or forgets it.

Looking works while the gateway runs or not. Handing out and forgetting is for the running gateway to do:
it is asked over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.deadletters_again import drop, retry
from gateway.cli.deadletters_seen import print_list, show
from gateway.cli.loading import add_config_argument

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_LISTED = 50
_SINK_HELP = "those of this sink; mapping: those of events that could not be mapped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _acting(actions.add_parser("list", help="the newest ones, the newest last"), print_list)
    listing.add_argument("--sink", metavar="NAME", help=_SINK_HELP)
    listing.add_argument("--point", metavar="POINT", help="those of this point, such as L03-RM312/ZN-T")
    listing.add_argument(
        "--limit", type=_number, default=_MOST_LISTED, metavar="N", help="so many (default: %(default)s)"
    )
    listing.add_argument("--format", choices=("table", "json"), default="table", help="(default: table)")
    showing = _acting(
        actions.add_parser("show", help="everything that is known of one, with its event"), show
    )
    showing.add_argument("number", type=_number, metavar="N", help="its number")
    showing.add_argument(
        "--body", action="store_true", help="the event's body alone, as received, for `gateway explain … -`"
    )
    retrying = _acting(actions.add_parser("retry", help="deliver them again, by the tables in force"), retry)
    _add_selection(retrying)
    retrying.add_argument(
        "--wait", metavar="DURATION", default="10s", help="for what becomes of them (default: %(default)s)"
    )
    _add_selection(_acting(actions.add_parser("drop", help="forget them for good"), drop))


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return 0 where all of it could be done."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    return act(arguments)


def _acting(
    action: argparse.ArgumentParser, act: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    add_config_argument(action, default=argparse.SUPPRESS)
    action.set_defaults(act=act)
    return action


def _add_selection(action: argparse.ArgumentParser) -> None:
    action.add_argument("numbers", nargs="*", type=_number, metavar="N", help="their numbers")
    action.add_argument("--sink", metavar="NAME", help=_SINK_HELP)
    action.add_argument("--all", action="store_true", help="all that there are")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 is expected")
    return int(text)
