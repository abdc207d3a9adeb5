"""`gateway.yaml` read and checked as a whole, and the secrets that it refers to."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from gateway.config.decode import MISSING, Document, read_document
from gateway.config.secrets import Secret, SecretSource
from gateway.config.value_types import HostPort, parse_host_port
from gateway.errors import ConfigError
from gateway.events import EventPatterns
from gateway.infodeck.webhooks import ALL_DOCUMENTED_EVENTS
from gateway.settings.shape import DEFAULT_ADMIN, DEFAULT_INTAKE, PARTS, SINK_TYPES, Settings
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.mqtt.config import MqttConfig
from gateway.sinks.sparkplug.config import MqttSparkplugConfig
from gateway.text import closest_name, unknown_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.config.salvage import Steps
    from gateway.settings.shape import SinkConfig

_SHORTEST_TOKEN = 20
_LONGEST_SOCKET_PATH = 100  # bytes; Linux takes 107, others somewhat less
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  recognised, not listened on
_ALL_UNITS = frozenset(range(256))
_FORWARDED = ("intake", "acknowledge", "forwarded")
_KEEPING = ("nats", "mqtt")  # sinks whose server keeps what it has acknowledged


def load_settings(file: Path) -> Document[Settings]:
    """Read `gateway.yaml` and check everything that can be checked without the secrets."""
    document = read_document(file, Settings, parts=PARTS, may_be_null=lambda _: False)
    document.problems += [
        *_entrance_problems(document),
        *_listener_problems(document),
        *_socket_problems(document),
        *_sink_problems(document),
        *_acknowledge_problems(document),
    ]
    document.warnings += _event_warnings(document)
    document.problems.sort(key=lambda problem: problem.location)
    return document


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the gateway itself needs; sinks read their own. None: there is none."""

    api_key: Secret | None
    signing_secrets: tuple[Secret, ...]
    bearer_token: Secret | None = None
    admin_token: Secret | None = None


def resolve_secrets(document: Document[Settings]) -> Secrets:
    """Read every secret, those of the sinks too; raise ConfigError with all that cannot be read."""
    settings = document.require()
    secrets: dict[SecretSource | None, Secret] = {}
    problems = []
    for path, source in secret_sources(settings):
        try:
            secrets[source] = source.resolve()
        except ConfigError as error:
            problems.append(document.problem(path, str(error)))
    token = secrets.get(settings.admin.token)
    if token is not None and len(token.reveal()) < _SHORTEST_TOKEN:
        advice = f"a token has {_SHORTEST_TOKEN} characters or more: `openssl rand -hex 16` makes one"
        problems.append(document.problem(("admin", "token"), advice))
    if problems:
        raise ConfigError([str(problem) for problem in sorted(problems, key=lambda one: one.location)])
    return Secrets(
        api_key=secrets.get(settings.infodeck.api_key),
        signing_secrets=tuple(secrets[source] for source in settings.signing_secrets),
        bearer_token=secrets.get(settings.infodeck.bearer_token),
        admin_token=token,
    )


def read_signing_secrets(settings: Settings) -> list[Secret]:
    """Read the webhook's signing secrets anew; raise ConfigError with the first that cannot be read."""
    return [source.resolve() for source in settings.signing_secrets]


def secret_sources(value: Any, path: Steps = ()) -> Iterator[tuple[Steps, SecretSource]]:
    """Yield every secret's source below `value`, with its path in the file."""
    if isinstance(value, SecretSource):
        yield path, value
        return
    inner: Any = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, tuple):
        inner = dict(enumerate(value))
    elif is_dataclass(value):
        inner = {field.name: getattr(value, field.name) for field in fields(value)}
    for step, part in inner.items():
        yield from secret_sources(part, (*path, step))


def _entrance_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem unless events come in at one place."""
    has_intake, has_source = (document.written([key]) is not MISSING for key in ("intake", "source"))
    if has_intake and has_source:
        message = "events come from an intake or from a source: leave `source` or `intake` out"
        yield document.problem(["source"], message)
    elif not has_intake and not has_source and not document.problems:
        message = (
            "is missing: write `intake` with the webhook's `signing_secrets`, or `source` if the intakes of"
            " other gateways publish to NATS"
        )
        yield document.problem(["intake"], message)


def _listener_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where others could read along or look, and for each port that is taken twice."""
    listeners = dict(_listeners(document))
    for section, what in (("intake", "events"), ("admin", "the token")):
        path: Steps = (section, "listen")
        listen = listeners.get(path)
        if listen is None or listen.is_loopback:
            continue
        if not document.written([section, "tls"]) and not document.written([section, "trusted_proxies"]):
            message = (
                f"{what} would travel in the clear beyond this machine: set `tls`, or set `trusted_proxies`"
                " to the networks of the proxies that end TLS, or listen on 127.0.0.1"
            )
            yield document.problem(path, message, str(listen))
        if section == "admin" and not document.written(["admin", "token"]):
            message = "other machines could look at everything: set `token`, or listen on 127.0.0.1"
            yield document.problem(path, message, str(listen))
    for (other_path, other), (path, address) in combinations(listeners.items(), 2):
        if _collide(address, other):
            message = f"{'.'.join(map(str, other_path))} listens on this port already"
            yield document.problem(path, message, str(address))


