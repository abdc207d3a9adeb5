"""One event from its receipt to readings, points, topics, register words and delivery, as text."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.delivery.event_copies import event_point, subject_of
from gateway.errors import GatewayError
from gateway.events import (
    ABOUT_ASSETS,
    MAPPED_TYPES,
    STATUS_CHANGED,
    TELEMETRY,
    is_test,
    parse_time,
    read_online,
)
from gateway.journal.lookup import read_assets, read_cursors, read_dead_letters, read_event, read_values
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.mqtt.value_topics import ValueTopic, member_json
from gateway.sinks.sparkplug.config import MqttSparkplugConfig
from gateway.sinks.sparkplug.edge_node import Metric
from gateway.text import align_columns, duration_text, time_text, unknown_name
from gateway.tools.explain import explain, readings_text, traces_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.plan import PointMap
    from gateway.model import Event, Record
    from gateway.settings import Settings
    from gateway.tools.explain import Explanation, Output

NO_SEQ = 0
"""The number of an event that is in no journal."""


def journaled_event_report(event_id: str, point_map: PointMap, *, settings: Settings) -> tuple[Record, str]:
    """Return an event of the journal and what becomes of it; raise GatewayError if there is none."""
    record = find_event(event_id, settings)
    return record, event_report(record, point_map=point_map, settings=settings)


def event_report(record: Record, *, point_map: PointMap, settings: Settings) -> str:
    """Return what becomes of an event by these tables and settings, and its delivery if it is journaled."""
    event = record.event
    explanation = explain(
        point_map, event, seq=record.seq, stored=partial(read_values, settings.journal.path)
    )
    parts = [_header(record, explanation)]
    dropped = _reason_dropped(event, settings)
    ending = dropped or _ending(event)
    if ending:
        parts.append(f"\n{ending}\n")
    if event.type == TELEMETRY:
        parts.append("\nIf it were processed:\n\n" if ending else "\n")
        parts.append(_mapping(explanation, point_map, settings))
    if not dropped and (copies := _copies(event, point_map, settings)):
        parts.append(f"\npublished as received:\n{copies}")
    if record.seq != NO_SEQ:
        parts.append(f"\ndelivery:\n{_delivery(record, settings)}")
    return "".join(parts)


def find_event(event_id: str, settings: Settings) -> Record:
    """Return an event of the journal with its body; raise GatewayError with what to do if there is none."""
    journal = settings.journal
    record = read_event(journal.path, event_id)
    if record is None:
        kept = duration_text(round(journal.retention * 1000))
        raise GatewayError(
            f"{event_id}: not in the journal {journal.path}, which keeps telemetry for {kept}"
            " (journal.retention)"
        )
    if not record.event.body:
        raise GatewayError(
            f"{event_id}: received {time_text(record.event.received_ms)}; its body is gone: the journal was"
            " full (journal.max_size), or it was damaged, see `gateway deadletters list`"
        )
    return record


def _header(record: Record, explanation: Explanation) -> str:
    event, telemetry, plan = record.event, explanation.telemetry, explanation.plan
    tags = ", ".join(dict.fromkeys(point.tag for point in plan.measured)) if plan else ""
    is_about_asset = event.type.startswith(ABOUT_ASSETS)
    created_ms = parse_time(event.document.get("created"))
    number = "from a file" if record.seq == NO_SEQ else f"number {record.seq} of the journal"
    rows = [
        ["event", event.event_id],
        ["type", event.type],
        *([["asset", f"{telemetry.asset if telemetry else 'none named'}  {tags}"]] if is_about_asset else []),
        ["created", "not stated" if created_ms is None else time_text(created_ms)],
        ["received", f"{time_text(event.received_ms)}  ({number})"],
    ]
    if event.origin is not None:
        gateway, first_ms = event.origin
        rows.append(["verified", f"by {gateway}, which received it {time_text(first_ms)}"])
    if event.is_backfilled:
        rows.append(["source", "Infodeck's API, not a webhook"])
    if telemetry is None or not telemetry.readings or not is_about_asset:
        return align_columns(rows, indent="")
    rows.append(["readings", f"found in data.object.{telemetry.container}"])
    if telemetry.clock_ahead:
        ahead = f"{telemetry.clock_ahead} with a time in the future, used as measured when received"
        rows.append(["", ahead])
    return align_columns(rows, indent="") + readings_text(telemetry.readings)


def _reason_dropped(event: Event, settings: Settings) -> str | None:
    """Return why the event goes nowhere, or None if it does not."""
    organization = event.document.get("organizationId")
    answered = "it is answered with 200 and counted, and never reaches the building."
    if is_test(event):
        return f"A test event: {answered}"
    if organization not in {None, settings.infodeck.organization}:
        ours = settings.infodeck.organization
        return f"An event of another organization, {organization}; this gateway's is {ours}: {answered}"
    if event.type in MAPPED_TYPES or event.type in settings.journaled_types:
        return None
    return f"No telemetry, but {event.type}: {answered}"


def _ending(event: Event) -> str | None:
    """Return what an event without readings changes, or None if it has readings."""
    if event.type == STATUS_CHANGED:
        state = read_online(event)
        if state is None:
            return "The status does not state a device's connection: it is counted, and changes nothing."
        if state.online:
            return f"{state.asset} is connected: its points show their readings."
        return f"{state.asset} is not connected: its points are offline until a newer reading or connection."
    nobody = "It concerns no point: only sinks with `events`, and those of type nats, publish it."
    return None if event.type == TELEMETRY else nobody


def _copies(event: Event, point_map: PointMap, settings: Settings) -> str:
    """Return sink and topic, or subject, of each copy of the whole event."""
    rows = [
        [f"mqtt {name}", f"{config.prefix}/{event_point(event.type).name}"]
        for name, config in settings.sinks.items()
        if isinstance(config, MqttConfig)
        and not event.is_backfilled
        and event.type in settings.published_events.get(name, ())
    ]
    if settings.nats_sinks:
        organization, inventory = settings.infodeck.organization, read_assets(settings.journal.path)
        subject = subject_of(event, organization=organization, points=point_map, inventory=inventory)
        rows += [[f"nats {name}", subject] for name in settings.nats_sinks]
    return align_columns([*row, f"{len(event.body)} bytes"] for row in rows)


def _mapping(explanation: Explanation, point_map: PointMap, settings: Settings) -> str:
    telemetry = explanation.telemetry
    if telemetry is None or not (telemetry.readings or explanation.traces):
        return (
            "No asset id or no readings are found in data.object, so it becomes a dead letter; if they are"
            " elsewhere, write their path in the point table ($.data.object…).\n"
        )
    if explanation.plan is None:
        suggestion = unknown_name("asset", telemetry.asset, point_map.by_asset)
        return (
            f"No point table names {telemetry.asset}: {suggestion}\n"
            "The event is kept in the journal and counted as unmapped, and reaches no point.\n"
        )
    return traces_text(explanation, lambda output: _messages(output, settings))


def _messages(output: Output, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield sink and content of each MQTT message, built by the sink's own code.

    Of a message with all points of the asset, only this point's part is shown.
    """
    update, mqtt = output.update, output.update.point.mqtt
    for name, config in settings.sinks.items():
        if not isinstance(config, MqttConfig | MqttSparkplugConfig) or mqtt is None or not mqtt.goes_to(name):
            continue
        if not output.is_newest and not (config.history and update.is_measured):
            continue
        if isinstance(config, MqttSparkplugConfig):
            yield name, _metric(output, config, gateway=settings.name)
            continue
        topics, is_bare = config.topics(settings.name), config.payload == "value"
        if (topic := topics.point_topic(update.point, own=mqtt.topic)) is not None:
            message = ValueTopic(topic, (update.point,), bare=is_bare).history((update,))
            payload = message.payload.decode(errors="replace")
            yield name, f"{topic if output.is_newest else message.topic}  {payload}"
        if (topic := topics.asset_topic(update.point)) is not None:
            part = member_json(update, bare=is_bare).decode(errors="replace")
            yield name, f"{topic if output.is_newest else f'{topic}/$history'}  {{… {part} …}}"


