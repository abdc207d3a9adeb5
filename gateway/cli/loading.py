"""What most commands begin with: `gateway.yaml` and the point tables, every problem of both at once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.mapping.compiler import load_point_map
from gateway.settings import SINK_TYPES, Secrets, Settings, load_settings, resolve_secrets

if TYPE_CHECKING:
    import argparse

    from gateway.config.decode import Document, Problem
    from gateway.mapping.plan import PointMap


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything as far as it could be read. `point_map` is None while the tables have problems."""

    settings: Document[Settings]
    point_map: PointMap | None
    problems: list[Problem]
    warnings: list[Problem]


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `-c FILE`, which `arguments.config` then holds as a Path."""
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path("config/gateway.yaml"),
        metavar="FILE",
        help="the gateway's settings (default: %(default)s)",
    )


def read(config: Path, *, folder: Path | None = None) -> Loaded:
    """Read settings and tables; the tables are checked wherever the settings name usable sinks.

    `folder`: tables to read in place of those that the settings name.
    """
    document = load_settings(config)
    found = _tables_of(document)
    if found is None:
        return Loaded(document, None, document.problems, [])
    named, sinks = found
    prefixes = {} if document.value is None else mqtt_prefixes(document.value)
    tables = load_point_map(folder or named, sinks, prefixes=prefixes)
    return Loaded(document, tables.point_map, [*document.problems, *tables.problems], tables.warnings)


def load(config: Path, *, folder: Path | None = None) -> tuple[Settings, PointMap]:
    """Return usable settings and tables; otherwise print every problem and raise CommandError.

    `folder`: tables to read in place of those that the settings name.
    """
    return _usable(read(config, folder=folder))


def load_with_secrets(config: Path) -> tuple[Settings, Secrets, PointMap]:
    """Return what `load` does and every secret; a secret that can't be read is a problem like others."""
    loaded = read(config)
    settings, point_map = _usable(loaded)
    return settings, resolve_secrets(loaded.settings), point_map


def _usable(loaded: Loaded) -> tuple[Settings, PointMap]:
    settings = loaded.settings.value
    if loaded.problems or settings is None or loaded.point_map is None:
        print(*loaded.problems, sep="\n", file=sys.stderr)
        count = len(loaded.problems)
        raise CommandError(
            f"{count} problem{'' if count == 1 else 's'} in {loaded.settings.file} and its point tables"
        )
    return settings, loaded.point_map


def mqtt_prefixes(settings: Settings) -> dict[str, str]:
    """Return the topic prefix of each MQTT sink."""
    return settings.mqtt_prefixes


def _tables_of(document: Document[Settings]) -> tuple[Path, dict[str, str]] | None:
    """Return the folder of the tables and each sink's type, as written where the settings have problems.

    None where the sinks are not even named: then every point would seem to be wrong.
    """
    settings = document.value
    if settings is not None:
        return settings.mappings, {name: sink.type for name, sink in settings.sinks.items()}
    written, sinks = document.written(["mappings"]), document.written(["sinks"])
    folder = document.file.parent / (written if isinstance(written, str) else "../mappings")
    types = {
        name: document.written(["sinks", name, "type"]) for name in (sinks if isinstance(sinks, dict) else ())
    }
    is_known = types and all(isinstance(of_type, str) and of_type in SINK_TYPES for of_type in types.values())
    return (folder, types) if is_known else None