def _listeners(document: Document[Settings]) -> Iterator[tuple[Steps, HostPort]]:
    """Yield all addresses as written, so that one mistake elsewhere does not hide those here."""
    sinks = document.written(["sinks"])
    defaults: dict[Steps, HostPort] = {("admin", "listen"): DEFAULT_ADMIN}
    if document.written(["intake"]) is not MISSING:
        defaults = {("intake", "listen"): DEFAULT_INTAKE, **defaults}
    for path in (
        *defaults,
        *(("sinks", name, "listen") for name in (sinks if isinstance(sinks, dict) else ())),
    ):
        written = document.written(path)
        if written is MISSING:
            written = str(defaults.get(path, ""))
        with suppress(ValueError):  # it has a problem of its own, or there is none
            yield path, parse_host_port(written)


def _collide(one: HostPort, other: HostPort) -> bool:
    hosts = {"127.0.0.1" if address.host == "localhost" else address.host for address in (one, other)}
    return one.port == other.port != 0 and (len(hosts) == 1 or not hosts.isdisjoint(_EVERYWHERE))


def _socket_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where the control socket's path is longer than Unix allows."""
    settings = document.value
    if settings is not None and len(os.fsencode(settings.control_socket)) > _LONGEST_SOCKET_PATH:
        yield document.problem(
            ["journal", "url"] if settings.admin.socket is None else ["admin", "socket"],
            f"the path of a Unix socket has {_LONGEST_SOCKET_PATH} bytes at most, this one is"
            f" {settings.control_socket}; set `admin.socket` to a shorter one, such as"
            " /run/gateway/control.sock",
        )


def _sink_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each sink that would be at odds with an earlier one at the same receiver."""
    settings = document.remains.value
    owners: dict[tuple[object, ...], str] = {}
    if settings is None:
        return
    for name, sink in settings.sinks.items():
        reported = set()
        for claim, path, message, value in _claims(sink, settings):
            other = owners.setdefault(claim, name)
            if other != name and path not in reported:
                reported.add(path)
                yield document.problem(["sinks", name, *path], f"sinks.{other} {message}", value)


def _acknowledge_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where answers would wait for no sink, or for one that says nothing about safety."""
    name, sinks = document.written(_FORWARDED), document.written(["sinks"])
    if not isinstance(name, str):
        return  # it waits for the journal alone, or has a problem of its own
    names = sinks if isinstance(sinks, dict) else {}
    kind = document.written(["sinks", name, "type"])
    if name not in names:
        yield document.problem(_FORWARDED, unknown_name("sink", name, names), name)
    elif kind in SINK_TYPES and kind not in _KEEPING:
        message = (
            f"this sink is of type {kind}, which keeps nothing if this machine is lost: name one of type"
            f" {' or '.join(_KEEPING)}"
        )
        yield document.problem(_FORWARDED, message, name)


def _event_warnings(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a warning for each pattern in `events` that matches no documented type: new ones may exist."""
    settings = document.value
    for name, sink in {} if settings is None else settings.sinks.items():
        for number, pattern in enumerate(sink.events if isinstance(sink, MqttConfig) else ()):
            if not any(each in EventPatterns([pattern]) for each in ALL_DOCUMENTED_EVENTS):
                close = closest_name(pattern, ALL_DOCUMENTED_EVENTS)
                message = "matches no event type in Infodeck's documents" + (
                    "" if close is None else f", did you mean `{close}`?"
                )
                yield document.problem(["sinks", name, "events", number], message, pattern)


def _claims(
    sink: SinkConfig, settings: Settings
) -> Iterator[tuple[tuple[object, ...], tuple[str, ...], str, object]]:
    """Yield what one sink alone may have, the path of the key that says so, and why it is so."""
    if isinstance(sink, BrokerConfig) and sink.client_id is not None:
        message = "is known by this on the same broker, which lets in one of them only"
        yield ("client", sink.url.broker, sink.client_id), ("client_id",), message, sink.client_id
    if isinstance(sink, MqttConfig):
        message = "publishes its state under this on the same broker: set another `prefix`"
        yield ("prefix", sink.url.broker, sink.prefix), ("prefix",), message, sink.prefix
        if sink.home_assistant is not None:
            prefix = sink.home_assistant.discovery_prefix
            message = (
                "publishes each point to Home Assistant on the same broker already: leave it to one of them,"
                " or set another `discovery_prefix`"
            )
            yield ("home_assistant", sink.url.broker, prefix), ("home_assistant",), message, MISSING
    if isinstance(sink, MqttSparkplugConfig):
        message = "is the same node on the same broker: set another `group` or `node`"
        yield (sink.url.broker, sink.node_name(settings.name)), ("group",), message, sink.group
    if isinstance(sink, ModbusClientConfig) and sink.serial is not None:
        message = "is on this line already: one sink writes to all units of a line"
        yield ("line", sink.receiver), ("serial", "port"), message, sink.line
    elif isinstance(sink, ModbusClientConfig):
        message = (
            "writes to this controller already: have one sink write all of it, or give each `units` of its"
            " own"
        )
        for unit in sink.limits.units or _ALL_UNITS:
            yield (sink.receiver, unit), ("host",), message, sink.line
