"""docs/point-tables.md: every example loads, every key has one, every command runs as it is written."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.daemon import REPOSITORY, Daemon
from support.mosquitto import Mosquitto
from support.processes import run_script

from gateway.events import parse_event, read_telemetry
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.expressions import FUNCTIONS, compile_expression
from gateway.mapping.topics import TopicScheme
from gateway.mapping.units import COMMON_UNITS, SPELLINGS, is_known_unit, standard_spelling
from gateway.tools.run_cases import run_cases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (REPOSITORY / "docs/point-tables.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
HEAD = "schema: gateway.points/1\nsite: hq-tower\n"
COMPLETE = ("schema:", "# yaml-language-server:")
SINKS = {"bms": "mqtt", "regs": "modbus_server", "ahu": "modbus_client"}
SCHEMA = json.loads((REPOSITORY / "config/schema/points.schema.json").read_text(encoding="utf-8"))


def examples() -> list[tuple[str, tuple[str, str]]]:
    """Return each example table, completed, with the name and text of the lock file that follows it."""
    tables = [(name, text) for kind, name, text in BLOCKS if kind == "yaml"]
    return [
        (text if text.startswith(COMPLETE) else HEAD + text, after if after[0] else ("", ""))
        for (name, text), after in pairwise([*tables, ("", "")])
        if not name
    ]


@pytest.mark.parametrize(("table", "lock"), examples())
def test_examples_load(tmp_path: Path, table: str, lock: tuple[str, str]) -> None:
    """Each example has no problems, and its cases pass; only those about BACnet have such a sink."""
    (tmp_path / "example.yaml").write_text(table, encoding="utf-8")
    name, text = lock
    if name:
        (tmp_path / name).write_text(text, encoding="utf-8")
    sinks = SINKS | ({"bac": "bacnet"} if "bacnet" in table else {})
    tables = load_point_map(TableInputs(tmp_path, sinks, topics={"bms": TopicScheme(prefix="gw/v1")}))
    assert [str(problem) for problem in tables.problems] == []
    assert tables.point_map is not None
    assert run_cases(tables.point_map) == []


def test_every_shape_of_a_reading_is_read() -> None:
    """All lines of the example are the reading `temperature`."""
    lines = next(text for kind, name, text in BLOCKS if kind == "json" and not name).splitlines()
    assert len(lines) == 5
    for line in lines:
        document = {"id": "evt_1", "type": "asset.telemetry.updated", "data": {"object": json.loads(line)}}
        telemetry = read_telemetry(parse_event(json.dumps(document).encode(), received_ms=1_795_507_200_000))
        assert telemetry is not None
        assert [(reading.key, reading.value) for reading in telemetry.readings] == [("temperature", 21.5)]


def test_objects_and_lists_have_the_readings_that_the_page_names() -> None:
    """Keys of nested objects are joined by dots, and a list has a reading for each time."""
    (body,) = [text for kind, name, text in BLOCKS if (kind, name) == ("json", "readings.json")]
    telemetry = read_telemetry(parse_event(body.encode(), received_ms=1_795_507_200_000))
    assert telemetry is not None
    assert [(reading.key, reading.value, reading.time_ms // 1000) for reading in telemetry.readings] == [
        ("air.co2", 640, 1_795_507_200),
        ("air.pm.pm25", 3, 1_795_507_200),
        ("position.x", 1, 1_795_507_200),
        ("temperature", 21.0, 1_795_505_400),
        ("temperature", 21.5, 1_795_507_200),
    ]


def test_every_known_spelling_of_a_unit_is_listed() -> None:
    """The list has the known spellings and no others."""
    section = PAGE[PAGE.index("| of | spellings |") : PAGE.index("In events, more is understood")]
    listed = set(re.findall(r"`([^`]+)`", section)) - {"of"}
    assert listed == {*COMMON_UNITS, *SPELLINGS}
    assert all(is_known_unit(unit) for unit in listed)
    understood = re.findall(r"`([^`]+)`", PAGE[PAGE.index("In events, more is understood") :].splitlines()[0])
    assert all(is_known_unit(standard_spelling(unit)) for unit in understood)


def test_every_function_of_expressions_is_listed() -> None:
    """The table has the language's functions and no others, with their units; its examples are right."""
    section = PAGE[PAGE.index("| function | result |") : PAGE.index("The last three hold from")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.strip().splitlines()[2:]]
    listed: dict[str, tuple[set[str], set[str]]] = {}
    for names, result, arguments, example, value in rows:
        units = [set(re.findall(r"`([^`]+)`", cell)) for cell in (arguments, result)]
        listed |= dict.fromkeys(re.findall(r"`(\w+)\(", names), (units[0], units[1]))
        assert compile_expression(example.strip("`"), ()).evaluate(()) == float(value.strip("`"))
    assert listed == {
        name: (set(function.units), {function.unit} - {None}) for name, function in FUNCTIONS.items()
    }


