"""Files checked against shapes: a value, or every problem at its place in the user's words."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from support.config_files import complaints, write

from gateway.config.decode import (
    MISSING,
    STRICT,
    FieldError,
    Location,
    RelativePath,
    read_document,
)
from gateway.config.value_types import Address, Duration, HostPort
from gateway.errors import ConfigError


class Order(StrEnum):
    """An enumeration, as shapes have them."""

    ABCD = "ABCD"
    CDAB = "CDAB"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Constant:
    """One of two mappings that a key may hold."""

    value: float


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("must be even")
    return number


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Modbus:
    """A shape with a rule about two keys."""

    register: Annotated[int, Field(ge=0, le=65535)] | None = None
    modicon: int | None = None
    words: Annotated[int, AfterValidator(_even)] = 2

    def __post_init__(self) -> None:
        if self.register is not None and self.modicon is not None:
            raise FieldError("`register` or `modicon`, never both", at=["modicon"], value=self.modicon)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Item:
    """One shape with every kind of field that the gateway's files have."""

    from_: str = Field(alias="from")
    gain: float = 1.0
    count: int = 0
    clamp: bool = False
    order: Order = Order.ABCD
    on_stale: Literal["hold", "sentinel"] | Constant = "hold"
    cov: float | Literal["off"] = "off"
    every: Duration | Literal["never"] = "never"
    range: tuple[float, float] | None = None
    map: dict[str, float | int | bool | str] = Field(default_factory=dict)
    modbus: Modbus | list[Modbus] | Literal[False] = False
    listen: Address = HostPort("127.0.0.1", 1)
    file: RelativePath = Field(default="../beside", validate_default=True)
    tags: Annotated[list[str], Field(min_length=1)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class File:
    """The whole file."""

    items: dict[str, Item]


def item_problems(folder: Path, text: str) -> list[str]:
    """Return the problems of one item, without their path down to the item."""
    document = read_document(write(folder, f"items: {{T: {{from: x, {text}}}}}"), File)
    return [problem.split("items.T", 1)[1].lstrip(".") for problem in complaints(document)]


def test_values(tmp_path: Path) -> None:
    """A valid file becomes its shape; whole numbers count as numbers, and paths become absolute."""
    file = write(
        tmp_path,
        """\
        items:
          T:
            {from: a, gain: 2, clamp: true, order: CDAB, on_stale: {value: -1}, cov: 0.5, every: 90s,
             range: [-20, 60.5], map: {on: 1, off: x}, modbus: [{register: 3}],
             listen: "[::1]:80", file: k.pem}
          U: {from: b, on_stale: sentinel, cov: off, modbus: {modicon: 31001}}
        """,
    )
    document = read_document(file, File)
    assert complaints(document) == []
    first, second = document.require().items.values()
    assert (first.gain, first.clamp, first.order, first.cov) == (2.0, True, Order.CDAB, 0.5)
    assert (first.on_stale, first.every, first.range) == (Constant(value=-1.0), 90.0, (-20.0, 60.5))
    assert (first.map, first.modbus) == ({"on": 1, "off": "x"}, [Modbus(register=3)])
    assert (first.listen, first.file) == (HostPort("::1", 80), tmp_path / "k.pem")
    assert (second.on_stale, second.cov, second.modbus) == ("sentinel", "off", Modbus(modicon=31001))
    assert second.file == tmp_path.parent / "beside"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gain: x", 'gain: a number is expected ("x")'),
        ("gain: true", "gain: a number is expected (true)"),
        ("gain: '1'", 'gain: a number is expected ("1")'),
        ("gain: ", "gain: a number is expected (null)"),
        ("count: 1.0", "count: a whole number is expected (1.0)"),
        ("count: false", "count: a whole number is expected (false)"),
        ("clamp: yes", 'clamp: true or false is expected ("yes")'),
        ("clamp: 1", "clamp: true or false is expected (1)"),
        ("order: ACBD", 'order: one of ABCD or CDAB is expected ("ACBD")'),
        ("on_stale: holt", 'on_stale: hold, sentinel or a mapping is expected ("holt")'),
        ("on_stale: {valu: 1, value: 2}", "on_stale.valu: unknown key, did you mean `value`?"),
        ("on_stale: {value: x}", 'on_stale.value: a number is expected ("x")'),
        ("cov: [1]", "cov: a number or off is expected (a list)"),
        ("every: 90",
         "every: never is expected; or a duration is a number and its unit, such as 90s, 15m or 2h (90)"),
        ("range: [1]", "range[1]: one more entry is expected"),
        ("range: [1, 2, 3]", "range: takes 2 entries at most, has more (a list)"),
        ("range: 5", "range: a list is expected (5)"),
        ("map: [1]", "map: a mapping is expected (a list)"),
        ("map: {a: [1]}", "map.a: a number, true or false or text is expected (a list)"),
        ("map: {a b.c: {}}", 'map."a b.c": a number, true or false or text is expected (a mapping)'),
        ("modbus: 3", "modbus: a mapping, a list or false is expected (3)"),
        ("modbus: {regster: 3}", "modbus.regster: unknown key, did you mean `register`?"),
        ("modbus: [{}, {regster: 3}]", "modbus[1].regster: unknown key, did you mean `register`?"),
        ("modbus: {zzz: 3}", "modbus.zzz: unknown key; known here: register, modicon, words"),
        ("modbus: {register: -1}", "modbus.register: must be at least 0 (-1)"),
        ("modbus: {register: 1, modicon: 30002}",
         "modbus.modicon: `register` or `modicon`, never both (30002)"),
        ("modbus: {words: 3}", "modbus.words: must be even (3)"),
        ("listen: here", 'listen: an address is host:port, such as 127.0.0.1:8080 or [::1]:8080 ("here")'),
        ("file: 3", "file: text is expected; put quotes around it (3)"),
        ("tags: []", "tags: needs 1 or more entries, has 0 (a list)"),
        ("tags: [a, 1]", "tags[1]: text is expected; put quotes around it (1)"),
        ("tags: [1]", "tags[0]: text is expected; put quotes around it (1)"),
        (f"order: {'x' * 500}", f'order: one of ABCD or CDAB is expected ("{"x" * 58}…)'),
        ('order: "a\\u001b[1m\\n"', 'order: one of ABCD or CDAB is expected ("a\\u001b[1m\\n")'),
        ("order: 'mqtt://me:hunter2@broker'", 'order: one of ABCD or CDAB is expected ("mqtt://***@broker")'),
    ],
)  # fmt: skip
def test_one_problem(tmp_path: Path, text: str, problem: str) -> None:
    """Each mistake is one message in plain words."""
    assert item_problems(tmp_path, text) == [problem]


