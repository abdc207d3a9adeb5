"""`gateway webhooks`: Infodeck's webhooks, through its API: list, register, test, delivery log and more.

They are managed with a Bearer token (settings: infodeck.bearer_token); Infodeck refuses API keys there.
No secret is ever printed: it goes from Infodeck's answer into a file.

    gateway webhooks list -c config/gateway.yaml

Exit code 0: done; 1: not done, and why. `gateway webhooks ACTION --help` says more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument
from gateway.cli.terminal import HelpFormatter
from gateway.cli.webhooks_list import enable, print_deliveries, print_list, remove, test_webhook
from gateway.cli.webhooks_secrets import register, rotate
from gateway.infodeck.webhooks import DOCUMENTED_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_SHOWN = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    add_config_argument(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add_action(
        act: Callable[[argparse.Namespace], int], example: str, summary: str, description: str
    ) -> argparse.ArgumentParser:
        name, _, options = example.partition(" ")
        command = f"gateway webhooks {name} -c config/gateway.yaml {options}"
        action = actions.add_parser(
            name,
            help=summary,
            description=f"{description}\n\n    {command}\n\nExit code 0: done; 1: not done, and why.\n",
            formatter_class=HelpFormatter,
        )
        add_config_argument(action, default=argparse.SUPPRESS)
        action.set_defaults(act=act)
        return action

    action = add_action(
        print_list,
        "list",
        "all of the organization, and which leads here",
        "Shows every webhook of the organization, with its state, and marks the one that leads here"
        " (infodeck.webhook).",
    )
    _add_format(action)
    action = add_action(
        register,
        "register --url https://gateway.example.com/webhooks/infodeck",
        "have Infodeck post to this gateway",
        "Has Infodeck make a webhook that leads here. Its signing secret, which Infodeck gives away this"
        " once, goes into a new file.",
    )
    _add_register(action)
    action = add_action(
        test_webhook,
        "test",
        "have a test event sent, and see whether it arrives",
        "Has Infodeck send a webhook.test, and sees whether the running gateway gets it, signed with the"
        " current secret. Nothing reaches the building.",
    )
    _add_id(action)
    action.add_argument(
        "--wait", metavar="DURATION", default="15s", help="for the event to arrive (default: %(default)s)"
    )
    action = add_action(
        print_deliveries,
        "deliveries --failed",
        "Infodeck's log of attempts, with advice on failures",
        "Shows Infodeck's log of attempts, the newest first, with advice for each kind of failure.",
    )
    _add_id(action)
    action.add_argument("--failed", action="store_true", help="only failed deliveries")
    action.add_argument(
        "--limit", type=_number, default=20, metavar="N", help="the newest N (default: %(default)s)"
    )
    _add_format(action)
    action = add_action(
        rotate,
        "rotate --from-stdin",
        "a new signing secret; the old one counts for 48 h more",
        "Replaces the signing secret, in its file and in the running gateway, without losing a delivery: the"
        " old one is accepted for 48 h more. The API makes the new one (infodeck.webhook.rotate), or"
        " Infodeck's web page (--from-stdin).",
    )
    _add_id(action)
    _add_rotate(action)
    action = add_action(
        remove,
        "remove --id wh-1234",
        "have Infodeck remove a webhook",
        "Has Infodeck remove a webhook by the API call in infodeck.webhook.remove.",
    )
    action.add_argument("--id", metavar="ID", required=True, help="the webhook's id, see `list`")
    action = add_action(
        enable,
        "enable",
        "have Infodeck enable a webhook again",
        "Has Infodeck enable a webhook again by the API call in infodeck.webhook.enable.",
    )
    _add_id(action)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; return 0 if all of it could be done."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    return act(arguments)


def _add_register(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--url", metavar="URL", help="the public https address (default: infodeck.webhook.url)"
    )
    action.add_argument(
        "--events",
        metavar="TYPES",
        type=_event_types,
        help="event types to send, with commas between (default: those of the sinks' `events`, and"
        f" {','.join(DOCUMENTED_EVENTS)})",
    )
    action.add_argument(
        "--description", metavar="TEXT", help="as Infodeck shows it (default: the gateway's name)"
    )
    action.add_argument("--again", action="store_true", help="even if this URL has a webhook already")
    _add_secret_file(action, "a new file for the signing secret, if the settings name none that is free")


def _add_rotate(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--from-stdin",
        action="store_true",
        help="read a new secret that was made in Infodeck's web page from standard input; use no API",
    )
    action.add_argument(
        "--forget-old",
        action="store_true",
        help="refuse the old secret and earlier ones from now on: one has leaked, or no gateway runs",
    )
    _add_secret_file(action, "the secret's file that the unit names, if the settings have {credential: NAME}")


def _add_secret_file(action: argparse.ArgumentParser, help_text: str) -> None:
    action.add_argument("--secret-file", type=Path, metavar="FILE", help=help_text)


def _add_id(action: argparse.ArgumentParser) -> None:
    action.add_argument("--id", metavar="ID", help="the webhook's id (default: the one that leads here)")


def _add_format(action: argparse.ArgumentParser) -> None:
    action.add_argument("--format", choices=("table", "json"), default="table", help="(default: table)")


def _event_types(text: str) -> tuple[str, ...]:
    types = tuple(part.strip() for part in text.split(",") if part.strip())
    if not types:
        raise argparse.ArgumentTypeError(
            f"{text!r}: event types are expected, such as asset.telemetry.updated"
        )
    return types


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_SHOWN:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number from 1 to {_MOST_SHOWN} is expected")
    return int(text)
