"""EDE files, read as a BMS reads them: by position, one line per object, comments left out."""

from __future__ import annotations

from datetime import date

from support.ede_reader import EDE_HEADER, read_ede, read_ede_records

from gateway.model import BacnetObject, Conversion, ObjectType, OnStale, Point, StalePolicy
from gateway.tools.ede import EdeDevice, ede_files


def point_of(name: str, shown: BacnetObject | None, **keys: object) -> Point:
    """Return a point of tag X."""
    objects = () if shown is None else (shown,)
    fields = {"unit_of_measure": None} | keys
    return Point(
        "hq", "X", name, "ast-1", "t", stale_after_ms=None, on_stale=OnStale(StalePolicy.HOLD),
        objects=objects, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def files_of(*points: Point) -> dict[str, str]:
    """Return the files of device 3101."""
    device = EdeDevice("bac", 3101, "edge-1-bac")
    return ede_files(points, device, project="hq", author="edge-1", today=date(2026, 12, 1))


MODES = BacnetObject("bac", ObjectType.MULTI_STATE_INPUT, 7, (0, 1, 2), ("Aus", "Ein; Hand", "Auto"))


def test_the_main_file_has_every_object_of_the_device() -> None:
    """The device is an object, too; numbers have unit and range, states their texts."""
    header, objects = read_ede(
        files_of(
            point_of(
                "ZN-T", BacnetObject("bac", ObjectType.ANALOG_INPUT, 1), unit_of_measure="°C",
                conversion=Conversion(range=(-20, 60.5)), description="Zone\n temperature",
            ),
            point_of("KWH", BacnetObject("bac", ObjectType.LARGE_ANALOG_VALUE, 2), unit_of_measure="kWh"),
            point_of("N", BacnetObject("bac", ObjectType.CHARACTERSTRING_VALUE, 3), unit_of_measure="kWh"),
            point_of("M", MODES),
            point_of("B", BacnetObject("bac", ObjectType.BINARY_INPUT, 4)),
            point_of("ELSE", BacnetObject("other", ObjectType.BINARY_INPUT, 5)),
            point_of("NONE", None),
        )["_EDE.csv"]
    )  # fmt: skip
    assert header == dict(zip(EDE_HEADER, ("hq", "1", "1 Dec 2026", "edge-1", "2.3"), strict=True))
    assert {each.device for each in objects} == {"3101"}
    assert [(each.keyname, each.name, each.type, each.instance) for each in objects] == [
        ("edge-1-bac", "edge-1-bac", "8", "3101"),
        ("X/ZN-T", "X/ZN-T", "0", "1"),
        ("X/KWH", "X/KWH", "46", "2"),
        ("X/N", "X/N", "40", "3"),
        ("X/M", "X/M", "13", "7"),
        ("X/B", "X/B", "3", "4"),
    ]
    assert [(each.lowest, each.highest, each.unit, each.state_texts) for each in objects[1:]] == [
        ("-20", "60.5", "62", ""),
        ("", "", "19", ""),
        ("", "", "", ""),
        ("1", "3", "", "1"),
        ("", "", "", ""),
    ]
    assert objects[1].description == "Zone temperature"
    assert {(each.settable, each.cov) for each in objects[1:]} == {("N", "Y")}


def test_state_texts_are_listed_once() -> None:
    """Objects with the same texts share a line; none is empty, as importers drop empty cells."""
    files = files_of(
        point_of("A", MODES),
        point_of("B", BacnetObject("bac", ObjectType.MULTI_STATE_INPUT, 8, (3, 4, 5), MODES.texts)),
        point_of("C", BacnetObject("bac", ObjectType.BINARY_INPUT, 1, (0, 1), ("", "on"))),
    )
    assert [each.state_texts for each in read_ede(files["_EDE.csv"])[1][1:]] == ["1", "1", "2"]
    assert read_ede_records(files["_StateTexts.csv"]) == [
        ["1", "Aus", "Ein; Hand", "Auto"],
        ["2", "state 1", "on"],
    ]


def test_types_and_units_are_explained() -> None:
    """The two lists give the names of the standard for the numbers in the main file."""
    files = files_of()
    assert dict(read_ede_records(files["_ObjTypes.csv"]))["13"] == "Multistate Input"
    assert dict(read_ede_records(files["_Units.csv"]))["62"] == "degrees-celsius"


def test_text_is_never_a_formula() -> None:
    """What a spreadsheet would run has a quote in front; negative numbers stay numbers."""
    shown = BacnetObject("bac", ObjectType.ANALOG_INPUT, 1)
    point = point_of("T", shown, description="=1+1", conversion=Conversion(range=(-1, 1)))
    found = read_ede(files_of(point)["_EDE.csv"])[1][1]
    assert (found.description, found.lowest) == ("'=1+1", "-1")


def test_files_are_plain_utf_8() -> None:
    """There is no byte order mark, after which the first comment would be an object."""
    text = files_of(point_of("T", MODES, description="Außenluft"))["_EDE.csv"]
    assert text.encode().startswith(b"#Engineering-Data-Exchange")
    assert "Außenluft" in text