def test_places(tmp_path: Path) -> None:
    """A problem has the place of its value, of its key, or of the mapping that lacks a key."""
    file = write(
        tmp_path,
        """        items:
          T:
            gain: two
            cont: 1
            map:
              open:   {}
          U: &u {from: x, count: 1.5}
          V: *u
          W:
        itms: {}
        """,
    )
    assert complaints(read_document(file, File)) == [
        "file.yaml:3:5: items.T.from: this key is required",
        'file.yaml:3:11: items.T.gain: a number is expected ("two")',
        "file.yaml:4:5: items.T.cont: unknown key, did you mean `count`?",
        "file.yaml:6:15: items.T.map.open: a number, true or false or text is expected (a mapping)",
        "file.yaml:7:26: items.U.count: a whole number is expected (1.5)",
        "file.yaml:7:26: items.V.count: a whole number is expected (1.5)",
        "file.yaml:9:5: items.W: a mapping is expected (null)",
        "file.yaml:10:1: itms: unknown key, did you mean `items`?",
    ]


def test_yaml_and_shape_problems_together(tmp_path: Path) -> None:
    """Problems of the YAML and of its values are reported together, each once."""
    file = write(tmp_path, "items:\n  T: {from: !x 1, gain: .nan, gain: 2, cuont: 3, <<: 3}\n")
    assert [problem.split(": ")[1] for problem in complaints(read_document(file, File))] == [
        "items.T.from", "items.T.gain", "items.T.gain", "items.T.cuont", 'items.T."<<"'
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Circle:
    """A shape chosen by its `type`."""

    type: Literal["circle"]
    radius: float


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Square:
    """Another one."""

    type: Literal["square"]
    side: float


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Drawing:
    """Holds both."""

    shapes: dict[str, Annotated[Circle | Square, Field(discriminator="type")]]


def test_chosen_by_type(tmp_path: Path) -> None:
    """`type` chooses the shape, and an unknown one lists the choices."""
    good = write(tmp_path, "shapes: {a: {type: circle, radius: 1}, b: {type: square, side: 2}}", "good.yaml")
    shapes = read_document(good, Drawing).require().shapes
    assert shapes == {"a": Circle(type="circle", radius=1.0), "b": Square(type="square", side=2.0)}
    bad = "shapes: {a: {type: circle, side: 1}, b: {type: squar}, c: {side: 1}, d: 1}"
    assert complaints(read_document(write(tmp_path, bad), Drawing)) == [
        "file.yaml:1:13: shapes.a.radius: this key is required",
        "file.yaml:1:28: shapes.a.side: unknown key; known here: type, radius",
        'file.yaml:1:48: shapes.b.type: one of circle or square is expected ("squar")',
        "file.yaml:1:59: shapes.c.type: this key is required",
        "file.yaml:1:73: shapes.d: a mapping is expected (1)",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "file.yaml:1:1: the file is empty"),
        (b"a: 1\nb: \xff\n", "file.yaml:2:4: this is not UTF-8; save the file as UTF-8"),
        ("\u00e4: 1\n".encode("latin-1"), "file.yaml:1:1: this is not UTF-8; save the file as UTF-8"),
        ("items: {}".encode("utf-16"), "file.yaml:1:1: this is not UTF-8; save the file as UTF-8"),
        (b"- 1\n", "file.yaml:1:1: a mapping is expected (a list)"),
        (b"text\n", 'file.yaml:1:1: a mapping is expected ("text")'),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, problem: str) -> None:
    """A file that is no text, or no mapping, is reported as a problem."""
    assert complaints(read_document(write(tmp_path, content), File)) == [problem]


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, or a folder, is reported as a problem."""
    missing = read_document(tmp_path / "none.yaml", File)
    assert complaints(missing) == ["none.yaml:1:1: cannot be read: No such file or directory"]
    assert "cannot be read: Is a directory" in str(read_document(tmp_path, File).problems[0])
    assert "cannot be read" in str(read_document(Path("a\0b"), File).problems[0])
    with pytest.raises(ConfigError, match=r"none\.yaml:1:1: cannot be read"):
        missing.require()


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark at the start changes no place."""
    document = read_document(write(tmp_path, b"\xef\xbb\xbfitems: {}\r\nx: 1\r\n"), File)
    assert complaints(document) == ["file.yaml:2:1: x: unknown key; known here: items"]


