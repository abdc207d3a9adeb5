"""Checks of the brokers: is each there, and does it let the gateway in."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, ok, problem
from gateway.doctor.probe import Failure, Stage, failure_of
from gateway.doctor.side_by_side import side_by_side
from gateway.errors import ConfigError, GatewayError, TransientError
from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.broker.connection import connect
from gateway.sinks.broker.dial import Dial

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup

_WITHIN_S = 6.0
_REFUSED = "the broker refuses the connection: "
_OTHER_PROTOCOL = "protocol version"
_RUNNING = "is the broker running, is its port open for this machine? See its log, and the way to {host}"
_OTHER_PORT = "does the broker serve TLS on this port? That is 8883 as a rule, and 1883 without TLS: mqtt://"
_CERTIFICATE = (
    "give the authority that issued it as sinks.{name}.ca, and the broker's name as it is in there; or have"
    " it renewed"
)
_REMEDIES = {
    Stage.NAME: "correct the name in sinks.{name}.url, or see this machine's name servers: getent hosts"
    " {host}",
    Stage.PLAIN: _OTHER_PORT,
    Stage.TLS: _OTHER_PORT,
}


async def check_brokers(setup: Setup) -> list[Finding]:
    """Connect to each broker as its sink does, under another name so that the gateway is not thrown out."""
    brokers = {name: sink for name, sink in setup.settings.sinks.items() if isinstance(sink, BrokerConfig)}
    seen = await side_by_side([partial(_broker, name, sink) for name, sink in brokers.items()])
    return [finding for finding in seen if finding is not None]


async def _broker(name: str, config: BrokerConfig) -> Finding | None:
    dial = replace(
        Dial.to(config, client_id="", will=None), client_id=f"gateway-doctor-{secrets.token_hex(4)}"
    )
    where = f"{name}: {config.url}"
    try:
        async with asyncio.timeout(_WITHIN_S):
            connection = await connect(dial)
    except TimeoutError:
        return _unreached(name, config, Failure(Stage.TIME, f"does not answer within {_WITHIN_S:g} s"))
    except ConfigError:
        return None  # a secret, told by the check of the secrets
    except TransientError as error:
        if isinstance(error.__cause__, OSError):
            return _unreached(name, config, failure_of(error.__cause__, within_s=_WITHIN_S))
        return _refused(name, config, str(error))
    except GatewayError as error:
        return problem(f"{where}: {error}", f"correct the files that sinks.{name} names")
    connection.leave()
    return ok(f"{where} lets the gateway in")


def _unreached(name: str, config: BrokerConfig, failure: Failure) -> Finding:
    """Say why there is no connection."""
    host, stage = config.url.host, failure.stage
    if stage is Stage.TIME and config.url.tls:
        stage = Stage.TLS  # a broker without TLS waits for MQTT
    usual = _CERTIFICATE if stage.is_certificate else _RUNNING
    remedy = _REMEDIES.get(stage, usual).format(name=name, host=host)
    return problem(f"{name}: {config.url} {failure.reason}", remedy)


def _refused(name: str, config: BrokerConfig, reason: str) -> Finding:
    """Say why a broker, or whoever answers in its place, does not let the gateway in."""
    found, _, advice = reason.partition("; ")
    if not reason.startswith(_REFUSED) and advice:
        remedy = f"{advice} (sinks.{name})"
    elif not reason.startswith(_REFUSED):
        remedy = "is that the broker's port, and not another service's? See the broker's log, too"
    elif _OTHER_PROTOCOL in reason.lower():
        remedy = f"{advice or 'set `protocol`'} (sinks.{name}.protocol)"
    else:
        remedy = (
            "compare user, password, certificate and access list with the broker's; the gateway's own client"
            " id may be the only one that is let in"
        )
    return problem(f"{name}: {config.url}: {found}", remedy)