def keys_of(schema: dict[str, Any], written: Any) -> Iterator[tuple[str, str]]:
    """Yield shape and key of everything that is written, by the schema for editors."""
    schema = resolved(schema)
    for choice in schema.get("anyOf", ()):
        yield from keys_of(choice, written)
    if isinstance(written, list):
        items = schema.get("items", {})
        for item in written if isinstance(items, dict) else ():  # a list is of plain values, such as a range
            yield from keys_of(items, item)
    elif isinstance(written, dict):
        properties = schema.get("properties", {})
        for key, value in written.items():
            if key in properties:
                yield schema["title"], key
                yield from keys_of(properties[key], value)
            elif isinstance(schema.get("additionalProperties"), dict):
                yield from keys_of(schema["additionalProperties"], value)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the target of a reference."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    name = reference.rpartition("/")[2]
    found: dict[str, Any] = SCHEMA["$defs"][name]
    return {"title": name} | found


def all_keys() -> set[tuple[str, str]]:
    """Return shape and key of everything that a table can have."""
    shapes = {SCHEMA["title"]: SCHEMA} | SCHEMA["$defs"]
    return {(name, key) for name, shape in shapes.items() for key in shape.get("properties", ())}


def test_every_key_has_an_example() -> None:
    """Every key of the language is in an example that loads; one kind of single point is enough."""
    shown = {pair for table, _ in examples() for pair in keys_of(SCHEMA, yaml.safe_load(table))}
    shown |= {("PointKeys", key) for shape, key in shown if shape == "SinglePoint"}
    shown |= {("SinglePoint", key) for shape, key in shown if shape == "PointKeys"}
    assert all_keys() - shown == set()


def test_every_key_is_explained() -> None:
    """Every key is in the first column of a table of the page, or named in code marks there."""
    code = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
    assert {key for _, key in all_keys() if not re.search(rf"\b{key}\b", code)} == set()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run all commands of the page, in order, in a copy of the shipped files; return what they print."""
    folder = tmp_path_factory.mktemp("box")
    for name in ("config", "mappings"):
        shutil.copytree(REPOSITORY / name, folder / name)
    out = ""
    for kind, name, text in BLOCKS:
        if name and kind == "json":
            (folder / name).write_text(text, encoding="utf-8")
        if kind == "sh":
            out += run_script(text, folder=folder)
    return out


def test_commands_run(printed: str) -> None:
    """Every block of commands succeeds and prints what the page shows."""
    assert "ok: " in printed
    assert "failures: 0" in printed
    assert "no difference" in printed
    (shown,) = [text for kind, name, text in BLOCKS if kind == "text" and not name]
    for line in shown.splitlines():
        assert line.strip() in printed


def test_spreadsheet_imports(tmp_path: Path) -> None:
    """The page's sheet becomes a table of three points."""
    (sheet,) = [text for kind, name, text in BLOCKS if kind == "csv" and not name]
    (tmp_path / "own.csv").write_text(sheet, encoding="utf-8")
    run_script("gateway import own.csv --site hq-tower -o own.yaml", folder=tmp_path)
    tables = load_point_map(TableInputs(tmp_path, SINKS))
    assert tables.problems == []
    assert tables.point_map is not None
    registers = {point.name: point.registers[0].address for point in tables.point_map.points}
    assert registers == {"AHU-1/SA-T": 0, "AHU-1/RA-T": 1, "AHU-1/FAN": 0}


def test_a_consultants_list_is_understood_as_shown(tmp_path: Path) -> None:
    """The page's list is shown as the page shows it, and becomes a table without problems."""
    ((_, name, sheet),) = [block for block in BLOCKS if block[0] == "csv" and block[1]]
    (tmp_path / name).write_text(sheet, encoding="utf-8")
    (command,) = re.findall(rf"`(gateway import {name} .*?)`", PAGE)
    printed = run_script(f"{command} -o list.yaml 2>&1", folder=tmp_path)
    (shown,) = [text for kind, name, text in BLOCKS if kind == "text" and name]
    assert printed == f"{shown}\nlist.yaml: 2 points\n"
    assert load_point_map(TableInputs(tmp_path, SINKS)).problems == []


async def test_forcing_as_shown(tmp_path: Path) -> None:
    """The commissioning commands work on a running gateway."""
    commands = re.findall(r"^    (gateway (?:force|release) .*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 3
    with Mosquitto(tmp_path) as broker:
        daemon = Daemon(tmp_path, broker.port)
        daemon.start()
        try:
            forced, listed, released = (
                run_script(command.replace("config/gateway.yaml", str(daemon.config)), folder=tmp_path)
                for command in commands
            )
        finally:
            daemon.stop()
    assert "L03-RM312/ZN-T = 21.5 degC holds" in forced
    assert "L03-RM312/ZN-T" in listed
    assert "L03-RM312/ZN-T" in released
