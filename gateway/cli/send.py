"""`gateway send`: signs and posts one event to this gateway, for commissioning."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.cli.loading import add_config_argument, load_with_secrets
from gateway.errors import CommandError
from gateway.signature import HEADER, sign

if TYPE_CHECKING:
    from gateway.model import Scalar
    from gateway.settings import Settings

_ANSWER_WITHIN_S = 30.0
_OK = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument("--asset", required=True, metavar="ID", help="the asset's id, such as ast-a1b2c3d4")
    parser.add_argument(
        "--test", action="store_true", help="mark it as a test, which never reaches the building"
    )
    parser.add_argument("--id", metavar="ID", help="the event's id; default: a new one")
    parser.add_argument(
        "--time", metavar="SECONDS", type=int, help="when it was measured, Unix time; default: now"
    )
    parser.add_argument(
        "readings",
        nargs="+",
        type=parse_reading,
        metavar="key=value",
        help="readings, such as temperature=21.5",
    )


def parse_reading(text: str) -> tuple[str, Scalar]:
    """Return key and value."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: a reading is key=value, such as temperature=21.5")
    return key, parse_value(value)


def parse_value(text: str) -> Scalar:
    """Return what is meant: numbers, true, false and null as such, all else is text."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return parsed if parsed is None or isinstance(parsed, str | int | float | bool) else text


def run(arguments: argparse.Namespace) -> int:
    """Post the event and print the answer; return 0 if it was accepted."""
    settings, found, points = load_with_secrets(arguments.config)
    event = _event(arguments, settings.infodeck.organization)
    body = orjson.dumps(event)
    header = sign(body, found.signing_secrets[0].reveal(), int(time.time()))
    code, answer = asyncio.run(_post(_url(settings), body, header))
    print(f"{event['id']}: {code} {answer}")
    if arguments.asset not in points.by_asset:
        print(f"note: no point table names {arguments.asset}; the event is kept, but goes nowhere")
    return 0 if code == _OK else 1


def _event(arguments: argparse.Namespace, organization: str) -> dict[str, Any]:
    created = int(time.time())
    measured = created if arguments.time is None else arguments.time
    event: dict[str, Any] = {
        "id": arguments.id or f"evt_{secrets.token_hex(12)}",
        "type": "asset.telemetry.updated",
        "organizationId": organization,
        "created": created,
        "data": {
            "object": {
                "assetId": arguments.asset,
                "timestamp": measured,
                "telemetry": dict(arguments.readings),
            }
        },
        "livemode": not arguments.test,
    }
    return event | {"isTest": True} if arguments.test else event


def _url(settings: Settings) -> str:
    intake = settings.intake
    scheme = "http" if intake.tls is None else "https"
    return f"{scheme}://{intake.listen.reachable}{intake.path}"


async def _post(url: str, body: bytes, header: str) -> tuple[int, str]:
    """Return status and text of the answer. The certificate names the public host, not this socket."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers={HEADER: header}, ssl=context) as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(f"{url}: no answer ({error}); is the gateway running?") from error
