"""`gateway.yaml` read and checked as a whole, and the secrets that it refers to."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.decode import MISSING, Document, read_document
from gateway.config.secrets import Secret, SecretSource
from gateway.config.value_types import HostPort, parse_host_port
from gateway.errors import ConfigError
from gateway.settings.shape import DEFAULT_ADMIN, DEFAULT_INTAKE, PARTS, Settings
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_client.sink import ModbusClientConfig
from gateway.sinks.mqtt.sink import MqttConfig
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.config.decode import Problem
    from gateway.settings.sink_types import SinkConfig
    from gateway.sinks.sparkplug.config import NodeName

_SHORTEST_TOKEN = 20
_TOO_SHORT = f"a token has {_SHORTEST_TOKEN} characters or more: `openssl rand -hex 16` makes one"
_LONGEST_SOCKET_PATH = 100  # bytes; Linux takes 107, others somewhat less
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  recognised, not listened on


def load_settings(file: Path) -> Document[Settings]:
    """Read `gateway.yaml` and check everything that can be checked without the secrets."""
    document = read_document(file, Settings, parts=PARTS, may_be_null=lambda _: False)
    document.problems += [
        *_clear_text_problems(document),
        *_token_problems(document),
        *_port_problems(document),
        *_socket_problems(document),
        *_broker_problems(document),
        *_home_assistant_problems(document),
        *_controller_problems(document),
    ]
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
    secrets: dict[SecretSource, Secret] = {}
    problems = []
    for path, source in secret_sources(settings):
        try:
            secrets[source] = source.resolve()
        except ConfigError as error:
            problems.append(document.problem(path, str(error)))
    token = settings.admin.token
    if token in secrets and len(secrets[token].reveal()) < _SHORTEST_TOKEN:
        problems.append(document.problem(("admin", "token"), _TOO_SHORT))
    if problems:
        raise ConfigError([str(problem) for problem in sorted(problems, key=lambda one: one.location)])
    infodeck = settings.infodeck

    def optional(source: SecretSource | None) -> Secret | None:
        return None if source is None else secrets[source]

    return Secrets(
        api_key=optional(infodeck.api_key),
        signing_secrets=tuple(secrets[source] for source in settings.intake.signing_secrets),
        bearer_token=optional(infodeck.bearer_token),
        admin_token=optional(settings.admin.token),
    )


def read_signing_secrets(settings: Settings) -> list[Secret]:
    """Read the webhook's signing secrets anew; raise ConfigError with the first that cannot be read."""
    return [source.resolve() for source in settings.intake.signing_secrets]


def secret_sources(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, SecretSource]]:
    """Yield every secret's source below `value`, with its path in the file."""
    if isinstance(value, SecretSource):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from secret_sources(inner, (*path, key))
    elif isinstance(value, tuple):
        for position, inner in enumerate(value):
            yield from secret_sources(inner, (*path, position))
    elif is_dataclass(value):
        for field in fields(value):
            yield from secret_sources(getattr(value, field.name), (*path, field.name))


def _clear_text_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where events or the admin token would travel unprotected."""
    for section, what in (("intake", "events"), ("admin", "the token")):
        listen = _listeners(document).get((section, "listen"))
        protected = document.written([section, "tls"]) or document.written([section, "trusted_proxies"])
        if listen and not listen.is_loopback and not protected:
            yield document.problem(
                [section, "listen"],
                f"{what} would travel in the clear beyond this machine: set `tls`, or set `trusted_proxies`"
                " to the networks of the proxies that end TLS, or listen on 127.0.0.1",
                str(listen),
            )


def _token_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where anybody could look at the admin pages."""
    listen = _listeners(document).get(("admin", "listen"))
    if listen and not listen.is_loopback and not document.written(["admin", "token"]):
        yield document.problem(
            ["admin", "listen"],
            "other machines could look at everything: set `token`, or listen on 127.0.0.1",
            str(listen),
        )


def _port_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each listener on a port that another one has."""
    taken: dict[tuple[str, ...], HostPort] = {}
    for path, address in _listeners(document).items():
        for other_path, other in taken.items():
            if _collide(address, other):
                message = f"{'.'.join(other_path)} listens on this port already"
                yield document.problem(path, message, str(address))
        taken[path] = address


def _socket_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem where the control socket's path is longer than Unix allows."""
    settings = document.value
    if settings is None or len(os.fsencode(settings.control_socket)) <= _LONGEST_SOCKET_PATH:
        return
    path = settings.control_socket
    advice = f"the path of a Unix socket has {_LONGEST_SOCKET_PATH} bytes at most, this one is {path}"
    if settings.admin.socket is not None:
        yield document.problem(["admin", "socket"], advice)
    else:
        yield document.problem(
            ["journal", "url"],
            f"{advice}; set `admin.socket` to a shorter one, such as /run/gateway/control.sock",
        )


