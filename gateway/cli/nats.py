"""`gateway nats`: makes the stream between intakes and edge boxes, and fills a lost one again.

`setup` compares stream and consumer with what these settings need. `republish` publishes events of the
journal again.

    gateway nats setup -c config/gateway.yaml

Exit code 0: all is as it should be; 1: it is not yet, and why.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.arguments import add_actions, run_action
from gateway.cli.terminal import HelpFormatter
from gateway.config.secrets import SecretSource
from gateway.errors import CommandError

if TYPE_CHECKING:
    import argparse

_SETUP = """\
Shows what the stream of each `nats` sink lacks, and the consumer of a `nats` source. Changes nothing without
--apply, and never deletes a stream or a consumer.

    gateway nats setup -c config/gateway.yaml --max-age 14d

Exit code 0: all is as it should be; 1: it is not, or cannot be made so, and why.
"""
_REPUBLISH = """\
Publishes events of this intake's journal once more, oldest first, while the gateway runs or not. Edge boxes
ignore events that they have already.

    gateway nats republish -c config/gateway.yaml --since 36h

Exit code 0: all are in the stream; 1: some are not, and why.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    actions = {
        "setup": (_setup, "compare stream and consumer with these settings; make them with --apply"),
        "republish": (_republish, "publish events of the journal again, into a stream that lost them"),
    }
    parsers = add_actions(parser, actions)
    for name, description in (("setup", _SETUP), ("republish", _REPUBLISH)):
        parsers[name].description, parsers[name].formatter_class = description, HelpFormatter
    _add_setup(parsers["setup"])
    _add_republish(parsers["republish"])


def run(arguments: argparse.Namespace) -> int:
    """Run the action; return 0 if nothing is left to do."""
    if find_spec("nats") is None:
        raise CommandError("the client for NATS is not installed: pip install 'building-gateway[nats]'")
    return run_action(arguments)


def _setup(arguments: argparse.Namespace) -> int:
    from gateway.cli.nats_setup import setup  # noqa: PLC0415 - loads the client, which not all have

    return setup(arguments)


def _republish(arguments: argparse.Namespace) -> int:
    from gateway.cli.nats_republish import republish  # noqa: PLC0415 - likewise

    return republish(arguments)


def _add_setup(action: argparse.ArgumentParser) -> None:
    action.add_argument("--apply", action="store_true", help="make the changes that are shown")
    action.add_argument(
        "--narrow",
        action="store_true",
        help="with --apply: even those after which events are deleted, refused or no longer fetched",
    )
    action.add_argument(
        "--replicas",
        type=int,
        choices=range(1, 6),  # JetStream allows five
        metavar="N",
        help="servers that have each event (default: 3); with 1, the loss of a server loses events",
    )
    action.add_argument(
        "--max-age",
        metavar="DURATION",
        help="for how long a building may be away (default: as it is; 7d for a new stream)",
    )
    action.add_argument(
        "--max-bytes", metavar="SIZE", help="of the whole stream (default: as it is; a new one has no limit)"
    )
    user = action.add_mutually_exclusive_group()
    for option, what in (("--nkey", "NKey's seed"), ("--credentials", ".creds file")):
        user.add_argument(
            option,
            type=_secret_file,
            metavar="FILE",
            help=f"the {what} of a user who may make streams (default: as in the settings)",
        )


def _secret_file(path: str) -> SecretSource:
    return SecretSource("file", str(Path(path).absolute()))


def _add_republish(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--since",
        metavar="WHEN",
        required=True,
        help="events received since then: a duration such as 36h, or a time such as 2026-11-24T08:00:00Z",
    )
    action.add_argument("--sink", metavar="NAME", help="the sink of type nats, if there are several")
    action.add_argument("--dry-run", action="store_true", help="count the events, and publish nothing")
