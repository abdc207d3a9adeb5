"""Checks of NATS: its servers, the stream between intakes and edge boxes, and an edge's consumer there.

The client is loaded with the first sink or source of type nats.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import orjson

from gateway.doctor.daemon_status import get, value_at
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.doctor.stream_checks import consumer_findings, permission_findings, stream_findings
from gateway.errors import ConfigError, ForbiddenError, GatewayError, TransientError
from gateway.infodeck.request_errors import Failure
from gateway.intake.source_config import NatsSourceConfig
from gateway.jetstream.config import OLDEST_SERVER
from gateway.text import duration_text
from gateway.tools.stream_setup import NS_PER_MS, SETUP, consumer_changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.doctor.facts import Facts
    from gateway.jetstream.api import JetStreamApi
    from gateway.jetstream.config import NatsConfig

_WANTED = (2, 15)
_WITHIN_S = 4.0
_UPDATE = "install nats-server 2.15 or newer, one server after the other"
_SYNC = "set `jetstream {sync_interval: always}` in its configuration, and restart one server after the other"
_UNSEEN_SYNC = (
    "{setting}: sync_interval is not looked at, as only the servers' monitoring ports show it: name them"
    " ({setting}.monitor), or see yourself that each server has `sync_interval: always`"
)
_ALL_AWAY = (
    "is nats-server running there, and does the firewall let this machine out to it? Events are kept until it"
    " is back"
)
_ONE_AWAY = "start it: with three servers, one may be away, and with two away nothing is accepted"


async def check_servers(facts: Facts) -> list[Finding]:
    """Connect to each server, and read `sync_interval` where a monitoring port is named."""
    if facts.settings.nats and find_spec("nats") is None:
        return [problem("the client for NATS is not installed", "pip install 'building-gateway[nats]'")]
    return await _of_each(facts, _servers)


async def check_streams(facts: Facts) -> list[Finding]:
    """Look at the stream of each sink, and at the consumer of a source; nothing is changed or fetched."""
    return [] if find_spec("nats") is None else await _of_each(facts, _stream)


async def _of_each(
    facts: Facts, check: Callable[[Facts, str, NatsConfig], Awaitable[list[Finding]]]
) -> list[Finding]:
    found = await asyncio.gather(*(check(facts, *use) for use in facts.settings.nats.items()))
    return [finding for findings in found for finding in findings]


def _connection(facts: Facts, setting: str, config: NatsConfig) -> AbstractAsyncContextManager[JetStreamApi]:
    from gateway.jetstream.api import open_api  # noqa: PLC0415 - loads the client

    return open_api(config, setting=setting, name=facts.settings.name)


async def _servers(facts: Facts, setting: str, config: NatsConfig) -> list[Finding]:
    each = [_server(facts, setting, replace(config, servers=(server,))) for server in config.servers]
    answers = await asyncio.gather(*each)
    away = [f"{setting}: {answer}" for answer in answers if isinstance(answer, TransientError)]
    found = [finding for answer in answers if isinstance(answer, list) for finding in answer]
    if len(away) == len(answers):
        found += [problem(server, _ALL_AWAY) for server in away]
    else:
        found += [warning(server, _ONE_AWAY) for server in away]
    if config.monitor:
        return [*found, *await asyncio.gather(*(_sync(setting, url) for url in config.monitor))]
    return [*found, ok(_UNSEEN_SYNC.format(setting=setting))]


async def _server(facts: Facts, setting: str, config: NatsConfig) -> list[Finding] | TransientError:
    """Return the findings about one server, or why it cannot be asked."""
    where = f"{setting}: {config.servers[0]}"
    try:
        async with _connection(facts, setting, config) as api:
            version, largest = api.client.connected_server_version, api.client.max_payload
    except ConfigError:
        return []  # a secret, reported by the check of the secrets
    except TransientError as error:
        return error
    except GatewayError as error:
        return [problem(f"{where}: {error}", f"correct the files that {setting}.tls names")]
    found = []
    runs = f"{where} runs nats-server {version.major}.{version.minor}.{version.patch}"
    if (version.major, version.minor) < OLDEST_SERVER:
        found.append(problem(f"{runs}, which is too old for this gateway", _UPDATE))
    elif (version.major, version.minor) < _WANTED:
        slow = "with `sync_interval: always`, it takes a tenth of the events that 2.15 takes"
        found.append(warning(f"{runs}: {slow}", _UPDATE))
    intake = facts.settings.intake
    if intake is not None and largest < intake.max_body:
        found.append(
            warning(
                f"{where} takes messages of {largest} bytes at most: larger events, which the intake accepts"
                f" up to {intake.max_body} bytes, become dead letters",
                "set its `max_payload`, or intake.max_body, so that all that is accepted can be published",
            )
        )
    return found or [ok(runs)]


async def _sync(setting: str, url: str) -> Finding:
    """Return whether a server writes an event to disk before it acknowledges it."""
    answer = await get(f"{url}/jsz?config=1", within_s=_WITHIN_S)
    reason, document = "", None
    if isinstance(answer, Failure):
        reason = answer.reason
    else:
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            reason = f"answers {answer.status}, and is no monitoring port of nats-server with JetStream"
    if document is None:
        return warning(f"{setting}.monitor: {url} {reason}", "correct it, or leave it out")
    if value_at(document, "config.sync_always", default=False):
        return ok(f"{url}: sync_interval is always")
    every = duration_text(value_at(document, "config.sync_interval", 0) // NS_PER_MS)
    return warning(
        f"{url}: sync_interval is {every}: if the servers lose power together, the events that they"
        " acknowledged in that time can be lost",
        _SYNC,
    )


async def _stream(facts: Facts, setting: str, config: NatsConfig) -> list[Finding]:
    try:
        async with _connection(facts, setting, config) as api:
            return await _stream_or_consumer(facts, api, setting, config)
    except GatewayError:
        return []  # reported by the checks of the servers and of the secrets


async def _stream_or_consumer(
    facts: Facts, api: JetStreamApi, setting: str, config: NatsConfig
) -> list[Finding]:
    where = f"{setting}: stream {config.stream}"
    try:
        if isinstance(config, NatsSourceConfig):
            found = await _edge(facts, api, setting, config)
        else:
            found = await _intake(facts, api, where, config)
        return [*found, *await _permissions(facts, api, setting, config)]
    except ForbiddenError as error:
        return [warning(f"{where} cannot be looked at: {error}", "allow that to this user: it only reads")]
    except GatewayError as error:
        return [problem(f"{where}: {error}", "see the servers' settings and logs; events are kept meanwhile")]


async def _intake(facts: Facts, api: JetStreamApi, where: str, config: NatsConfig) -> list[Finding]:
    stream = await api.stream(config.stream)
    if stream is None:
        return [problem(f"{where} does not exist: events wait in the journal", SETUP)]
    organization = facts.settings.infodeck.organization
    journal_ms = round(facts.settings.journal.retention * 1000)
    return stream_findings(
        where, stream, organization=organization, journal_ms=journal_ms, now_ms=facts.now_ms
    )


async def _edge(facts: Facts, api: JetStreamApi, setting: str, source: NatsSourceConfig) -> list[Finding]:
    where = f"{setting}: consumer {source.consumer}"
    consumer = await api.consumer(source.stream, source.consumer)
    if consumer is None:
        return [problem(f"{where} does not exist in stream {source.stream}: no event comes", SETUP)]
    try:
        stream = await api.stream(source.stream)
    except ForbiddenError:
        stream = None  # what the intake's doctor looks at
    changes = consumer_changes(consumer["config"], source)
    differing = ", ".join(f"{change.key} {change.values}" for change in changes)
    found = [problem(f"{where} is not as these settings need it: {differing}", SETUP)] if changes else []
    return [*found, *consumer_findings(where, consumer, stream, now_ms=facts.now_ms)]


async def _permissions(facts: Facts, api: JetStreamApi, setting: str, config: NatsConfig) -> list[Finding]:
    try:
        permissions = await api.permissions()
    except ForbiddenError:
        return []  # so it has limits
    source = config if isinstance(config, NatsSourceConfig) else None
    organization = facts.settings.infodeck.organization
    return list(permission_findings(setting, permissions, organization=organization, source=source))
