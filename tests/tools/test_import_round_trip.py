"""Any table comes back the same from a spreadsheet."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from support.point_tables import EXAMPLES

from gateway.errors import ConfigError
from gateway.mapping.compile.object_lock import add_objects
from gateway.mapping.compiler import TableInputs, load_point_map
from gateway.mapping.topics import TopicScheme
from gateway.tools.allocate_registers import assign_slots
from gateway.tools.headings import folded_words
from gateway.tools.import_table import import_points
from gateway.tools.register_map import COLUMNS, csv_text, quoted_formula, register_map
from gateway.tools.register_map import cell_text as cell_text_of
from gateway.tools.spreadsheet import read_sheet
from gateway.tools.synonyms import HEADINGS, OWN_ONLY
from gateway.tools.yaml_text import flow_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.mapping.plan import PointMap
    from gateway.model import Point
    from gateway.tools.register_map import MapRow

SINKS = {
    **dict.fromkeys(("bms", "no"), "mqtt"),
    **dict.fromkeys(("regs", "ahu"), "modbus_server"),
    **dict.fromkeys(("b1", "b2"), "bacnet"),
}
BACNET = ("b1", "b2")
TOPICS = {"bms": TopicScheme(prefix="gw/v1"), "no": TopicScheme(prefix="c")}
INPUTS = TableInputs(Path(), SINKS, topics=TOPICS)

NAMES = {
    column: (folded_words(HEADINGS.get(column, ())) | {column} - OWN_ONLY) or {column} for column in COLUMNS
}
"""The headings under which a list that is not ours is sure to have each column."""

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
cell_text = any_text.filter(lambda text: text == text.strip() and "\r" not in text and "\0" not in text)
level = (
    st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=6)
    .filter(lambda text: text == text.strip() and text.isprintable())
    .filter(lambda text: text[0] != "$" and not set(text) & set("/+#"))
)
topic = st.one_of(
    level.map(lambda text: text.replace("{", "{{").replace("}", "}}")), st.just("x/{tag}/{point}")
)
number = st.one_of(
    st.integers(-9, 9),
    st.floats(-9, 9, allow_subnormal=False).map(lambda value: value or 0.5),
    st.sampled_from([0.1, 1.0, 2.0, -0.4, 1.125, 1e-05]),
)
factor = number.filter(bool)
duration = st.builds("{}{}".format, st.integers(1, 400), st.sampled_from(["ms", "s", "m", "h", "d"]))
plain = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 1.0, 0.0]))
on_stale = st.one_of(st.sampled_from(["hold", "sentinel"]), plain.map(lambda value: {"value": value}))
stale_after = st.one_of(st.just("never"), duration)
refill = st.sampled_from(["newest", "history"])
mqtt = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"to": st.sampled_from([["bms"], ["no", "bms"], ["no"]])}),
)
bacnet = st.sampled_from([True, False, {"to": ["b1"]}, {"to": ["b2", "b1"], "object": "large-analog-value"}])


@st.composite
def measuring_keys(draw: Any) -> dict[str, Any]:
    """Return the keys of a point whose readings fit into any register."""
    keys: dict[str, Any] = {
        "from": draw(
            st.one_of(
                st.sampled_from(["t", "co2", "$.data.object.a[0].b", ["t", "co2"]]),
                cell_text.filter(lambda t: t[0] != "$"),
            )
        ),
    }
    optional = {
        "gain": factor,
        "offset": number,
        "unit": cell_text,
        "decimals": st.integers(0, 9),
        "cov": st.one_of(
            number.map(abs), st.fixed_dictionaries({"delta": number.map(abs), "every": duration})
        ),
        "stale_after": stale_after,
        "on_stale": on_stale,
        "description": cell_text,
        "mqtt": mqtt,
        "bacnet": bacnet,
        "tags": st.dictionaries(
            cell_text,
            st.one_of(st.booleans(), number, cell_text, st.lists(cell_text, min_size=1, max_size=2)),
            min_size=1,
            max_size=3,
        ),
    }
    keys |= draw(st.fixed_dictionaries({}, optional=optional))
    if keys["from"][0][0] != "$" and not isinstance(keys["from"], list) and draw(st.booleans()):
        keys["refill"] = draw(refill)
    if draw(st.booleans()):
        keys["range"] = [0, 1] if draw(st.booleans()) else [0.0, 1]
        keys |= {"clamp": True} if draw(st.booleans()) else {}
    elif draw(st.booleans()):
        keys |= {"unit": "degC", "source_unit": "degF"}
    elif draw(st.booleans()):
        keys["bits"] = draw(st.sampled_from([0, 63, [0, 1]]))
    elif draw(st.booleans()):
        keys["map"] = draw(
            st.dictionaries(any_text, st.sampled_from([0, 1, True, False]), min_size=1, max_size=3)
        )
        keys = {key: value for key, value in keys.items() if key not in {"gain", "offset", "decimals"}}
        keys["on_stale"] = {"value": draw(st.sampled_from([*keys["map"].values()]))}
    return keys


FORMS: list[dict[str, Any]] = [
    {"table": "input", "type": "float32"},
    {"table": "holding", "type": "float64", "order": "DCBA"},
    {"table": "holding", "type": "uint64", "order": "CDAB", "to": "ahu"},
    {"table": "input", "type": "int32", "order": "BADC", "scale": 100},
    {"table": "input", "type": "uint32", "scale": 0.1},
    {"table": "holding", "type": "int64", "unit": 247},
    {"table": "input", "type": "int16", "scale": 10},
    {"table": "input", "type": "int16"},
    {"table": "holding", "bit": 3},
    {"table": "coil"},
    {"table": "discrete", "type": "bit"},
    {"table": "holding", "type": "string(15)"},
]


@st.composite
def modbus_blocks(
    draw: Any, addresses: Iterator[int], forms: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return a point's `modbus` key with no, one or two registers on unused addresses."""
    chosen = draw(st.lists(st.sampled_from(forms or FORMS), max_size=2))
    blocks = [{"register": next(addresses) * 8, **form} for form in chosen]
    keys = {} if not blocks else {"modbus": blocks[0] if len(blocks) == 1 and draw(st.booleans()) else blocks}
    if forms is None and draw(st.booleans()):
        one, other = ({"register": next(addresses) * 8, "table": "holding"} for _ in range(2))
        keys["quality"] = draw(st.sampled_from([one, [one], [one, other]]))
    return keys


