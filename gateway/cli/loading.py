"""What most commands begin with: `gateway.yaml` and the point tables, every problem of both at once."""

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


_SLIP = 0.8  # so alike, it is the only type that can be meant


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything as far as it could be read. `point_map` is None while the tables have problems."""

    settings: Document[Settings]
    point_map: PointMap | None
    problems: list[Problem]
    warnings: list[Problem]


def add_config_argument(parser: argparse.ArgumentParser, default: object = DEFAULT_CONFIG) -> None:
    """Add `-c FILE`, which `arguments.config` then holds as a Path."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=default,
        metavar="FILE",
        help=f"the gateway's settings (default: {DEFAULT_CONFIG})",
    )


def read(config: Path, *, folder: Path | None = None) -> Loaded:
    """Read settings and tables; the tables are checked wherever the settings name usable sinks.

    `folder`: tables to read in place of those that the settings name.
    """
    document = load_settings(config)
    found = locate_tables(document)
    if found is None:
        return Loaded(document, None, document.problems, [])
    tables = load_point_map(
        folder or found.folder,
        found.sinks,
        topics=found.topics,
        snapshot=found.snapshot,
        limits=found.limits,
    )
    named = tables.problems if folder is not None else _at_mappings(tables.problems, document, found.folder)
    problems, warnings = [*document.problems, *named], [*found.warnings, *tables.warnings]
    return Loaded(document, tables.point_map, problems, warnings)


def _at_mappings(problems: list[Problem], document: Document[Settings], folder: Path) -> list[Problem]:
    """Return the problems, those of the folder itself where the settings name it."""
    return [
        document.problem(("mappings",), str(problem)) if problem.location.file == str(folder) else problem
        for problem in problems
    ]


def load(config: Path, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
    """Return usable settings and tables; otherwise raise CommandError with every problem.

    `folder`: tables to read in place of those that the settings name.
    """
    return _usable(read(config, folder=folder), folder=folder)


def load_with_secrets(config: Path) -> tuple[Settings, Secrets, PointMap]:
    """Return what `load` does and every secret; a secret that can't be read is a problem like others."""
    loaded = read(config)
    settings, point_map = _usable(loaded)
    return settings, resolve_secrets(loaded.settings), point_map


def load_to_run(config: Path) -> tuple[Settings, Secrets, CompiledTables]:
    """Return what `load_with_secrets` does, and the warnings with the tables."""
    loaded = read(config)
    settings, point_map = _usable(loaded)
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


def _usable(loaded: Loaded, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
    settings = loaded.settings.value
    if loaded.problems or settings is None or loaded.point_map is None:
        raise refusal(loaded.problems, loaded.settings.file, folder=folder)
    return settings, loaded.point_map


def refusal(problems: list[Problem], config: Path, *, folder: Path | None = None) -> CommandError:
    """Return the error that has every problem, and counts them. `folder`: as of `load`."""
    count = len(problems)
    tables = "its point tables" if folder is None else f"the point tables of {folder}"
    summary = f"{count} problem{'' if count == 1 else 's'} in {config} and {tables}"
    return CommandError(summary, problems=[str(problem) for problem in problems])


@dataclass(frozen=True, slots=True)
class Tables:
    """Where the point tables are and what they are compiled with, see `load_point_map`.

    `snapshot`: what the gateway last heard of assets from Infodeck's API, None where it never asked.
    """

    folder: Path
    sinks: dict[str, str]
    topics: dict[str, TopicScheme]
    limits: dict[str, WriteLimits]
    snapshot: AssetSnapshot | None
    warnings: list[Problem]


def locate_tables(document: Document[Settings]) -> Tables | None:
    """Return where the tables are, and each sink's type as written where the settings have problems.

    None where the sinks are not even named: then every point would seem to be wrong.
    """
    settings = document.value
    if settings is not None:
        sinks = {name: sink.type for name, sink in settings.sinks.items()}
        snapshot, warnings = _known_assets(document, settings)
        return Tables(
            settings.mappings, sinks, settings.mqtt_topics, settings.write_limits, snapshot, warnings
        )
    written, named = document.written(["mappings"]), document.written(["sinks"])
    folder = document.file.parent / (written if isinstance(written, str) else "../mappings")
    types = {
        name: _meant_type(document.written(["sinks", name, "type"]))
        for name in (named if isinstance(named, dict) else ())
    }
    known = {name: of_type for name, of_type in types.items() if of_type is not None}
    rest = document.remains.value
    topics, limits = ({}, {}) if rest is None else (rest.mqtt_topics, rest.write_limits)
    return Tables(folder, known, topics, limits, None, []) if known and len(known) == len(types) else None


def _meant_type(written: object) -> str | None:
    """Return a sink's type, also with a slip in it; None where nobody knows what is meant."""
    close = difflib.get_close_matches(str(written), SINK_TYPES, n=1, cutoff=_SLIP)
    return close[0] if close else None


def _known_assets(
    document: Document[Settings], settings: Settings
) -> tuple[AssetSnapshot | None, list[Problem]]:
    """Look into the journal; one that can't be read stops nobody who asks for something else."""
    try:
        return read_assets(settings.journal.path), []
    except GatewayError as error:
        message = f"nothing is known of Infodeck's assets, automatic ones are left out: {error}"
        return None, [document.problem(("journal", "url"), message)]
