"""`gateway nats setup`: shows and makes the changes that streams and consumers need."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.cli.arguments import duration_option
from gateway.config.value_types import parse_size
from gateway.errors import CommandError, GatewayError
from gateway.intake.source_config import NatsSourceConfig
from gateway.jetstream.api import open_api
from gateway.settings import load_settings
from gateway.text import align_columns
from gateway.tools.stream_setup import NS_PER_S, consumer_changes, stream_changes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gateway.jetstream.api import JetStreamApi
    from gateway.jetstream.config import NatsConfig
    from gateway.settings import Settings
    from gateway.tools.stream_setup import Change, Config

_NO_NATS = "these settings have no sink and no source of type nats: see docs/fleet.md"


def setup(arguments: argparse.Namespace) -> int:
    """Show what should change, and change it with --apply; return 0 if all is as it should be."""
    settings = load_settings(arguments.config).require()
    uses = settings.nats
    if not uses:
        raise CommandError(f"{arguments.config}: {_NO_NATS}")
    if arguments.nkey or arguments.credentials:
        user = {"nkey": arguments.nkey, "credentials": arguments.credentials}
        uses = {setting: replace(config, **user) for setting, config in uses.items()}
    asked = _limits(arguments)
    return max(
        asyncio.run(_set_up(setting, config, settings, asked, arguments)) for setting, config in uses.items()
    )


def _limits(arguments: argparse.Namespace) -> Config:
    """Return the limits that the command line names, in JetStream's keys and units."""
    limits: Config = {}
    if arguments.replicas is not None:
        limits["num_replicas"] = arguments.replicas
    if arguments.max_age is not None:
        limits["max_age"] = round(duration_option("--max-age", arguments.max_age)) * NS_PER_S
    if arguments.max_bytes is not None:
        try:
            limits["max_bytes"] = parse_size(arguments.max_bytes)
        except ValueError as error:
            raise CommandError(f"--max-bytes {arguments.max_bytes}: {error}") from error
    return limits


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one stream or consumer lacks; `present` is its configuration, None if it is absent."""

    stream: str
    consumer: str | None
    present: Config | None
    changes: Sequence[Change]

    def __str__(self) -> str:
        return f"stream {self.stream}" + ("" if self.consumer is None else f", consumer {self.consumer}")

    async def apply(self, api: JetStreamApi) -> None:
        """Do it; all other keys stay as they are."""
        is_new = self.present is None
        config = (self.present or {}) | {change.key: change.after for change in self.changes}
        if self.consumer is None:
            await api.write_stream({**config, "name": self.stream}, is_new=is_new)
            return
        if "filter_subjects" in config:
            config.pop("filter_subject", None)  # the same as a list of one, and never both
        await api.write_consumer(self.stream, {**config, "durable_name": self.consumer}, is_new=is_new)


async def _set_up(
    setting: str, config: NatsConfig, settings: Settings, asked: Config, arguments: argparse.Namespace
) -> int:
    async with open_api(config, setting=setting, name=settings.name) as api:
        plan = await _plan(api, config, settings, asked)
        if not plan.changes:
            print(f"{plan}: as it should be")
            return 0
        print(f"{plan}: {'not there yet' if plan.present is None else 'to be changed'}")
        rows = [(change.key, change.values, change.loses or change.note) for change in plan.changes]
        print(align_columns(rows), end="")
        if not arguments.apply:
            print("  nothing is changed: --apply makes it so")
            return 1
        if any(change.loses for change in plan.changes) and not arguments.narrow:
            raise CommandError(
                f"{plan}: nothing is changed, as events would be deleted or refused; --narrow allows it"
            )
        try:
            await plan.apply(api)
        except GatewayError as error:
            raise CommandError(f"{plan}: nothing is changed: {error}{_advice(plan, str(error))}") from error
        print("  done")
    return 0


async def _plan(api: JetStreamApi, config: NatsConfig, settings: Settings, asked: Config) -> _Plan:
    stream = await api.stream(config.stream)
    if not isinstance(config, NatsSourceConfig):
        present = None if stream is None else stream["config"]
        organization = settings.infodeck.organization
        changes = stream_changes(present, organization=organization, asked=asked)
        return _Plan(config.stream, None, present, changes)
    if stream is None:
        raise CommandError(f"stream {config.stream}: not there yet; first run this with an intake's settings")
    consumer = await api.consumer(config.stream, config.consumer)
    present = None if consumer is None else consumer["config"]
    return _Plan(config.stream, config.consumer, present, consumer_changes(present, config))


def _advice(plan: _Plan, reason: str) -> str:
    """Return what to do about the server's usual refusals."""
    if "insufficient resources" in reason or "replicas > 1" in reason:
        return "; three replicas need a cluster of three servers, --replicas 1 is for a trial"
    if "overlap" in reason:
        return f"; name that stream in the settings instead of {plan.stream}, or take the subjects from it"
    if any(change.key in ("storage", "retention") for change in plan.changes):
        return f"; make another stream, and name it in the settings instead of {plan.stream}"
    return ""
