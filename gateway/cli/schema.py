"""`gateway schema`: writes the JSON Schemas with which editors complete and check settings and tables.

What a key is for stands once, in the text below its field, and is read from the source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from gateway.config.value_types import DURATION_PATTERN, SIZE_PATTERN, HostPort, duration_text, size_text
from gateway.errors import CommandError
from gateway.mapping.table import Table
from gateway.settings import Settings

if TYPE_CHECKING:
    import argparse

SCHEMAS: dict[str, tuple[type, str]] = {
    "gateway.schema.json": (Settings, "Settings of the gateway, gateway.yaml"),
    "points.schema.json": (Table, "Point table of the gateway, mappings/*.yaml"),
}

_DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest one that all common editors know
_WORDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "prefixItems": "items",
}
_COUNTS = {
    "array": {"minLength": "minItems", "maxLength": "maxItems"},
    "object": {"minLength": "minProperties", "maxLength": "maxProperties"},
}
_BY_NAME = frozenset({"properties", "patternProperties", "$defs"})
_LEFT_OUT = frozenset({"discriminator", "title"})


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


def json_schema(shape: type, *, title: str) -> dict[str, Any]:
    """Return a shape's JSON Schema. It accepts all that the decoder accepts.

    And more: rules about several keys, and those that no pattern can express, are the decoder's alone.
    """
    schema = TypeAdapter(shape).json_schema(schema_generator=_EditorSchema)
    return {"$schema": _DIALECT, "title": title, **_tidied(schema)}


def key_texts(shape: type) -> dict[str, str]:
    """Return the text below each field of a dataclass, by the field's name; inherited fields included."""
    texts: dict[str, str] = {}
    for part in reversed(inspect.getmro(shape)[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for field, below in pairwise(body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    texts[name] = inspect.cleandoc(text)
    return texts


class _EditorSchema(GenerateJsonSchema):
    """Pydantic's generator, with the keys explained."""

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        made = super().dataclass_schema(schema)
        made.pop("description", None)  # of the class, for readers of our code
        fields = getattr(schema["cls"], "__pydantic_fields__", {})
        for name, text in key_texts(schema["cls"]).items():
            made["properties"][fields[name].alias or name]["description"] = text
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False  # a key is its own title

    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, HostPort) else super().encode_default(dft)


def _tidied(node: Any) -> Any:
    """Make what pydantic writes plain draft 7, with defaults as a user writes them."""
    if isinstance(node, list):
        return [_tidied(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    words = _WORDS | _COUNTS.get(str(node.get("type")), {})
    tidied: dict[str, Any] = {}
    for key, value in node.items():
        if key in _BY_NAME:  # what it holds are users' keys or our classes, and not words of JSON Schema
            tidied[key] = {name: _tidied(inner) for name, inner in value.items()}
        elif key not in _LEFT_OUT:
            tidied[str(words.get(key, key))] = value if key == "default" else _tidied(value)
    for definition in tidied.get("$defs", {}).values():
        definition.pop("description", None)  # it is for readers of our code
    if "patternProperties" in tidied:
        tidied.setdefault("additionalProperties", False)
    return _with_default(tidied)


def _with_default(node: dict[str, Any]) -> dict[str, Any]:
    default = node.get("default")
    if "default" in node and default is None:  # not written is the default, and null is not written
        del node["default"]
        choices: list[dict[str, Any]] = [one for one in node.pop("anyOf", []) if one != {"type": "null"}]
        return choices[0] | node if len(choices) == 1 else node | ({"anyOf": choices} if choices else {})
    if default is not None and node.get("pattern") == DURATION_PATTERN:
        node["default"] = duration_text(default)
    if default is not None and node.get("pattern") == SIZE_PATTERN:
        node["default"] = size_text(default)
    return node