@st.composite
def tables(draw: Any) -> str:
    """Return a valid table: templates, assets with overrides, single points, pseudo-readings, heartbeat."""
    addresses, tags = count(1), count(1)
    names = st.lists(level, min_size=1, max_size=3, unique=True)
    template = {name: draw(measuring_keys()) | draw(modbus_blocks(addresses)) for name in draw(names)}
    pseudo = {"from": draw(st.sampled_from(["$age", "$quality"])), "unit": "s"}
    wide = [form for form in FORMS if form.get("type") in {"float32", "float64", "int32", "int64"}]
    template["~pseudo"] = pseudo | draw(
        st.fixed_dictionaries({}, optional={"mqtt": mqtt, "cov": number.map(abs)})
    )
    template["~pseudo"] |= draw(modbus_blocks(addresses, [form | {"scale": 1} for form in wide]))
    stride = next(addresses) * 8
    assets = [
        {"id": f"ast-{index}", "tag": f"{draw(level)}{next(tags)}", "use": "t", "base": index * stride}
        | (
            {"points": {name: {"description": draw(cell_text)} for name in template}}
            if draw(st.booleans())
            else {}
        )
        for index in range(draw(st.integers(0, 2)))
    ]
    while next(addresses) * 8 < 3 * stride:
        pass
    points = [
        {"tag": f"{draw(level)}{next(tags)}", "point": draw(level), "asset": draw(cell_text)}
        | draw(measuring_keys())
        | draw(modbus_blocks(addresses))
        for _ in range(draw(st.integers(0, 3)))
    ]
    if points and draw(st.booleans()):
        points[0]["mqtt"] = (
            {"topic": draw(topic), "to": ["bms"]} if draw(st.booleans()) else {"topic": draw(topic)}
        )
    table: dict[str, Any] = {
        "schema": "gateway.points/1",
        "site": draw(level),
        "defaults": {"modbus": {"to": "regs", "order": "CDAB"}}
        | draw(
            st.fixed_dictionaries(
                {},
                optional={"stale_after": stale_after, "on_stale": on_stale, "refill": refill, "mqtt": mqtt},
            )
        ),
        "templates": {"t": {"points": template}},
        "assets": assets,
        "points": points,
    }
    if draw(st.booleans()):
        form = {"register": next(addresses) * 8, "table": "holding", "type": "uint16"}
        table["system"] = {"heartbeat": {"every": draw(duration), "modbus": form}}
    return flow_text(table)


def as_data(point: Point) -> dict[str, Any]:
    """Return all fields of a point; points themselves are equal only by identity."""
    return {field.name: getattr(point, field.name) for field in fields(point)}


def check_equal(one: PointMap, other: PointMap) -> None:
    """Compare every field of every point, and the types of numbers that receivers get."""
    assert set(one.by_name) == set(other.by_name)
    for name, point in one.by_name.items():
        expected, got = as_data(point), as_data(other.by_name[name])
        assert got == expected
        assert repr(got["on_stale"]) == repr(expected["on_stale"])
        assert repr(got["conversion"].map) == repr(expected["conversion"].map)
    assert [*one.by_asset] == [*other.by_asset]
    assert (one.heartbeat is None) == (other.heartbeat is None)
    if one.heartbeat and other.heartbeat:
        assert one.heartbeat[0] == other.heartbeat[0]


