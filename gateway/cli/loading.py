"""How commands load `gateway.yaml` and the point tables, with all problems of both at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import CommandError, GatewayError
from gateway.journal.lookup import read_assets
from gateway.mapping.compiler import CompiledTables, TableInputs, load_point_map
from gateway.settings import (
    SINK_TYPES,
    IntakeSettings,
    Secrets,
    Settings,
    load_settings,
    resolve_secrets,
)
from gateway.text import count_text

if TYPE_CHECKING:
    import argparse

    from gateway.config.decode import Document, Problem
    from gateway.mapping.plan import PointMap
    from gateway.records import AssetSnapshot

DEFAULT_CONFIG = Path("config/gateway.yaml")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """Settings and tables as far as they could be read; without `point_map`, the tables have problems."""

    settings: Document[Settings]
    point_map: PointMap | None
    problems: list[Problem]
    warnings: list[Problem]

    def require(self, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
        """Return settings and tables; raise CommandError with all problems if there are any."""
        settings = self.settings.value
        if self.problems or settings is None or self.point_map is None:
            raise refusal(self.problems, self.settings.file, folder=folder)
        return settings, self.point_map


def add_config_argument(parser: argparse.ArgumentParser, default: object = DEFAULT_CONFIG) -> None:
    """Add `-c FILE`, a Path in `arguments.config`."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help=f"the gateway's settings (default: {DEFAULT_CONFIG})",
    )


def read_config(config: Path, *, folder: Path | None = None) -> LoadedConfig:
    """Read settings and tables; the tables also with faulty settings, if the types of the sinks are known.

    `folder`: of other tables than those of the settings.
    """
    document = load_settings(config)
    inputs, warnings = table_inputs(document, folder=folder)
    if inputs is None:
        return LoadedConfig(document, None, document.problems, [])
    tables = load_point_map(inputs)
    found = [
        document.problem(("mappings",), str(problem))
        if folder is None and problem.location.file == str(inputs.folder)  # of the folder as a whole
        else problem
        for problem in tables.problems
    ]
    problems = [*document.problems, *found]
    return LoadedConfig(
        document, tables.point_map, problems, [*document.warnings, *warnings, *tables.warnings]
    )


def load(config: Path, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
    """Return settings and tables; raise CommandError with all problems if there are any.

    `folder`: of other tables than those of the settings.
    """
    return read_config(config, folder=folder).require(folder=folder)


def load_with_secrets(config: Path) -> tuple[Settings, Secrets, PointMap]:
    """Return settings, secrets and tables; an unreadable secret is a problem like others."""
    loaded = read_config(config)
    settings, point_map = loaded.require()
    return settings, resolve_secrets(loaded.settings), point_map


def load_to_run(config: Path) -> tuple[Settings, Secrets, CompiledTables]:
    """Return settings, secrets, and tables with their warnings."""
    loaded = read_config(config)
    settings, point_map = loaded.require()
    return settings, resolve_secrets(loaded.settings), CompiledTables(point_map, [], loaded.warnings)


def reread_tables(settings: Settings, snapshot: AssetSnapshot | None) -> CompiledTables:
    """Read the point tables again, for a gateway that runs with these settings."""
    return load_point_map(inputs_of(settings, snapshot))


def inputs_of(settings: Settings, snapshot: AssetSnapshot | None = None) -> TableInputs:
    """Return what the point tables of these settings are compiled with."""
    sinks = {name: sink.type for name, sink in settings.sinks.items()}
    return TableInputs(settings.mappings, sinks, settings.mqtt_topics, snapshot, settings.write_limits)


def table_inputs(
    document: Document[Settings], *, folder: Path | None = None
) -> tuple[TableInputs | None, list[Problem]]:
    """Return what the tables are compiled with, and warnings. With faulty settings, what remains of these.

    None if the type of a sink is unknown: then every point on it would be a problem, too. Tables of another
    `folder` need no BACnet instances: they may be older than the sink.
    """
    settings, snapshot = document.value, None
    warnings: list[Problem] = []
    if settings is not None:
        try:
            snapshot = read_assets(settings.journal.path)
        except GatewayError as error:
            message = f"nothing is known of Infodeck's assets, automatic ones are left out: {error}"
            warnings.append(document.problem(("journal", "url"), message))
        inputs = inputs_of(settings, snapshot)
        return (inputs if folder is None else replace(inputs, folder=folder, needs_instances=False)), warnings
    written, named = document.written(["mappings"]), document.written(["sinks"])
    tables = folder or document.file.parent / (written if isinstance(written, str) else "../mappings")
    names = named if isinstance(named, dict) else {}
    sinks = {name: str(document.written(["sinks", name, "type"])) for name in names}
    if not sinks or not SINK_TYPES.keys() >= set(sinks.values()):
        return None, warnings
    rest = document.remains.value
    topics, limits = ({}, {}) if rest is None else (rest.mqtt_topics, rest.write_limits)
    return TableInputs(tables, sinks, topics, None, limits), warnings


def refusal(problems: list[Problem], config: Path, *, folder: Path | None = None) -> CommandError:
    """Return the error with all problems and their number."""
    tables = "its point tables" if folder is None else f"the point tables of {folder}"
    summary = f"{count_text(len(problems), 'problem')} in {config} and {tables}"
    return CommandError(summary, problems=[str(problem) for problem in problems])


def require_intake(settings: Settings) -> IntakeSettings:
    """Return the settings of the intake; raise CommandError if this gateway has a source instead."""
    if settings.intake is None:
        raise CommandError(
            "this gateway has no intake: its events come from its `source`. Run the command with the settings"
            " of a gateway that takes the webhooks"
        )
    return settings.intake
