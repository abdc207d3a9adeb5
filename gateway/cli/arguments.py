"""What commands with actions share, and durations as options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument
from gateway.config.value_types import parse_duration
from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Action = Callable[[argparse.Namespace], int]


def add_actions(
    parser: argparse.ArgumentParser,
    actions: Mapping[str, tuple[Action, str]],
    *,
    default: Action | None = None,
) -> dict[str, argparse.ArgumentParser]:
    """Add actions, each with its help and `-c`; return their parsers. `run_action` runs the chosen one."""
    add_config_argument(parser)
    parser.set_defaults(act=default)
    group = parser.add_subparsers(title="actions", metavar="ACTION", required=default is None)
    parsers = {}
    for name, (act, summary) in actions.items():
        parsers[name] = group.add_parser(name, help=summary)
        add_config_argument(parsers[name], default=argparse.SUPPRESS)
        parsers[name].set_defaults(act=act)
    return parsers


def run_action(arguments: argparse.Namespace) -> int:
    """Run the chosen action; return its exit code."""
    act: Action = arguments.act
    return act(arguments)


def duration_option(option: str, text: str) -> float:
    """Return the seconds of an option's duration; raise CommandError if it is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"{option} {text}: {error}") from error
