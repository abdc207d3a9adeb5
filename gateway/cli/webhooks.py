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

_LIST = """\
Shows every webhook of the organization, with its state, and marks the one that leads here
(infodeck.webhook).

    gateway webhooks list -c config/gateway.yaml

Exit code 0: Infodeck has answered, also if there are none; 1: it has not.
"""
_REGISTER = """\
Has Infodeck make a webhook that leads here. Its signing secret, which Infodeck gives away this once, goes
into a new file.

    gateway webhooks register -c config/gateway.yaml --url https://gateway.example.com/webhooks/infodeck

Exit code 0: the webhook is there and its secret in the file; 1: not so, and what is the case.
"""
_TEST = """\
Has Infodeck send a webhook.test, and sees whether the running gateway gets it. Nothing reaches the
building.

    gateway webhooks test -c config/gateway.yaml

Exit code 0: it has arrived, signed with the current secret; 1: not so, and why.
"""
_DELIVERIES = """\
Shows Infodeck's log of attempts, the newest first, with advice for each kind of failure.

    gateway webhooks deliveries -c config/gateway.yaml --failed

Exit code 0: Infodeck has answered, whatever became of the attempts; 1: it has not.
"""
_REMOVE = """\
Has Infodeck remove a webhook by the API call in infodeck.webhook.remove; Infodeck's documents do not name it.

    gateway webhooks remove -c config/gateway.yaml --id wh-1234

Exit code 0: Infodeck does not list it any more; 1: not so, and what is the case.
"""
_ENABLE = """\
Has Infodeck enable a webhook again by the API call in infodeck.webhook.enable, once the reason for its
failures is gone.

    gateway webhooks enable -c config/gateway.yaml

Exit code 0: Infodeck says that it is enabled; 1: not so, and what is the case.
"""
_ROTATE = """\
Replaces the signing secret, in its file and in the running gateway, without losing a delivery: the old one is
accepted for 48 h more. The API makes the new one (infodeck.webhook.rotate says where), or Infodeck's web page
(--from-stdin).

    gateway webhooks rotate -c config/gateway.yaml --from-stdin

Exit code 0: file and gateway have the new secret; 1: not so, and what is the case.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their arguments."""
    add_config_argument(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add_action(
        name: str, act: Callable[[argparse.Namespace], int], description: str, summary: str
    ) -> argparse.ArgumentParser:
        action = actions.add_parser(
            name, help=summary, description=description, formatter_class=HelpFormatter
        )
        add_config_argument(action, default=argparse.SUPPRESS)
        action.set_defaults(act=act)
        return action

    _add_format(add_action("list", print_list, _LIST, "all of the organization, and which leads here"))
    _add_register(add_action("register", register, _REGISTER, "have Infodeck post to this gateway"))
    action = add_action("test", test_webhook, _TEST, "have a test event sent, and see whether it arrives")
    _add_id(action)
    action.add_argument(
        "--wait", metavar="DURATION", default="15s", help="for the event to arrive (default: %(default)s)"
    )
    action = add_action(
        "deliveries", print_deliveries, _DELIVERIES, "Infodeck's log of attempts, with advice on failures"
    )
    _add_id(action)
    action.add_argument("--failed", action="store_true", help="only failed deliveries")
    action.add_argument(
        "--limit", type=_number, default=20, metavar="N", help="the newest N (default: %(default)s)"
    )
    _add_format(action)
    _add_rotate(
        add_action("rotate", rotate, _ROTATE, "a new signing secret; the old one counts for 48 h more")
    )
    action = add_action("remove", remove, _REMOVE, "have Infodeck remove a webhook")
    action.add_argument("--id", metavar="ID", required=True, help="the webhook's id, see `list`")
    _add_id(add_action("enable", enable, _ENABLE, "have Infodeck enable a webhook again"))


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
        default=DOCUMENTED_EVENTS,
        help=f"event types to send, with commas between (default: {','.join(DOCUMENTED_EVENTS)})",
    )
    action.add_argument(
        "--description", metavar="TEXT", help="as Infodeck shows it (default: the gateway's name)"
    )
    action.add_argument("--again", action="store_true", help="even if this URL has a webhook already")
    _add_secret_file(action, "a new file for the signing secret, if the settings name none that is free")


def _add_rotate(action: argparse.ArgumentParser) -> None:
    _add_id(action)
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
