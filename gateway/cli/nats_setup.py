"""`gateway nats setup`: shows and makes the changes that streams and consumers need."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.cli.arguments import duration_option
from gateway.config.secrets import SecretSource
from gateway.config.value_types import parse_size
from gateway.errors import CommandError, GatewayError
from gateway.intake.source_config import NatsSourceConfig
from gateway.jetstream.api import open_api
from gateway.settings import load_settings
from gateway.text import align_columns
from gateway.tools.stream_setup import StreamLimits, plan_consumer, plan_stream

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from gateway.jetstream.api import JetStreamApi
    from gateway.jetstream.config import NatsConfig
    from gateway.settings import Settings
    from gateway.tools.stream_setup import Plan

_NO_NATS = "these settings have no sink and no source of type nats: see docs/fleet.md"


def setup(arguments: argparse.Namespace) -> int:
    """Show what should change, and change it with --apply; return 0 if all is as it should be."""
    settings = load_settings(arguments.config).require()
    uses = settings.nats
    if not uses:
        raise CommandError(f"{arguments.config}: {_NO_NATS}")
    limits = _limits(arguments)
    return max(
        asyncio.run(_set_up(setting, _as_user(config, arguments), settings, limits, arguments))
        for setting, config in uses.items()
    )


def _as_user(config: NatsConfig, arguments: argparse.Namespace) -> NatsConfig:
    """Return the settings with the user that the command line names."""
    if arguments.nkey is None and arguments.credentials is None:
        return config
    return replace(config, nkey=_secret(arguments.nkey), credentials=_secret(arguments.credentials))


def _secret(file: Path | None) -> SecretSource | None:
    return None if file is None else SecretSource("file", str(file.absolute()))


def _limits(arguments: argparse.Namespace) -> StreamLimits:
    try:
        max_bytes = None if arguments.max_bytes is None else parse_size(arguments.max_bytes)
    except ValueError as error:
        raise CommandError(f"--max-bytes {arguments.max_bytes}: {error}") from error
    return StreamLimits(
        replicas=arguments.replicas,
        max_age_s=None if arguments.max_age is None else duration_option("--max-age", arguments.max_age),
        max_bytes=max_bytes,
    )


async def _set_up(
    setting: str, config: NatsConfig, settings: Settings, limits: StreamLimits, arguments: argparse.Namespace
) -> int:
    async with open_api(config, setting=setting, name=settings.name) as api:
        plan = await _plan(api, config, settings, limits)
        print(_as_text(plan), end="")
        if not plan.changes:
            return 0
        if not arguments.apply:
            print("  nothing is changed: --apply makes it so")
            return 1
        if plan.loses and not arguments.narrow:
            raise CommandError(
                f"{plan}: nothing is changed, as events would be deleted or refused; --narrow allows it"
            )
        try:
            await plan.apply(api)
        except GatewayError as error:
            raise CommandError(f"{plan}: nothing is changed: {error}{_advice(plan, str(error))}") from error
        print("  done")
    return 0


async def _plan(api: JetStreamApi, config: NatsConfig, settings: Settings, limits: StreamLimits) -> Plan:
    if isinstance(config, NatsSourceConfig):
        if await api.stream(config.stream) is None:
            raise CommandError(
                f"stream {config.stream}: not there yet; first run this with an intake's settings"
            )
        return await plan_consumer(api, config)
    return await plan_stream(api, config.stream, organization=settings.infodeck.organization, limits=limits)


def _as_text(plan: Plan) -> str:
    if not plan.changes:
        return f"{plan}: as it should be\n"
    title = f"{plan}: {'not there yet' if plan.found is None else 'to be changed'}\n"
    return title + align_columns(
        (change.key, change.values, change.loses or change.note) for change in plan.changes
    )


def _advice(plan: Plan, reason: str) -> str:
    """Return what to do about the server's usual refusals."""
    if "insufficient resources" in reason or "replicas > 1" in reason:
        return "; three replicas need a cluster of three servers, --replicas 1 is for a trial"
    if "overlap" in reason:
        return f"; name that stream in the settings instead of {plan.stream}, or take the subjects from it"
    if any(change.key in ("storage", "retention") for change in plan.changes):
        return f"; make another stream, and name it in the settings instead of {plan.stream}"
    return ""
