"""Checks of the brokers: is each there, and does it let the gateway in."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, ok, problem
from gateway.doctor.side_by_side import side_by_side
from gateway.errors import ConfigError, GatewayError
from gateway.sinks.mqtt_shared.config import BrokerConfig
from gateway.sinks.mqtt_shared.connection import connect
from gateway.sinks.mqtt_shared.dial import Dial

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup

_WITHIN_S = 6.0
_REFUSED_WORDS = ("not authorized", "bad user name", "refuses the connection")


async def check_brokers(setup: Setup) -> list[Finding]:
    """Connect to each broker as its sink does, under another name so that the gateway is not thrown out."""
    brokers = {name: sink for name, sink in setup.settings.sinks.items() if isinstance(sink, BrokerConfig)}
    return await side_by_side([partial(_broker, name, sink) for name, sink in brokers.items()])


async def _broker(name: str, config: BrokerConfig) -> Finding:
    dial = replace(
        Dial.to(config, client_id="", will=None), client_id=f"gateway-doctor-{secrets.token_hex(4)}"
    )
    where = f"{name}: {config.url}"
    try:
        async with asyncio.timeout(_WITHIN_S):
            connection = await connect(dial)
    except TimeoutError:
        return problem(f"{where} does not answer within {_WITHIN_S:g} s", _network_remedy(config.url.host))
    except ConfigError as error:
        return problem(f"{where}: {error}", "see the check of the secrets here")
    except GatewayError as error:
        reason = str(error)
        refused = any(word in reason.lower() for word in _REFUSED_WORDS)
        remedy = (
            "compare user, password, certificate and access list with the broker's; the gateway's own client"
            " id may be the only one that is let in"
            if refused
            else _network_remedy(config.url.host)
        )
        return problem(f"{where}: {reason}", remedy)
    connection.leave()
    return ok(f"{where} lets the gateway in")


def _network_remedy(host: str) -> str:
    return f"is the broker running, is its port open for this machine? See its log, and the way to {host}"