def _broker_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each sink that would be at odds with another one on the same broker."""
    clients: dict[tuple[str, str], str] = {}
    prefixes: dict[tuple[str, str], str] = {}
    nodes: dict[tuple[str, NodeName], str] = {}
    settings = document.remains.value
    if settings is None:
        return
    for name, sink in settings.sinks.items():
        if not isinstance(sink, BrokerConfig):
            continue
        broker = sink.url.broker
        if sink.client_id is not None:
            other = clients.setdefault((broker, sink.client_id), name)
            if other != name:
                message = f"sinks.{other} is known by this on the same broker, which lets in one of them only"
                yield document.problem(["sinks", name, "client_id"], message, sink.client_id)
        if isinstance(sink, MqttConfig):
            other = prefixes.setdefault((broker, sink.prefix), name)
            if other != name:
                message = (
                    f"sinks.{other} publishes its state under this on the same broker: set another `prefix`"
                )
                yield document.problem(["sinks", name, "prefix"], message, sink.prefix)
        if isinstance(sink, MqttSparkplugConfig):
            other = nodes.setdefault((broker, sink.node_name(settings.name)), name)
            if other != name:
                message = f"sinks.{other} is the same node on the same broker: set another `group` or `node`"
                yield document.problem(["sinks", name, "group"], message, sink.group)


def _home_assistant_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each sink whose discovery messages another one publishes already."""
    publishers: dict[tuple[str, str], str] = {}
    for name, sink in _readable_sinks(document):
        if not isinstance(sink, MqttConfig) or sink.home_assistant is None:
            continue
        prefix = sink.home_assistant.discovery_prefix
        other = publishers.setdefault((sink.url.broker, prefix), name)
        if other != name:
            yield document.problem(
                ["sinks", name, "home_assistant"],
                f"Home Assistant would get each point twice: sinks.{other} publishes it on the same broker;"
                " leave it to one of them, or set another `discovery_prefix`",
            )


def _controller_problems(document: Document[Settings]) -> Iterator[Problem]:
    """Yield a problem for each sink that would write where another one writes."""
    writers: dict[str, list[tuple[str, frozenset[int] | None]]] = {}
    for name, sink in _readable_sinks(document):
        if not isinstance(sink, ModbusClientConfig):
            continue
        units, others = sink.limits.units, writers.setdefault(sink.receiver, [])
        for other, taken in others:
            if sink.serial is not None:
                message = f"sinks.{other} is on this line already: one sink writes to all units of a line"
                yield document.problem(["sinks", name, "serial", "port"], message, sink.line)
            elif units is None or taken is None or units & taken:
                message = (
                    f"sinks.{other} writes to this controller already: have one sink write all of it, or give"
                    " each `units` of its own"
                )
                yield document.problem(["sinks", name, "host"], message, sink.line)
        others.append((name, units))


def _readable_sinks(document: Document[Settings]) -> Iterable[tuple[str, SinkConfig]]:
    settings = document.remains.value
    return () if settings is None else settings.sinks.items()


def _listeners(document: Document[Settings]) -> dict[tuple[str, ...], HostPort]:
    """Return all addresses as written, so that one mistake elsewhere does not hide those here."""
    listeners: dict[tuple[str, ...], HostPort] = {
        ("intake", "listen"): DEFAULT_INTAKE,
        ("admin", "listen"): DEFAULT_ADMIN,
    }
    sinks = document.written(["sinks"])
    for path in [
        *listeners,
        *(("sinks", name, "listen") for name in (sinks if isinstance(sinks, dict) else ())),
    ]:
        written = document.written(path)
        if written is not MISSING:
            listeners.pop(path, None)
            with suppress(ValueError):  # it has a problem of its own
                listeners[path] = parse_host_port(written)
    return listeners


def _collide(one: HostPort, other: HostPort) -> bool:
    hosts = {"127.0.0.1" if address.host == "localhost" else address.host for address in (one, other)}
    return one.port == other.port != 0 and (len(hosts) == 1 or not hosts.isdisjoint(_EVERYWHERE))
