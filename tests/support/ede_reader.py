"""A reader of EDE files, as a BMS reads them: by position, one line per object, comments left out."""

from __future__ import annotations

from typing import NamedTuple

EDE_HEADER = (
    *("PROJECT_NAME", "VERSION_OF_REFERENCEFILE", "TIMESTAMP_OF_LAST_CHANGE"),
    *("AUTHOR_OF_LAST_CHANGE", "VERSION_OF_LAYOUT"),
)


class EdeObject(NamedTuple):
    """One line of the main file, in the order of the columns of layout 2.3."""

    keyname: str
    device: str
    name: str
    type: str
    instance: str
    description: str
    default: str
    lowest: str
    highest: str
    settable: str
    cov: str
    high_limit: str
    low_limit: str
    state_texts: str
    unit: str
    vendor_address: str
    notification_class: str


def read_ede_records(text: str) -> list[list[str]]:
    """Return the cells of all lines that are no comments; a quoted cell may hold semicolons."""
    found: list[list[str]] = []
    for line in text.removesuffix("\r\n").split("\r\n"):
        cells, quoted = [""], False
        for mark in line:
            quoted ^= mark == '"'
            if mark == ";" and not quoted:
                cells.append("")
            elif mark != '"':
                cells[-1] += mark
        if not line.startswith("#"):
            found.append(cells)
    return found


def read_ede(text: str) -> tuple[dict[str, str], list[EdeObject]]:
    """Return the header and the objects of a main file."""
    lines = read_ede_records(text)
    header = {cells[0]: cells[1] for cells in lines if cells[0] in EDE_HEADER}
    return header, [EdeObject(*cells) for cells in lines if cells[0] not in EDE_HEADER]
