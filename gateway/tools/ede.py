"""The files of BIG-EU's Engineering Data Exchange (EDE) 2.3, from which a BMS makes the objects of a device.

Sources: BIG-EU's example of layout 2.2 and the reader of bacnet-ex/bacnet_ede, which keeps it; the 2.3 export
of YABE; Tridium's documents on its EDE import, which reads columns by position. All have these names of files
and columns, semicolons, Y and N, and comments after `#`. None states the encoding: here it is UTF-8 without a
byte order mark, behind which `#` would begin no comment.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.engineering_units import ENGINEERING_UNITS, unit_of_point
from gateway.mapping.object_types import NUMBERS
from gateway.model import ObjectType
from gateway.tools.register_map import quoted_formula

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from gateway.model import BacnetObject, Point

    EdeCell = str | float | None
    StateTexts = dict[tuple[str, ...], int]

_COLUMNS = (  # in the order of layout 2.3, by which most programs read them
    *("keyname", "device obj.-instance", "object-name", "object-type", "object-instance"),
    *("description", "present-value-default", "min-present-value", "max-present-value", "settable"),
    *("supports COV", "hi-limit", "low-limit", "state-text-reference", "unit-code"),
    *("vendor-specific-address", "notification-class"),
)
_MANDATORY = 5  # the first of them
_DEVICE = 8  # the object type of the device itself
_TYPE_NAMES = {
    ObjectType.ANALOG_INPUT.number: "Analog Input",
    ObjectType.BINARY_INPUT.number: "Binary Input",
    _DEVICE: "Device",
    ObjectType.MULTI_STATE_INPUT.number: "Multistate Input",
    ObjectType.CHARACTERSTRING_VALUE.number: "CharacterString Value",
    ObjectType.LARGE_ANALOG_VALUE.number: "Large Analog Value",
}


class EdeDevice(NamedTuple):
    """The device of a BACnet sink: the sink's name, device instance and Object_Name."""

    sink: str
    instance: int
    name: str


def ede_files(
    points: Iterable[Point], device: EdeDevice, *, project: str, author: str, today: date
) -> dict[str, str]:
    """Return the contents of the files of a device by the end of their names, such as `_EDE.csv`."""
    texts: StateTexts = {}
    rows = [_device_row(device)]
    rows += [
        _object_row(point, shown, device, texts)
        for point in points
        for shown in point.objects
        if shown.sink == device.sink
    ]
    head: list[Sequence[EdeCell]] = [
        ("#Engineering-Data-Exchange - B.I.G.-EU",),
        ("PROJECT_NAME", project),
        ("VERSION_OF_REFERENCEFILE", 1),
        ("TIMESTAMP_OF_LAST_CHANGE", f"{today.day} {today:%b %Y}"),
        ("AUTHOR_OF_LAST_CHANGE", author),
        ("VERSION_OF_LAYOUT", "2.3"),
        ["#mandatory", *["mandatory"] * (_MANDATORY - 1), *["optional"] * (len(_COLUMNS) - _MANDATORY)],
        [f"#{_COLUMNS[0]}", *_COLUMNS[1:]],
    ]
    return {
        "_EDE.csv": _csv([*head, *([row.get(column) for column in _COLUMNS] for row in rows)]),
        "_StateTexts.csv": _csv(_state_text_rows(texts)),
        "_ObjTypes.csv": _csv(
            [("#Encoding of BACnet Object Types",), ("#Code", "Object Type"), *_TYPE_NAMES.items()]
        ),
        "_Units.csv": _csv(
            [("#Encoding of BACnet Engineering Units",), ("#Code", "Unit Text"), *ENGINEERING_UNITS]
        ),
    }


def _device_row(device: EdeDevice) -> dict[str, EdeCell]:
    return {
        "keyname": device.name,
        "device obj.-instance": device.instance,
        "object-name": device.name,
        "object-type": _DEVICE,
        "object-instance": device.instance,
        "settable": "N",
        "supports COV": "N",
    }


def _object_row(
    point: Point, shown: BacnetObject, device: EdeDevice, texts: StateTexts
) -> dict[str, EdeCell]:
    lowest, highest = point.conversion.range or (None, None)
    if shown.type is ObjectType.MULTI_STATE_INPUT:
        lowest, highest = 1, len(shown.values)
    return {
        "keyname": point.name,
        "device obj.-instance": device.instance,
        "object-name": point.name,
        "object-type": shown.type.number,
        "object-instance": shown.instance,
        "description": point.description,
        "min-present-value": lowest,
        "max-present-value": highest,
        "settable": "N",
        "supports COV": "Y",
        "state-text-reference": _reference(shown, texts),
        "unit-code": unit_of_point(point).number if shown.type in NUMBERS else None,
    }


def _reference(shown: BacnetObject, texts: StateTexts) -> int | None:
    """Return the number of the object's state texts, a new one if no earlier object has the same."""
    if not shown.texts:
        return None
    # Niagara drops an empty text, and the states behind it move up.
    each = tuple(text.strip() or f"state {state}" for state, text in enumerate(shown.texts, start=1))
    return texts.setdefault(each, len(texts) + 1)


def _state_text_rows(texts: StateTexts) -> Iterator[tuple[EdeCell, ...]]:
    most = max(map(len, texts), default=2)
    others = [f"Text {number}" for number in range(3, most + 1)]
    yield ("#State Text Reference",)
    yield "#Reference Number", "Text 1 or Inactive-Text", "Text 2 or Active-Text", *others
    for each, number in texts.items():
        yield number, *each


def _csv(rows: Iterable[Iterable[EdeCell]]) -> str:
    """Return rows as text; a line end within a cell becomes a space, as most programs read line by line."""
    written = io.StringIO()
    writer = csv.writer(written, delimiter=";", lineterminator="\r\n")
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return written.getvalue()


def _cell(cell: EdeCell) -> str:
    if isinstance(cell, str):
        return quoted_formula(" ".join(cell.split()))
    return "" if cell is None else f"{cell:.15g}"
