"""`gateway explain`: one event from its receipt to readings, points, topics, register words and delivery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.clock import now_ms
from gateway.errors import CommandError, EventError
from gateway.event_report import NO_SEQ, event_report, find_event
from gateway.events import parse_event, parse_time
from gateway.model import Record

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "event",
        metavar="EVENT",
        help="an event's id, looked up in the journal while the gateway runs or not; or a file with one"
        " event's body as received (a name with a / or ending in .json), - for standard input",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what becomes of the event; return 0, or raise GatewayError if there is no such event."""
    settings, point_map = load(arguments.config)
    named = arguments.event
    is_file = named == "-" or named.endswith(".json") or "/" in named or Path(named).is_file()
    record = _from_file(named) if is_file else find_event(named, settings)
    print(event_report(record, point_map=point_map, settings=settings), end="")
    return 0


def _from_file(name: str) -> Record:
    """Return the event in a file, as received at the time of its creation."""
    try:
        body = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror}") from error
    received_ms = now_ms()
    try:
        event = parse_event(body, received_ms=received_ms)
    except EventError as error:
        raise CommandError(f"{name}: no event, the intake answers 400: {error}") from error
    event.received_ms = parse_time(event.document.get("created")) or received_ms
    return Record(NO_SEQ, event)