def compiled(table: str) -> PointMap:
    """Compile one valid table, with the instances that `gateway lock` gives its objects."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.yaml").write_text(table, encoding="utf-8")
        inputs = TableInputs(Path(folder), SINKS, topics=TOPICS)
        (Path(folder) / "bacnet.lock").write_text(add_objects(None, assign_slots(inputs).objects))
        result = load_point_map(inputs)
        assert result.problems == []
        assert result.point_map is not None
        return result.point_map


EXCEL_WORDS = {"true": "WAHR", "false": "FALSCH"}


def has_names_that_excel_changes(rows: list[MapRow]) -> bool:
    """Return whether a name is a word that Excel replaces as a truth value."""
    return any(
        str(cell) in EXCEL_WORDS
        for row in rows
        for column, cell in row.items()
        if column not in {"clamp", "mqtt"}
    )


def through_excel(text: str) -> bytes:
    """Return our CSV as a German Excel saves it as Unicode text: tabs, UTF-16, WAHR."""
    records = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=";"))
    written = io.StringIO()
    writer = csv.writer(written, delimiter="\t", lineterminator="\r\n")
    writer.writerow([*(heading.upper().replace("_", " ") for heading in records[0]), "", ""])
    writer.writerows([*(EXCEL_WORDS.get(cell, cell) for cell in record), "", ""] for record in records[1:])
    writer.writerow([""] * len(records[0]))
    return written.getvalue().encode("utf-16")


WAYS: dict[str, Callable[[list[Any]], bytes]] = {
    "our own CSV": lambda rows: csv_text(rows).encode(),
    "Excel with points": lambda rows: csv_text(rows, excel="point").encode(),
    "Excel's Unicode text": lambda rows: through_excel(csv_text(rows, excel="comma")),
    "Excel with commas": lambda rows: csv_text(rows, excel="comma").encode(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables(), way=st.sampled_from(sorted(WAYS)))
def test_any_table_comes_back_the_same(table: str, way: str) -> None:
    """A table, printed as CSV and imported, has the same value in every field of every point."""
    first = compiled(table)
    rows = register_map(first, topics=TOPICS, bacnet=BACNET)
    assume(rows)
    assume(way != "Excel's Unicode text" or not has_names_that_excel_changes(rows))
    try:
        imported = import_points(read_sheet(WAYS[way](rows)), name="l.csv", inputs=INPUTS)
    except ConfigError as error:  # tabs leave the decimal mark open, so 1,125 may be a thousand
        assert way == "Excel's Unicode text"
        assert all("three decimals" in problem for problem in error.problems)  # noqa: PT017 - not always raised
    else:
        check_equal(first, compiled(imported.text))


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_tables_come_back_the_same(example: Path, way: str) -> None:
    """The shipped tables come back the same, without a note."""
    first = compiled(example.read_text(encoding="utf-8"))
    imported = import_points(
        read_sheet(WAYS[way](register_map(first, topics=TOPICS, bacnet=BACNET))), name="l.csv", inputs=INPUTS
    )
    assert imported.notes == ()
    check_equal(first, compiled(imported.text))


def workbook_of(records: list[list[Any]]) -> bytes:
    """Return a workbook with the cells as their types are; text that Excel would run has its quote."""
    book = Workbook()
    for record in records:
        book.worksheets[0].append(record)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def is_kept_by_workbooks(cell: Any) -> bool:
    """Return whether openpyxl writes a cell as it is: no control characters, at most 16 digits."""
    if isinstance(cell, float):
        return float(f"{cell:.16g}") == cell
    return not (isinstance(cell, str) and ILLEGAL_CHARACTERS_RE.search(cell))


def typed_cell(cell: Any) -> Any:
    """Return a cell of a list as Excel has it: numbers and booleans as such, all else as text."""
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    text = cell_text_of(cell)
    return quoted_formula(text) if isinstance(cell, str | list) else text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=tables(),
    data=st.data(),
    titles=st.lists(st.sampled_from(["", "BMS points", "Rev. C; 1"]), max_size=4),
)
def test_a_list_is_read_under_any_headings(table: str, data: st.DataObject, titles: list[str]) -> None:
    """A list whose columns stand in any order under any synonyms, below titles, has the same points."""
    first = compiled(table)
    rows = register_map(first, topics=TOPICS, bacnet=BACNET)
    assume(rows)
    columns = data.draw(st.permutations(COLUMNS))
    headings = [data.draw(st.sampled_from(sorted(NAMES[column]))) for column in columns]
    records = [[title, None, title] for title in titles] + [headings]
    records += [[typed_cell(row[column]) for column in columns] for row in rows]
    if data.draw(st.booleans()):
        assume(all(map(is_kept_by_workbooks, chain.from_iterable(records))))
        sheet = workbook_of(records)
    else:
        written = io.StringIO()
        csv.writer(written).writerows([map(cell_text_of, record) for record in records])
        sheet = written.getvalue().encode()
    check_equal(first, compiled(import_points(read_sheet(sheet), name="l", inputs=INPUTS).text))
