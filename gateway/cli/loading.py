"""How commands load `gateway.yaml` and the point tables, with all problems of both at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import CommandError, GatewayError
from gateway.journal.lookup import read_assets
from gateway.mapping.compiler import CompiledTables, load_point_map
from gateway.settings import SINK_TYPES, Secrets, Settings, load_settings, resolve_secrets

if TYPE_CHECKING:
    import argparse

    from gateway.config.decode import Document, Problem
    from gateway.mapping.plan import PointMap
    from gateway.mapping.topics import TopicScheme
    from gateway.model import WriteLimits
    from gateway.records import AssetSnapshot

DEFAULT_CONFIG = Path("config/gateway.yaml")
_SIMILAR_TYPE = 0.8  # a misspelt sink type is still unmistakable


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
    inputs = table_inputs(document)
    if inputs is None:
        return LoadedConfig(document, None, document.problems, [])
    tables = load_point_map(
        folder or inputs.folder,
        inputs.sinks,
        topics=inputs.topics,
        snapshot=inputs.snapshot,
        limits=inputs.limits,
    )
    found = [
        document.problem(("mappings",), str(problem))
        if folder is None and problem.location.file == str(inputs.folder)  # of the folder as a whole
        else problem
        for problem in tables.problems
    ]
    warnings = [*inputs.warnings, *tables.warnings]
    return LoadedConfig(document, tables.point_map, [*document.problems, *found], warnings)


def load(config: Path, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
    """Return settings and tables; raise CommandError with all problems if there are any.

    `folder`: of other tables than those of the settings.
    """
    return read_config(config, folder=folder).require(folder=folder)


def load_with_secrets(config: Path) -> tuple[Settings, Secrets, PointMap]:
    """Return settings, secrets and tables; an unreadable secret is a problem like others."""
    settings, secrets, tables = load_to_run(config)
    assert tables.point_map is not None  # noqa: S101 - there are no problems
    return settings, secrets, tables.point_map


def load_to_run(config: Path) -> tuple[Settings, Secrets, CompiledTables]:
    """Return settings, secrets, and tables with their warnings."""
    loaded = read_config(config)
    settings, point_map = loaded.require()
    return settings, resolve_secrets(loaded.settings), CompiledTables(point_map, [], loaded.warnings)


def reread_tables(settings: Settings, snapshot: AssetSnapshot | None) -> CompiledTables:
    """Read the point tables again, for a gateway that runs with these settings."""
    return load_point_map(
        settings.mappings,
        {name: sink.type for name, sink in settings.sinks.items()},
        topics=settings.mqtt_topics,
        snapshot=snapshot,
        limits=settings.write_limits,
    )


def refusal(problems: list[Problem], config: Path, *, folder: Path | None = None) -> CommandError:
    """Return the error with all problems and their number."""
    count = len(problems)
    tables = "its point tables" if folder is None else f"the point tables of {folder}"
    summary = f"{count} problem{'' if count == 1 else 's'} in {config} and {tables}"
    return CommandError(summary, problems=[str(problem) for problem in problems])


@dataclass(frozen=True, slots=True)
class TableInputs:
    """Where the point tables are and what they are compiled with, as for `load_point_map`.

    `snapshot`: the assets as Infodeck's API listed them last, None if it was never asked.
    """

    folder: Path
    sinks: dict[str, str]
    topics: dict[str, TopicScheme]
    limits: dict[str, WriteLimits]
    snapshot: AssetSnapshot | None
    warnings: list[Problem]


def table_inputs(document: Document[Settings]) -> TableInputs | None:
    """Return what the settings say about the tables, as far as possible if they have problems.

    None if the type of a sink is unknown: then every point on it would be a problem, too.
    """
    settings = document.value
    if settings is None:
        return _partial_inputs(document)
    sinks = {name: sink.type for name, sink in settings.sinks.items()}
    snapshot, warnings = _stored_snapshot(document, settings)
    return TableInputs(
        settings.mappings, sinks, settings.mqtt_topics, settings.write_limits, snapshot, warnings
    )


def _partial_inputs(document: Document[Settings]) -> TableInputs | None:
    written, named = document.written(["mappings"]), document.written(["sinks"])
    folder = document.file.parent / (written if isinstance(written, str) else "../mappings")
    sinks = {}
    for name in named if isinstance(named, dict) else ():
        of_type = str(document.written(["sinks", name, "type"]))
        close = difflib.get_close_matches(of_type, SINK_TYPES, n=1, cutoff=_SIMILAR_TYPE)
        if not close:
            return None
        sinks[name] = close[0]
    rest = document.remains.value
    topics, limits = ({}, {}) if rest is None else (rest.mqtt_topics, rest.write_limits)
    return TableInputs(folder, sinks, topics, limits, None, []) if sinks else None


def _stored_snapshot(
    document: Document[Settings], settings: Settings
) -> tuple[AssetSnapshot | None, list[Problem]]:
    """Return the snapshot in the journal; an unreadable journal becomes a warning."""
    try:
        return read_assets(settings.journal.path), []
    except GatewayError as error:
        message = f"nothing is known of Infodeck's assets, automatic ones are left out: {error}"
        return None, [document.problem(("journal", "url"), message)]
