"""`gateway send`: signs and posts one event to this gateway, for commissioning."""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from gateway.cli.loading import add_config_argument, load_with_secrets, require_intake
from gateway.demo.deliveries import new_event_id, telemetry_event
from gateway.errors import CommandError
from gateway.infodeck.request_errors import failure_of
from gateway.intake.signature import HEADER, sign
from gateway.text import closest_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.mapping.plan import AssetPlan
    from gateway.model import Scalar
    from gateway.settings import IntakeSettings

ANSWER_WITHIN_S = 30.0
_OK = 200
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
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
    try:
        return key, parse_value(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def parse_value(text: str) -> Scalar:
    """Return the value: numbers, true, false and null as such, everything else as text.

    Raises ValueError for a number with a decimal comma, which would be text.
    """
    if _DECIMAL_COMMA.fullmatch(text):
        raise ValueError(f"write {text.replace(',', '.')}, or '\"{text}\"' if it is to be text")
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
    url = intake_url(require_intake(settings))
    code, answer = asyncio.run(_post(url, orjson.dumps(event), found.signing_secrets[0].reveal()))
    print(f"{event['id']}: {code} {answer}")
    if arguments.asset not in points.by_asset:
        print(f"note: no point table names {arguments.asset}; the event is kept, but reaches no point")
    else:
        for key in _unread(points.by_asset[arguments.asset], dict(arguments.readings)):
            close = closest_name(key, points.by_asset[arguments.asset].by_key)
            print(f"note: no point reads `{key}`" + (f", did you mean `{close}`?" if close else ""))
    return 0 if code == _OK else 1


def _unread(plan: AssetPlan, readings: Iterable[str]) -> list[str]:
    """Return the readings that no point of the asset reads."""
    paths = [rule.point.source for rule in plan.by_path]
    return [key for key in readings if key not in plan.by_key and not any(key in path for path in paths)]


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
        reason = failure_of(error, within_s=ANSWER_WITHIN_S).reason
        raise CommandError(f"{url} {reason}; is the gateway running?") from error


def intake_url(intake: IntakeSettings) -> str:
    """Return the URL of an intake on this machine."""
    scheme = "http" if intake.tls is None else "https"
    return f"{scheme}://{intake.listen.reachable}{intake.path}"


def own_tls() -> ssl.SSLContext:
    """Return a context that accepts our own certificate, which names the public host and not this socket."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def readings_event(
    *,
    asset: str,
    telemetry: Mapping[str, Scalar],
    organization: str,
    timestamp: int | None = None,
    event_id: str | None = None,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return an event with readings of an asset, measured at a Unix time in s or ms (default: now)."""
    created_s = int(time.time())
    return telemetry_event(
        asset={"assetId": asset},
        telemetry=telemetry,
        timestamp=created_s if timestamp is None else timestamp,
        event_id=event_id or new_event_id(),
        organization=organization,
        created_s=created_s,
        is_test=is_test,
    )


def signed_headers(body: bytes, secret: bytes) -> dict[str, str]:
    """Return the headers of a delivery of `body` that is sent now."""
    return {"Content-Type": "application/json", HEADER: sign(body, secret, int(time.time()))}
