"""`gateway send`: signs and posts one event to this gateway, for commissioning."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

import aiohttp
import orjson

from gateway.cli.loading import add_config_argument, load_with_secrets
from gateway.cli.own_intake import ANSWER_WITHIN_S, intake_url, own_tls, readings_event, signed_headers
from gateway.errors import CommandError

if TYPE_CHECKING:
    from gateway.model import Scalar

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
    event = readings_event(
        asset=arguments.asset,
        telemetry=dict(arguments.readings),
        organization=settings.infodeck.organization,
        timestamp=arguments.time,
        event_id=arguments.id,
        is_test=arguments.test,
    )
    secret = found.signing_secrets[0].reveal()
    code, answer = asyncio.run(_post(intake_url(settings), orjson.dumps(event), secret))
    print(f"{event['id']}: {code} {answer}")
    if arguments.asset not in points.by_asset:
        print(f"note: no point table names {arguments.asset}; the event is kept, but goes nowhere")
    return 0 if code == _OK else 1


async def _post(url: str, body: bytes, secret: bytes) -> tuple[int, str]:
    """Return status and text of the answer."""
    timeout, headers = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S), signed_headers(body, secret)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers, ssl=own_tls()) as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(f"{url}: no answer ({error}); is the gateway running?") from error