def _metric(output: Output, config: MqttSparkplugConfig, *, gateway: str) -> str:
    """Return the Sparkplug topic of an update, and the metric's content."""
    point, update = output.update.point, output.update
    metric = Metric(point)
    metric.widen_type(update.value)
    name = config.node_name(gateway)
    topic = name.topic("DDATA", point.tag) if point.asset or point.is_computed else name.topic("NDATA")
    content = f"{metric.name} = {'null' if update.value is None else show(update.value)}"
    historical = "" if output.is_newest else ", historical"
    return f"{topic}  {content}  {metric.type.name}, quality {config.codes[update.quality]}{historical}"


def _delivery(record: Record, settings: Settings) -> str:
    """Return how far each sink is, and the event's dead letters."""
    path = settings.journal.path
    cursors = read_cursors(path)
    rows = []
    for name in settings.sinks:
        cursor = cursors.get(name)
        if cursor is None:
            rows.append([name, "not started"])
        else:
            behind = record.seq - cursor
            rows.append([name, f"waiting, {behind} behind" if behind > 0 else "done"])
    for number, dead in read_dead_letters(path, event_id=record.event.event_id).items():
        where = " ".join(part for part in (dead.sink or "mapping", dead.point) if part)
        rows.append([where, f"dead letter {number}: {dead.reason}", time_text(dead.at_ms)])
    return align_columns(rows)
