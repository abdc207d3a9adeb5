"""Checks of this machine and what it connects to: tables, certificates, disk, ports, brokers, controllers."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from http import HTTPStatus
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.value_types import rounded_size_text, size_text
from gateway.doctor.daemon_status import HttpAnswer, get
from gateway.doctor.diagnosis import Finding, ok, problem, warning
from gateway.errors import ConfigError, GatewayError, TransientError, system_reason
from gateway.infodeck.request_errors import Failure, Stage, failure_of
from gateway.journal.journal_file import disk_reserve
from gateway.sinks.bacnet.config import BacnetConfig
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.mqtt_connection import connect
from gateway.sinks.modbus_client.config import ModbusClientConfig
from gateway.sinks.modbus_client.link import open_link
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.text import count_text, span_text
from gateway.tls import Validity, server_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.config.decode import Problem
    from gateway.config.value_types import HostPort
    from gateway.doctor.facts import Facts
    from gateway.settings import IntakeSettings, Settings

_MOST_SHOWN = 5
_EXAMPLE_ORGANIZATIONS = {"o-xxxx", "o-demo"}
# RFC 2606, RFC 5737 and RFC 3849: names and addresses for documentation.
_is_example = re.compile(
    r"(.*\.)?example(\.(com|org|net))?|(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+|2001:db8:.*"
).fullmatch
_DAY_S = 86_400
_CERTIFICATE_WARNING_S = 30 * _DAY_S
_CERTIFICATE_PROBLEM_S = 7 * _DAY_S
_RENEW = "renew it, and see why that did not happen by itself"
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_MAKE_ROOM = "make room, or lower journal.max_size; when it is full, Infodeck tries again for 24 h"
_EVERYONE = frozenset({ip_network("0.0.0.0/0"), ip_network("::/0")})
_NAME_CONTROLLERS = "name the networks of the controllers: allow: [10.1.0.0/16]"
_RESTART = "restart the gateway if the settings were changed; `journalctl -u gateway` says more"
_CONNECT_WITHIN_S = 4.0
_BROKER_WITHIN_S = 6.0
_BROKER_RUNS = "is the broker running, is its port open for this machine? See its log, and the way to {host}"
_OTHER_PORT = "does the broker serve TLS on this port? That is 8883 as a rule, and 1883 without TLS: mqtt://"
_BROKER_CERTIFICATE = (
    "set the authority that issued it as sinks.{name}.ca, and the broker's name as in the certificate; or"
    " have it renewed"
)
_BROKER_REMEDIES = {
    Stage.NAME: "correct the name in sinks.{name}.url, or see this machine's name servers: getent hosts"
    " {host}",
    Stage.PLAIN: _OTHER_PORT,
    Stage.TLS: _OTHER_PORT,
    **dict.fromkeys(filter(lambda stage: stage.is_certificate, Stage), _BROKER_CERTIFICATE),
}
_REFUSED_BY_BROKER = (
    "compare user, password, certificate and access list with the broker's, and see its log: another"
    " service may have the port, and the gateway's own client id may be the only one that is let in"
)


def settings_findings(
    file: Path, settings: Settings | None, problems: Sequence[Problem], left_out: Sequence[str]
) -> list[Finding]:
    """Return the findings about gateway.yaml; `left_out` are the checks that its problems prevent."""
    if not problems and settings is not None:
        sinks = ", ".join(f"{name} ({sink.type})" for name, sink in settings.sinks.items())
        return [ok(f"{file}: gateway {settings.name}, sinks {sinks or 'none'}")]
    findings = _first_problems(problems)
    if left_out:
        findings.append(
            warning(f"not checked because of that: {', '.join(left_out)}", "correct the settings, try again")
        )
    return findings


def check_tables(facts: Facts) -> Iterator[Finding]:
    """Report what compiling the point tables found, as `gateway check` does."""
    folder = facts.settings.mappings
    warnings = [one for one in facts.table_warnings if one.steps[:1] != ("journal",)]  # has its own check
    yield from _first_problems(facts.table_problems)
    if warnings:
        yield warning(f"{count_text(len(warnings), 'warning')}: {warnings[0]}", "see `gateway check`")
    if facts.point_map is None or facts.table_problems or warnings:
        return
    if facts.point_map.points:
        assets = count_text(len(facts.point_map.by_asset), "asset")
        yield ok(f"{folder}: {assets}, {count_text(len(facts.point_map.points), 'point')}")
    else:
        yield warning(f"{folder} has no points", "write one, `gateway discover` drafts it")


def _first_problems(problems: Sequence[Problem]) -> list[Finding]:
    remedy = f"correct it there; `gateway check` shows all problems ({len(problems)})"
    return [problem(str(one), remedy) for one in problems[:_MOST_SHOWN]]


def check_examples(facts: Facts) -> Iterator[Finding]:
    """Look for values that were left over from the example."""
    for path, value in _example_values(facts.settings):
        yield problem(f"{path}: {value} is an example", "replace it with this building's value")


def _example_values(settings: Settings) -> Iterator[tuple[str, str]]:
    infodeck = settings.infodeck
    is_simulated = urlsplit(infodeck.api).scheme == "http"  # the settings allow that on loopback only
    if infodeck.organization in _EXAMPLE_ORGANIZATIONS and not is_simulated:
        yield "infodeck.organization", infodeck.organization
    if infodeck.webhook is not None and _is_example(urlsplit(infodeck.webhook.url).hostname or ""):
        yield "infodeck.webhook.url", infodeck.webhook.url
    for name, sink in settings.sinks.items():
        if isinstance(sink, BrokerConfig) and _is_example(sink.url.host):
            yield f"sinks.{name}.url", str(sink.url)
        if isinstance(sink, ModbusClientConfig) and sink.host is not None and _is_example(sink.host):
            yield f"sinks.{name}.host", sink.host


def check_certificates(facts: Facts) -> Iterator[Finding]:
    """Check each certificate: whether it fits its key, until when it is valid, and for which names."""
    webhook, intake = facts.settings.infodeck.webhook, facts.settings.intake
    has_proxies = intake is not None and intake.trusted_proxies
    for pair in facts.settings.certificates():
        try:
            server_context(pair.setting, pair.certificate, pair.key)
            validity = Validity.from_pem(pair.certificate.read_bytes())
        except (GatewayError, ValueError, OSError) as error:
            yield problem(
                str(error), "both must be PEM files that the gateway's user may read, and belong together"
            )
            continue
        yield check_validity(f"{pair.setting}: {pair.certificate}", validity, now_s=facts.now_ms / 1000)
        host = "" if webhook is None else urlsplit(webhook.url).hostname or ""
        is_public = pair.setting == "intake.tls" and host and not has_proxies
        if is_public and (validity.is_self_signed or not validity.covers(host)):
            yield warning(
                f"{pair.setting}: it is self-signed, or not for {host}, to which Infodeck posts",
                f"get one for {host} from a public authority, unless a proxy in front shows another one",
            )


def check_validity(what: str, validity: Validity, *, now_s: float) -> Finding:
    """Return how long a certificate is still valid."""
    left_s = validity.until_s - now_s
    if now_s < validity.from_s:
        return problem(f"{what} is not valid yet", "check this machine's clock, and the certificate's dates")
    if left_s <= 0:
        return problem(f"{what} expired {span_text(-left_s)} ago", _RENEW)
    expires = f"{what} expires in {span_text(left_s)}"
    if left_s < _CERTIFICATE_WARNING_S:
        return (problem if left_s < _CERTIFICATE_PROBLEM_S else warning)(expires, _RENEW)
    return ok(f"{expires}, for {', '.join(validity.names)}")


def check_disk(facts: Facts) -> Iterator[Finding]:
    """Check the folder of the journal: its permissions, its kind of disk and its room."""
    journal, max_bytes = facts.settings.journal.path, facts.settings.journal.max_size
    folder = journal.parent
    try:
        disk = shutil.disk_usage(folder)
    except OSError as error:
        yield problem(
            f"{folder}: {error.strerror}",
            f"make it, for the gateway's user alone: install -d -m 0700 {folder}; under systemd"
            " StateDirectory= does that",
        )
        return
    if _file_system(folder) in _IN_MEMORY:
        yield problem(
            f"{folder} is in memory: a restart loses what was acknowledged",
            "put the journal on a disk: journal.url",
        )
    used_bytes = journal.stat().st_size if journal.exists() else 0
    free = f"{folder} has {rounded_size_text(disk.free)} free"
    if disk.free < (reserve := disk_reserve(disk.total)):
        yield problem(
            f"{free}, and {rounded_size_text(reserve)} are reserved for cursors and values", _MAKE_ROOM
        )
    elif disk.free + used_bytes < max_bytes:
        yield warning(f"{free}, but the journal may grow to {size_text(max_bytes)}", _MAKE_ROOM)
    else:
        yield ok(free)


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system that a folder is in, None if it is unknown."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == number), None)


async def check_ports(facts: Facts) -> list[Finding]:
    """Check that each port of the gateway is free while it is down, and open while it runs."""
    settings, daemon = facts.settings, facts.daemon
    servers = {name: sink for name, sink in settings.sinks.items() if isinstance(sink, ModbusServerConfig)}
    intake = settings.intake
    listeners = {} if intake is None else {"intake.listen": intake.listen}
    listeners |= {f"sinks.{name}.listen": sink.listen for name, sink in servers.items()}
    findings = [finding for name, sink in servers.items() for finding in allowed_findings(name, sink)]
    if daemon.is_silent:
        return findings  # a gateway that hangs holds them all
    if daemon.status is None and not daemon.is_other:  # otherwise reported by the check of the gateway
        listeners["admin.listen"] = settings.admin.listen
    probe = _is_free if daemon.status is None else _is_open
    faults = [await probe(setting, address) for setting, address in listeners.items()]
    if intake is not None and daemon.status is not None and faults[0] is None:
        faults.append(await _other_intake(intake))
    findings += filter(None, faults)
    how = "free" if daemon.status is None else "the gateway's"
    ports = [ok(f"{', '.join(map(str, listeners.values()))}: {how}")] if listeners else []
    return findings or ports


async def _is_free(setting: str, address: HostPort) -> Finding | None:
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, address.host, address.port)
    except OSError as error:
        return problem(
            f"{setting}: {address} cannot be listened on: {system_reason(error)}",
            f"see who has it: ss -ltnp 'sport = :{address.port}' (a gateway with another admin.listen,"
            " perhaps); or give an address of this machine, and for ports below 1024 the right that"
            " systemd/gateway.service names",
        )
    server.close()
    return None


async def _is_open(setting: str, address: HostPort) -> Finding | None:
    here = address.reachable
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(here.host, here.port)
    except (OSError, TimeoutError) as error:
        return problem(
            f"{setting}: nothing listens on {address}: {str(error) or 'no answer'}",
            _RESTART,
        )
    writer.close()
    return None


async def _other_intake(intake: IntakeSettings) -> Finding | None:
    """Report what listens for webhooks unless it is an intake with these settings: that refuses a GET."""
    scheme = "http" if intake.tls is None else "https"
    url = f"{scheme}://{intake.listen.reachable}{intake.path}"
    answer = await get(url, within_s=_CONNECT_WITHIN_S, tls=False)
    if isinstance(answer, HttpAnswer) and answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return None
    how = answer.reason if isinstance(answer, Failure) else f"answers {answer.status} to a GET, not 405"
    return problem(f"{intake.listen}{intake.path} {how}", _RESTART)


def allowed_findings(name: str, config: ModbusServerConfig | BacnetConfig) -> Iterator[Finding]:
    """Report where `listen` and `allow` let every machine in, or no other machine."""
    are_here = all(network.is_loopback for network in config.allow)
    if config.listen.is_loopback and not are_here:
        yield warning(
            f"sinks.{name}.listen is {config.listen}, where no other machine gets to",
            f"listen on the address in the controllers' network: listen: 0.0.0.0:{config.listen.port}",
        )
    if config.listen.is_loopback:
        return
    if are_here:
        yield warning(f"sinks.{name}.allow lets in no other machine", _NAME_CONTROLLERS)
    elif _EVERYONE & set(config.allow) and (isinstance(config, BacnetConfig) or config.tls is None):
        yield warning(f"sinks.{name}.allow lets every machine poll {config.listen}", _NAME_CONTROLLERS)


async def check_brokers(facts: Facts) -> list[Finding]:
    """Connect to each broker as its sink does, with another client id: the gateway stays connected."""
    brokers = {name: sink for name, sink in facts.settings.sinks.items() if isinstance(sink, BrokerConfig)}
    found = await asyncio.gather(*(_broker(name, config) for name, config in brokers.items()))
    return [finding for finding in found if finding is not None]


async def _broker(name: str, config: BrokerConfig) -> Finding | None:
    where = f"{name}: {config.url}"
    try:
        async with asyncio.timeout(_BROKER_WITHIN_S):
            connection = await connect(config, client_id=f"gateway-doctor-{secrets.token_hex(4)}")
        await connection.close()
    except TimeoutError:
        stage = Stage.TLS if config.url.tls else Stage.TIME  # a broker without TLS waits for MQTT
        return _unreachable(name, config, Failure(stage, f"does not answer within {_BROKER_WITHIN_S:g} s"))
    except ConfigError:
        return None  # a secret, reported by the check of the secrets
    except TransientError as error:
        if isinstance(error.__cause__, OSError):
            return _unreachable(name, config, failure_of(error.__cause__, within_s=_BROKER_WITHIN_S))
        found, _, advice = str(error).partition("; ")
        return problem(f"{where}: {found}", f"{advice or _REFUSED_BY_BROKER} (sinks.{name})")
    except GatewayError as error:
        return problem(f"{where}: {error}", f"correct the files that sinks.{name} names")
    return ok(f"{where} lets the gateway in")


def _unreachable(name: str, config: BrokerConfig, failure: Failure) -> Finding:
    remedy = _BROKER_REMEDIES.get(failure.stage, _BROKER_RUNS).format(name=name, host=config.url.host)
    return problem(f"{name}: {config.url} {failure.reason}", remedy)


async def check_controllers(facts: Facts) -> list[Finding]:
    """Connect to each controller; nothing is read from it or written to it."""
    found = [
        _controller(name, config, is_connected=facts.daemon.at(f"sinks.{name}.connected", default=False))
        for name, config in facts.settings.sinks.items()
        if isinstance(config, ModbusClientConfig)
    ]
    return await asyncio.gather(*found)


async def _controller(name: str, config: ModbusClientConfig, *, is_connected: bool) -> Finding:
    where = f"{name}: {config.line}"
    if is_connected:  # some controllers accept only one connection, and the gateway has it
        return ok(f"{where} is connected, as the running gateway says")
    if config.serial is not None:
        return await asyncio.to_thread(_serial_port, where, config.serial.port)
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S), open_link(config, on_end=lambda: None):
            return ok(f"{where} accepts connections")
    except (TransientError, TimeoutError) as error:
        return problem(
            f"{where}: {str(error) or f'no connection within {_CONNECT_WITHIN_S:g} s'}",
            "is the controller on, is Modbus TCP enabled there, and is the way to it open? A name must be"
            f" known here: getent hosts {config.host}",
        )


def _serial_port(where: str, port: Path) -> Finding:
    if not port.is_char_device():
        return problem(
            f"{where}: there is no serial port",
            "is the adapter plugged in? ls -l /dev/serial/by-id shows those that are",
        )
    if not os.access(port, os.R_OK | os.W_OK):
        return problem(
            f"{where} may not be used by this user",
            "the service needs DeviceAllow= and SupplementaryGroups=dialout, see systemd/gateway.service",
        )
    return ok(f"{where} is there and may be used")
