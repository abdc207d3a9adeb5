"""The JSON Schemas for editors are current, explained, and agree with the decoder."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml
from jsonschema import Draft7Validator
from support.daemon import REPOSITORY

from gateway.cli.schema import SCHEMAS, schema_text
from gateway.config.decode import read_document
from gateway.mapping import table
from gateway.settings import SINK_TYPES, shape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = REPOSITORY / "config" / "schema"
SHIPPED = [
    REPOSITORY / "config" / "gateway.yaml",
    *sorted((REPOSITORY / "mappings").glob("*.yaml")),
    *sorted((REPOSITORY / "gateway" / "demo" / "mappings").glob("*.yaml")),
]
MODELINE = "# yaml-language-server: $schema="
GATEWAY, POINTS = "gateway.schema.json", "points.schema.json"
ROOTS = {name: shape.__name__ for name, (shape, _) in SCHEMAS.items()}
VALIDATORS: dict[str, Any] = {name: Draft7Validator(orjson.loads(schema_text(name))) for name in SCHEMAS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_shipped_schemas_are_current(name: str) -> None:
    """The shipped schemas are those that `gateway schema` writes."""
    assert (FOLDER / name).read_bytes() == schema_text(name), "run: python -m gateway schema"
    Draft7Validator.check_schema(VALIDATORS[name].schema)


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every key that a schema knows."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "properties":
                yield from ((f"{path}.{name}", inner) for name, inner in value.items())
            yield from properties(value, f"{path}.{key}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_explained(name: str) -> None:
    """Every key has a description: the text below its field."""
    found = dict(properties(VALIDATORS[name].schema))
    assert len(found) > 40
    unexplained = [key for key, inner in found.items() if not str(inner.get("description", "")).endswith(".")]
    assert unexplained == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_shipped_files_name_their_schema_and_keep_to_it(file: Path) -> None:
    """The first line of each file names its schema, and the file is valid by it."""
    text = file.read_text(encoding="utf-8")
    first, _, _ = text.partition("\n")
    assert first.startswith(MODELINE)
    schema = (file.parent / first.removeprefix(MODELINE)).resolve()
    assert schema.parent == FOLDER
    assert list(VALIDATORS[schema.name].iter_errors(yaml.safe_load(text))) == []


SHAPES: dict[str, Any] = {
    name: member
    for module in (table, shape)
    for name, member in vars(module).items()
    if isinstance(member, type) and hasattr(member, "__pydantic_fields__")
} | {sink_type.config.__name__: sink_type.config for sink_type in SINK_TYPES.values()}
SECRET = {"env": "A"}
LEAST: dict[str, dict[str, Any]] = {  # what a mapping of each kind cannot be without
    "AggregateKeys": {"of": "A/A"},
    "AssetEntry": {"id": "a", "tag": "A", "use": "t"},
    "BacnetConfig": {"type": "bacnet", "listen": "127.0.0.2:47808", "device": 1},
    "BacnetDefaults": {"to": ["bac"]},
    "CaseEntry": {"given": {"asset": "a", "telemetry": {"k": 1}}, "expect": {"A/A": 1}},
    "CovKeys": {"delta": 1},
    "Expected": {"value": 1, "quality": "good"},
    "Given": {"asset": "a", "telemetry": {"k": 1}},
    "Heartbeat": {"every": "10s", "modbus": {}},
    "InfodeckSettings": {"organization": "o-1"},
    "IntakeSettings": {"signing_secrets": [SECRET]},
    "ModbusClientConfig": {"type": "modbus_client", "host": "a"},
    "ModbusServerConfig": {"type": "modbus_server", "listen": "127.0.0.1:1"},
    "ModbusTls": {"certificate": "c", "key": "k", "client_ca": "a"},
    "MqttConfig": {"type": "mqtt", "url": "mqtts://b", "user": "u", "certificate": "c", "key": "k"},
    "MqttDefaults": {"to": ["bms"]},
    "MqttSparkplugConfig": {
        "type": "mqtt_sparkplug",
        "url": "mqtts://b",
        "group": "g",
        "user": "u",
        "certificate": "c",
        "key": "k",
    },
    "OnStaleValue": {"value": 1},
    "RateKeys": {"of": "A/A", "per": "1h"},
    "RuntimeKeys": {"of": "A/A"},
    "Settings": {"infodeck": {"organization": "o-1"}, "intake": {"signing_secrets": [SECRET]}},
    "SinglePoint": {"tag": "X", "point": "P", "asset": "a"},
    "Table": {"schema": "gateway.points/1", "site": "hq"},
    "Template": {"points": {"A": {}}},
    "TlsFiles": {"certificate": "c", "key": "k"},
}
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 5, 15, 16, 255, 256, 65535, 65536, 30001, 1.5, -0.5),
    *(
        "",
        "text",
        " x",
        "x ",
        "a/b",
        "a/",
        "a+",
        "#",
        "$SYS",
        "$age",
        "$quality",
        "$agee",
        "$.data.x",
        "$[0]",
    ),
    *("never", "hold", "sentinel", "holt", "90s", "1.5h", "90", "0.5", "10 s", "1MiB", "64MiB", "1MB", "48h"),
    *("int16", "float64", "bit", "int8", "string(8)", "string(0)", "string(247)", "ABCD", "ABDC", "input"),
    *("coil", "holding", "127.0.0.1:80", "[::1]:80", "localhost", "10.0.0.0/8", "debug", "json", "console"),
    *("analog-input", "analog-output", {"object": "analog-input"}, {"instance": 4194303}),
    *("mqtt", "modbus_server", "3.1.1", "5", "mqtt://b:1", "mqtts://b", "http://x", "https://x/y", "/hooks"),
    *("sqlite:///var/x.db", "sqlite://x", "40001", "400001", "gateway.points/1", "gateway.points/2", "good"),
    *([], ["a"], [""], [1], [1, 2], [1, 2, 3], ["10.0.0.0/8"], [{"env": "A"}], [{}], {}, {"a": 1}),
    *({"env": "A"}, {"env": "1"}, {"file": "x"}, {"env": "A", "file": "x"}, {"value": 1}, {"value": None}),
    *({"value": 1, "quality": "good"}, {"to": ["a"]}, {"to": []}, {"topic": "a/b"}, {"delta": 1}),
    *({"a": "b", "c": ["d"]}, {"a": []}, {"a": None}, {"a": {}}, {"brick": ["x", 1]}, {"register": 1}),
)
LOOSER: dict[tuple[str, str], tuple[Any, ...]] = {  # what no pattern, or no single key, can say
    ("InfodeckSettings", "api"): ("http://x",),  # in the clear on loopback only
    ("JournalSettings", "retention"): ("90s", "1.5h"),
    ("JournalSettings", "max_size"): ("1MiB",),
    ("MqttConfig", "url"): ("mqtt://b:1",),  # goes with no certificate
    ("MqttConfig", "keepalive"): ("48h",),
    ("MqttSparkplugConfig", "url"): ("mqtt://b:1",),
    ("MqttSparkplugConfig", "keepalive"): ("48h",),
}

LATER = {("ModbusKeys", "modicon"), ("QualityKeys", "modicon")}  # refused by the compiler of point tables


def keys() -> list[tuple[str, str]]:
    """Return every key of every shape that the schemas know."""
    known = [("Table", POINTS), ("Settings", GATEWAY)]
    known += [(name, file) for file in SCHEMAS for name in VALIDATORS[file].schema["$defs"] if name in SHAPES]
    return [
        (file, f"{name}.{field.alias or key}")
        for name, file in known
        for key, field in SHAPES[name].__pydantic_fields__.items()
    ]


def null_is_a_value(path: tuple[str | int, ...]) -> bool:
    """Return whether null is a value at a path."""
    return table.may_be_null(path) or path[0] in {"value", "given", "expect", "telemetry"}


@pytest.mark.parametrize(("file", "key"), keys())
def test_schema_and_decoder_agree(tmp_path: Path, file: str, key: str) -> None:
    """Key by key, the schema and the gateway accept and refuse the same values."""
    name, _, key = key.partition(".")
    schema = VALIDATORS[file].schema
    if name in schema["$defs"]:
        schema = {"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}
    validator = Draft7Validator(schema)
    path = tmp_path / "file.yaml"
    for value in VALUES:
        document = LEAST.get(name, {}) | {key: value}
        path.write_bytes(orjson.dumps(document))
        problems = read_document(path, SHAPES[name], may_be_null=null_is_a_value).problems
        wrong = [error.message for error in validator.iter_errors(document)]
        if value in LOOSER.get((name, key), ()):
            assert (wrong, bool(problems)) == ([], True), (key, value)
        elif not (wrong and (name, key) in LATER):
            assert bool(wrong) == bool(problems), (key, value, wrong, problems)


def test_unknown_keys_are_refused() -> None:
    """The schema refuses unknown keys at every level."""
    for name, least in LEAST.items():
        file = next(file for file in SCHEMAS if name in (*VALIDATORS[file].schema["$defs"], ROOTS[file]))
        schema = VALIDATORS[file].schema
        if name != ROOTS[file]:
            schema = {"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}
        assert Draft7Validator(schema).is_valid(least), name
        assert not Draft7Validator(schema).is_valid(least | {"zz": 1}), name


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        (POINTS, {"templates": {"t": {"points": {"A/B": {"from": "a"}}}}}),
        (POINTS, {"templates": {"t": {"points": {}}}}),
        (POINTS, {"points": [{"tag": "X", "point": "P", "asset": "a", "modbus": [{"register": 70000}]}]}),
        (POINTS, {"system": {"heartbeat": {"every": "10"}}}),
        (POINTS, {"cases": [{"given": {"asset": "a", "telemetry": {}}, "expect": {"A": 1}}]}),
        (GATEWAY, {"sinks": {"BMS": {"type": "mqtt", "url": "mqtt://b"}}}),
        (GATEWAY, {"sinks": {"bms": {"type": "mqqt", "url": "mqtt://b"}}}),
        (GATEWAY, {"sinks": {"bms": {"type": "mqtt", "listen": "127.0.0.1:1"}}}),
        (GATEWAY, {"infodeck": {"organization": "o-1", "api_key": "a secret itself"}}),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, broken: dict[str, Any]) -> None:
    """Schema and decoder both refuse mistakes in inner values."""
    document = LEAST[ROOTS[name]] | broken
    (tmp_path / "file.yaml").write_bytes(orjson.dumps(document))
    assert not VALIDATORS[name].is_valid(document)
    assert read_document(tmp_path / "file.yaml", SHAPES[ROOTS[name]]).problems


def test_the_command_writes_the_schemas(tmp_path: Path) -> None:
    """`gateway schema FOLDER` writes both files, and prints how a YAML file names them."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "schema", str(tmp_path / "new")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [(tmp_path / "new" / name).read_bytes() for name in SCHEMAS] == [
        schema_text(name) for name in SCHEMAS
    ]
    assert done.stdout.splitlines()[:2] == [str(tmp_path / "new" / name) for name in SCHEMAS]
    assert "# yaml-language-server: $schema=" in done.stdout
