"""`gateway retained`: lists what sinks have retained on brokers, and clears what a retired one has.

The journal stores the topics on which a sink may have something retained. A sink in the settings clears its
outdated topics by itself, so clearing is for sinks that are not in the settings any more.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING

from gateway.cli.arguments import add_actions, run_action
from gateway.cli.control_client import NotRunningError, ask
from gateway.errors import CommandError
from gateway.journal.lookup import read_retained_topics
from gateway.settings import load_settings
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.broker.paho_client import Message
from gateway.sinks.sparkplug.config import is_bd_seq
from gateway.text import align_columns, count_text, unknown_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from gateway.settings import Settings
    from gateway.sinks.broker.mqtt_connection import Rejection


run = run_action


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions."""
    actions = {
        "list": (_list, "the number of topics of each sink, or the topics of one"),
        "clear": (_clear, "list the topics of a retired sink, and clear them with --yes"),
    }
    parsers = add_actions(parser, actions)
    parsers["list"].add_argument("sink", nargs="?", metavar="SINK", help="its name")
    clearing = parsers["clear"]
    clearing.add_argument("sink", metavar="SINK", help="the name that it had")
    clearing.add_argument(
        "--via", required=True, metavar="NAME", help="the MQTT sink whose broker has them, to log in there"
    )
    clearing.add_argument("--yes", action="store_true", help="clear them; otherwise they are listed only")


def _list(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config).require()
    stored = _stored_topics(settings)
    if arguments.sink is not None:
        print(*_topics_of(arguments.sink, stored, settings), sep="\n")
    elif stored:
        rows = [
            (name, str(len(topics)), "" if name in settings.sinks else "retired")
            for name, topics in sorted(stored.items())
        ]
        print(align_columns([("sink", "topics", ""), *rows], indent=""), end="")
    else:
        print("Nothing is stored.")
    return 0


def _clear(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config).require()
    name, via = arguments.sink, _broker(arguments.via, settings)
    _check_is_retired(arguments, settings)
    stored = _stored_topics(settings)
    in_use = {topic for sink in settings.sinks for topic in stored.get(sink, ())}
    topics = [topic for topic in _topics_of(name, stored, settings) if topic not in in_use]
    for topic in topics:
        print(topic)
    if not arguments.yes:
        print(f"{count_text(len(topics), 'topic')} to be cleared at {via.url}: add --yes", file=sys.stderr)
        return 1
    rejections = asyncio.run(_publish_empty(topics, via))
    for each in rejections:
        print(f"the broker refuses {each.message.topic}: {each.reason}", file=sys.stderr)
    print(f"{count_text(len(topics) - len(rejections), 'topic')} of {name} cleared at {via.url}")
    if rejections:
        return 1
    try:
        ask(arguments.config, "/retained/forget", {"sink": name})
    except NotRunningError:
        print("The gateway is not running, so its journal remembers them still.", file=sys.stderr)
    return 0


def _stored_topics(settings: Settings) -> dict[str, set[str]]:
    """Return the topics by sink."""
    found = read_retained_topics(settings.journal.path)
    topics = {name: {each for each in entries if not is_bd_seq(each)} for name, entries in found.items()}
    return {name: found for name, found in topics.items() if found}


def _topics_of(name: str, stored: dict[str, set[str]], settings: Settings) -> list[str]:
    if name in stored:
        return sorted(stored[name])
    if name in settings.sinks:
        raise CommandError(f"{name} has left nothing")
    raise CommandError(f"{name}: nothing is remembered of it, {unknown_name('sink', name, stored)}")


def _broker(name: str, settings: Settings) -> BrokerConfig:
    brokers = {each: found for each, found in settings.sinks.items() if isinstance(found, BrokerConfig)}
    if name not in brokers:
        known = ", ".join(brokers) or "there is none"
        raise CommandError(f"--via {name}: the name of an MQTT sink in the settings is expected: {known}")
    return brokers[name]


def _check_is_retired(arguments: argparse.Namespace, settings: Settings) -> None:
    """Raise CommandError if the sink is in the settings, or in the running gateway."""
    name = arguments.sink
    if name in settings.sinks:
        raise CommandError(
            f"{name} is in the settings: it clears by itself what is gone; to have all of it cleared, take it"
            " out and restart the gateway first"
        )
    try:
        running = ask(arguments.config, "/retained")["sinks"]
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
