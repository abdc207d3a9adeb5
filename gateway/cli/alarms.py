"""`gateway alarms`: what needs a person, what did before, and that somebody has seen it.

It asks the running gateway over its control socket, which only the gateway's user and root may use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cli.arguments import add_actions, run_action
from gateway.cli.control_client import ask
from gateway.text import second_text

if TYPE_CHECKING:
    import argparse

_MOST_LISTED = 20

run = run_action


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions."""
    actions = {
        "list": (_list, "current alarms, and the newest past ones (default)"),
        "ack": (_acknowledge, "acknowledge alarms; this ends a latched one"),
    }
    acknowledging = add_actions(parser, actions, default=_list)["ack"]
    acknowledging.add_argument("names", nargs="+", metavar="NAME", help="such as webhook-silent")


def _list(arguments: argparse.Namespace) -> int:
    found = ask(arguments.config, "/alarms")
    print("Alarms that hold:" if found["current"] else "No alarm holds.")
    for alarm in found["current"]:
        print(_line(alarm))
    if past := found["past"][:_MOST_LISTED]:
        print("Past alarms, the newest first:")
    for alarm in past:
        print(_line(alarm))
    return 0


def _line(alarm: dict[str, Any]) -> str:
    facts = f"since {second_text(alarm['since_ms'])}"
    if alarm["cleared_ms"] is not None:
        facts += f", until {second_text(alarm['cleared_ms'])}"
    if alarm["acknowledged_ms"] is not None:
        facts += f", acknowledged {second_text(alarm['acknowledged_ms'])} by {alarm['acknowledged_by']}"
    elif alarm["latched"]:
        facts += ", until it is acknowledged"
    return f"  {alarm['name']} {facts}\n    {alarm['reason']}"


def _acknowledge(arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        ask(arguments.config, "/alarms/acknowledge", {"name": name})
        print(f"{name} is acknowledged")
    return 0