def test_places_by_path(tmp_path: Path) -> None:
    """`location` returns the place of a path, or of its nearest parent in the file."""
    file = write(tmp_path, "items:\n  T: {from: x, tags: [a, b]}\n")
    document = read_document(file, File)
    assert document.location(["items", "T", "tags", 1]) == Location(str(file), 2, 26)
    assert document.location(["items", "T", "gain"]) == Location(str(file), 2, 6)
    assert document.location(["items", "T", "tags", 7, "x"]) == Location(str(file), 2, 22)
    assert document.written(["items", "T", "tags", 1]) == "b"
    assert document.written(["items", "T", "gain"]) is MISSING
    assert document.value is not None
    document.problems.append(document.problem(["items", "T", "from"], "no such key", "x"))
    assert document.value is None
    assert complaints(document) == ['file.yaml:2:13: items.T.from: no such key ("x")']


def test_ten_thousand_assets(tmp_path: Path) -> None:
    """A point table of 10,000 assets is read in seconds, and its problems as well."""
    lines = [f"  A{n}: {{from: temperature, every: 90s, modbus: {{register: {n}}}}}" for n in range(10_000)]
    file = write(tmp_path, "items:\n" + "\n".join(lines))
    started = time.process_time()
    assert len(read_document(file, File).require().items) == 10_000
    assert time.process_time() - started < 20
    started = time.process_time()
    file.write_text(file.read_text().replace("every", "evry"))
    problems = read_document(file, File).problems
    assert len(problems) == 10_000
    assert problems[-1].location.line == 10_001
    assert time.process_time() - started < 20


KEYS = st.sampled_from(
    ["items", "T", "from", "gain", "on_stale", "value", "map", "modbus", "register", "range", "x"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ANY_FILE = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | VALUES.map(lambda value: repr(value).encode())
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANY_FILE, item=VALUES)
def test_never_raises(tmp_path: Path, content: bytes, item: object) -> None:
    """Any content yields a value or printable problems."""
    for text in (content, f"items: {{T: {item!r}}}".encode()):
        document = read_document(write(tmp_path, text), File)
        assert (document.value is None) == bool(document.problems)
        assert all("\n" not in line for line in complaints(document))
