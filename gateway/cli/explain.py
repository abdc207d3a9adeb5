"""`gateway explain`: one event from its receipt to readings, points, topics, register words and delivery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.clock import now_ms
from gateway.config.problems import show
from gateway.errors import CommandError, EventError
from gateway.events import (
    STATUS_CHANGED,
    TELEMETRY,
    is_test,
    parse_event,
    parse_time,
    read_online,
)
from gateway.journal.lookup import read_cursors, read_dead_letters, read_event
from gateway.model import Record
from gateway.sinks.mqtt.sink import MqttConfig
from gateway.sinks.mqtt.topics import AssetTopic, PointTopic
from gateway.sinks.sparkplug.devices import Metric
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig
from gateway.text import align_columns, duration_text, time_text, unknown_name
from gateway.tools.explain import explain, readings_text, traces_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gateway.mapping.plan import PointMap
    from gateway.model import Event
    from gateway.settings import Settings
    from gateway.tools.explain import Explanation, Output

_NO_SEQ = 0  # of an event that is in no journal


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
    """Print what becomes of the event; return 0, or raise CommandError if there is no such event."""
    settings, point_map = load(arguments.config)
    named = arguments.event
    is_file = named == "-" or named.endswith(".json") or "/" in named or Path(named).is_file()
    record = _from_file(named, settings) if is_file else _from_journal(named, settings)
    event = record.event
    explanation = explain(point_map, event, seq=record.seq)
    print(_header(record, explanation), end="")
    ending = _ending(event, settings)
    if ending:
        print(f"\n{ending}")
    if event.type == TELEMETRY:
        print()
        if ending:
            print("If it were processed:\n")
        print(_mapping(explanation, point_map, settings, received_ms=event.received_ms), end="")
    if not is_file:
        print(f"\ndelivery:\n{_delivery(record, settings)}", end="")
    return 0


def _from_file(name: str, settings: Settings) -> Record:
    """Return the event in a file, as received at the time of its creation."""
    try:
        body = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror}") from error
    if len(body) > settings.intake.max_body:
        raise CommandError(
            f"{name}: {len(body)} bytes; the intake answers 413 beyond intake.max_body,"
            f" {settings.intake.max_body}"
        )
    received_ms = now_ms()
    try:
        event = parse_event(body, received_ms=received_ms)
    except EventError as error:
        raise CommandError(f"{name}: no event, the intake answers 400: {error}") from error
    event.received_ms = parse_time(event.document.get("created")) or received_ms
    return Record(_NO_SEQ, event)


def _from_journal(event_id: str, settings: Settings) -> Record:
    journal = settings.journal
    record = read_event(journal.path, event_id)
    kept = duration_text(round(journal.retention * 1000))
    if record is None:
        raise CommandError(
            f"{event_id}: not in the journal {journal.path}. It keeps telemetry for {kept}"
            " (journal.retention), and until every sink has it; test events, other types and other"
            " organizations' events are never kept. A file's name has a / or ends in .json"
        )
    if not record.event.body:
        raise CommandError(
            f"{event_id}: received {time_text(record.event.received_ms)}; its body is gone: it was freed"
            " after delivery because the journal was full (journal.max_size), or it was damaged, see `gateway"
            " deadletters list`"
        )
    return record


def _header(record: Record, explanation: Explanation) -> str:
    event, telemetry = record.event, explanation.telemetry
    asset = None if telemetry is None else telemetry.asset
    created_ms = parse_time(event.document.get("created"))
    tags = () if explanation.plan is None else (point.tag for point in explanation.plan.measured)
    tag = ", ".join(dict.fromkeys(tags))
    how = "(taken from a file)" if record.seq == _NO_SEQ else f"(number {record.seq} of the journal)"
    rows = [
        ["event", event.event_id],
        ["type", event.type],
        ["asset", (asset or "none named") + (f"  {tag}" if tag else "")],
        ["created", time_text(created_ms) if created_ms is not None else "does not say"],
        ["received", f"{time_text(event.received_ms)}  {how}"],
    ]
    if event.is_backfilled:
        rows.append(["source", "taken from Infodeck's API, no webhook brought it"])
    if telemetry is None or not telemetry.readings:
        return align_columns(rows, indent="")
    rows.append(["readings", f"found in data.object.{telemetry.container}"])
    ahead = telemetry.clock_ahead
    if ahead:
        rows.append(["", f"{ahead} with a time in the future, taken as measured when received"])
    return align_columns(rows, indent="") + readings_text(telemetry.readings)


def _ending(event: Event, settings: Settings) -> str | None:
    """Return why the intake does not store the event, or None if it does."""
    organization = event.document.get("organizationId")
    ours = settings.infodeck.organization
    if is_test(event):
        return "A test event: it is answered with 200 and counted, and never reaches the building."
    if organization is not None and organization != ours:
        return (
            f"An event of another organization, {organization}; this gateway's is {ours}: it is answered"
            " with 200 and counted, and goes nowhere."
        )
    if event.type == STATUS_CHANGED:
        return _connection(event)
    if event.type != TELEMETRY:
        return f"No telemetry: {event.type} is answered with 200 and counted, and goes nowhere."
    return None


def _connection(event: Event) -> str:
    """Return what a status event does to the points of its asset."""
    state = read_online(event)
    if state is None:
        return "A status that says nothing of a device's connection: it is counted, and changes nothing."
    if state.online:
        return f"It says that {state.asset} is connected: its points show their readings."
    return (
        f"It says that {state.asset} is not connected: its points are offline until a newer reading,"
        " or until it is connected again."
    )


def _mapping(explanation: Explanation, point_map: PointMap, settings: Settings, *, received_ms: int) -> str:
    telemetry = explanation.telemetry
    has_readings = telemetry is not None and bool(telemetry.readings)
    if telemetry is None or explanation.plan is None:
        if telemetry is None or not telemetry.readings:
            return (
                "No asset id or no readings are found in data.object, so it becomes a dead letter;"
                " name an explicit path in the point table ($.data.object…) where they stand elsewhere.\n"
            )
        keys = ", ".join(dict.fromkeys(reading.key for reading in telemetry.readings))
        suggestion = unknown_name("asset", telemetry.asset, point_map.by_asset)
        return (
            f"No point table names {telemetry.asset}: {suggestion}\n"
            "The event is kept in the journal and counted as unmapped, and goes nowhere.\n"
            f"Its keys are {keys}.\n"
        )
    if not explanation.traces and not has_readings:
        return "No readings are found in it, so it becomes a dead letter.\n"
    return traces_text(explanation, lambda output: _messages(output, settings, received_ms))


def _messages(output: Output, settings: Settings, received_ms: int) -> Iterator[tuple[str, ...]]:
    """Yield sink, topic and payload of each MQTT message, built by the sink's own code.

    Of a message with all points of the asset, only this point's part is shown.
    """
    update, mqtt = output.update, output.update.point.mqtt
    for name, config in settings.sinks.items():
        if not isinstance(config, MqttConfig | MqttSparkplugConfig) or mqtt is None or not mqtt.goes_to(name):
            continue
        if not output.is_newest and not (config.history and update.is_measured):
            continue
        if isinstance(config, MqttSparkplugConfig):
            yield name, *_metric(output, config, gateway=settings.name)
            continue
        topics, is_bare = config.topics(settings.name), config.payload == "value"
        if (topic := topics.point_topic(update.point, own=mqtt.topic)) is not None:
            point_topic = PointTopic(update.point, topic, bare=is_bare)
            message = (
                point_topic.live(update, age_ms=received_ms - update.time_ms)
                if output.is_newest
                else point_topic.history(update)
            )
            yield name, message.topic, message.payload.decode(errors="replace")
        if (topic := topics.asset_topic(update.point)) is not None:
            part = AssetTopic(topic, is_bare).member_json(update).decode(errors="replace")
            yield name, topic if output.is_newest else f"{topic}/$history", f"{{… {part} …}}"


def _metric(output: Output, config: MqttSparkplugConfig, *, gateway: str) -> tuple[str, str]:
    """Return the Sparkplug topic of an update, and the metric's content."""
    point, update = output.update.point, output.update
    metric = Metric(point)
    metric.widen_type(update.value)
    name = config.node_name(gateway)
    topic = name.topic("DDATA", point.tag) if point.asset else name.topic("NDATA")
    content = f"{metric.name} = {'null' if update.value is None else show(update.value)}"
    historical = "" if output.is_newest else ", historical"
    return topic, f"{content}  {metric.type.name}, quality {config.codes[update.quality]}{historical}"


def _delivery(record: Record, settings: Settings) -> str:
    """Return how far each sink is, and the event's dead letters."""
    path = settings.journal.path
    cursors = read_cursors(path)
    rows = []
    for name in settings.sinks:
        cursor = cursors.get(name)
        if cursor is None:
            rows.append([name, "not started: the gateway has not run with this sink yet"])
        elif cursor >= record.seq:
            rows.append([name, "done"])
        else:
            rows.append([name, f"waiting, {record.seq - cursor} behind"])
    for number, dead in read_dead_letters(path, event_id=record.event.event_id).items():
        where = " ".join(part for part in (dead.sink or "mapping", dead.point) if part)
        rows.append([where, f"dead letter {number}: {dead.reason}", time_text(dead.at_ms)])
    return align_columns(rows)
