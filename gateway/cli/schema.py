"""`gateway schema`: writes the JSON Schemas with which editors complete and check settings and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.config.json_schema import json_schema
from gateway.errors import CommandError
from gateway.mapping.table import Table
from gateway.settings import Settings

if TYPE_CHECKING:
    import argparse

SCHEMAS: dict[str, tuple[type, str]] = {
    "gateway.schema.json": (Settings, "Settings of the gateway, gateway.yaml"),
    "points.schema.json": (Table, "Point table of the gateway, mappings/*.yaml"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("config/schema"),
        help="where the schemas are written (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write one file per schema; print their paths, and how a YAML file names its schema."""
    for name in SCHEMAS:
        file: Path = arguments.folder / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(schema_text(name))
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror}") from error
        print(file)
    print("A YAML file names its schema in its first line: # yaml-language-server: $schema=PATH")
    return 0


def schema_text(name: str) -> bytes:
    """Return the file of one schema; it is always the same for the same settings."""
    shape, title = SCHEMAS[name]
    return orjson.dumps(json_schema(shape, title=title), option=orjson.OPT_INDENT_2) + b"\n"
