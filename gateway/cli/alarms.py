"""`gateway alarms`: what needs a person, what did before, and that somebody has seen it.

It asks the running gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gateway.cli.control_client import ask
from gateway.cli.loading import add_config_argument
from gateway.text import second_text

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_LISTED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.set_defaults(act=_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    actions.add_parser("list", help="the alarms that hold, and the newest past ones (default)")
    acknowledging = actions.add_parser("ack", help="acknowledge alarms; this ends a latched one")
    acknowledging.add_argument("names", nargs="+", metavar="NAME", help="such as webhook-silent")
    acknowledging.set_defaults(act=_acknowledge)
    for action in actions.choices.values():
        add_config_argument(action, default=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return 0 where all of it could be done."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    return act(arguments)


def _list(arguments: argparse.Namespace) -> int:
    found = ask(arguments.config, "/alarms")
    print("No alarm holds." if not found["current"] else "Alarms that hold:")
    for alarm in found["current"]:
        print(_line(alarm))
    past = found["past"][:_MOST_LISTED]
    if past:
        print("Past alarms, the newest first:")
    for alarm in past:
        print(_line(alarm))
    return 0


def _line(alarm: dict[str, Any]) -> str:
    notes = [f"since {second_text(alarm['since_ms'])}"]
    if alarm["cleared_ms"] is not None:
        notes.append(f"until {second_text(alarm['cleared_ms'])}")
    if alarm["acknowledged_ms"] is not None:
        notes.append(f"acknowledged {second_text(alarm['acknowledged_ms'])} by {alarm['acknowledged_by']}")
    elif alarm["latched"]:
        notes.append("until it is acknowledged")
    return f"  {alarm['name']} {', '.join(notes)}\n    {alarm['reason']}"


def _acknowledge(arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        ask(arguments.config, "/alarms/acknowledge", {"name": name})
        print(f"{name} is acknowledged")
    return 0
