"""`gateway retained`: what sinks have left on their brokers, and clears what a retired one has left.

The journal remembers which topics a sink may have something retained on. A sink in the settings clears by
itself what is gone, so this is for sinks that are not there any more.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

from gateway.cli.control_client import NotRunningError, ask
from gateway.cli.loading import add_config_argument
from gateway.errors import CommandError
from gateway.journal.lookup import read_retained_topics
from gateway.settings import load_settings
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.message import Message
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.sparkplug.session import is_bd_seq
from gateway.text import align_columns, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from gateway.settings import Settings
    from gateway.sinks.broker.message import Rejection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="how many topics of which sink, or those of one sink")
    listing.add_argument("sink", nargs="?", metavar="SINK", help="its name")
    listing.set_defaults(act=_list)
    clearing = actions.add_parser("clear", help="list what a retired sink has left, and clear it with --yes")
    clearing.add_argument("sink", metavar="SINK", help="the name that it had")
    clearing.add_argument(
        "--via", required=True, metavar="NAME", help="the MQTT sink whose broker has it, and lets us in"
    )
    clearing.add_argument("--yes", action="store_true", help="clear it; otherwise it is listed only")
    clearing.set_defaults(act=_clear)
    for action in actions.choices.values():
        add_config_argument(action, default=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return 0 where all of it could be done."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    return act(arguments)


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config).require()
    remembered = _remembered(settings)
    if arguments.sink is not None:
        for topic in _of(arguments.sink, remembered, settings):
            print(topic)
        return 0
    rows = [
        (name, str(len(topics)), "" if name in settings.sinks else "retired")
        for name, topics in sorted(remembered.items())
    ]
    print(
        align_columns([("sink", "topics", ""), *rows], indent="") if rows else "Nothing is remembered.\n",
        end="",
    )
    return 0


def _clear(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config).require()
    name, via = arguments.sink, _broker(arguments.via, settings)
    _check_is_retired(arguments.config, name, settings)
    remembered = _remembered(settings)
    in_use = {topic for sink in settings.sinks for topic in remembered.get(sink, ())}
    topics = [topic for topic in _of(name, remembered, settings) if topic not in in_use]
    for topic in topics:
        print(topic)
    if not arguments.yes:
        print(f"{_count(topics)} to be cleared at {via.url}: add --yes", file=sys.stderr)
        return 1
    rejections = asyncio.run(_publish_empty(topics, via))
    for each in rejections:
        print(f"the broker refuses {each.message.topic}: {each.reason}", file=sys.stderr)
    print(f"{_count(topics, less=len(rejections))} of {name} cleared at {via.url}")
    if not rejections:
        _forget(arguments.config, name)
    return 1 if rejections else 0


def _remembered(settings: Settings) -> dict[str, set[str]]:
    """Return the topics by sink."""
    noted = read_retained_topics(settings.journal.path)
    topics = {name: {each for each in entries if not is_bd_seq(each)} for name, entries in noted.items()}
    return {name: found for name, found in topics.items() if found}


def _of(name: str, remembered: dict[str, set[str]], settings: Settings) -> list[str]:
    if name in settings.sinks and name not in remembered:
        raise CommandError(f"{name} has left nothing")
    if name not in remembered:
        raise CommandError(f"{name}: nothing is remembered of it, {unknown_name('sink', name, remembered)}")
    return sorted(remembered[name])


def _count(topics: list[str], *, less: int = 0) -> str:
    count = len(topics) - less
    return f"{count} topic{'' if count == 1 else 's'}"


def _broker(name: str, settings: Settings) -> BrokerConfig:
    config = settings.sinks.get(name)
    if isinstance(config, BrokerConfig):
        return config
    brokers = [each for each, found in settings.sinks.items() if isinstance(found, BrokerConfig)]
    known = ", ".join(brokers) or "there is none"
    raise CommandError(f"--via {name}: the name of an MQTT sink in the settings is expected: {known}")


def _check_is_retired(config: Path, name: str, settings: Settings) -> None:
    """Raise CommandError where the sink is in the settings, or in the gateway that runs."""
    if name in settings.sinks:
        raise CommandError(
            f"{name} is in the settings: it clears by itself what is gone; to have all of it cleared, take it"
            " out and restart the gateway first"
        )
    try:
        running: Collection[str] = ask(config, "/retained")["sinks"]
    except NotRunningError:
        return
    if name in running:
        raise CommandError(
            f"the gateway still runs with {name}: restart it with the settings as they are now"
        )


async def _publish_empty(topics: Iterable[str], config: BrokerConfig) -> list[Rejection]:
    """Clear retained topics; return what the broker refuses."""
    connection = await connect(config, client_id=f"gateway-retained-{secrets.token_hex(4)}")
    try:
        return await connection.publish(Message(topic, b"", retain=True) for topic in topics)
    finally:
        await connection.close()


def _forget(config: Path, name: str) -> None:
    try:
        ask(config, "/retained/forget", {"sink": name})
    except NotRunningError:
        print("The gateway is not running, so its journal remembers them still.", file=sys.stderr)
