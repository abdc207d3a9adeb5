"""The file `registers.lock`: a slot of registers for each asset without `base`.

The running gateway only reads it. `gateway lock` writes what `add_slots` and `rename_slot` return.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.salvage import ANY, Parts
from gateway.mapping.table import Address, Level, Stride, Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config.decode import Location

LOCK_NAME = "registers.lock"
_NEW_FILE = """\
# Registers of assets that have no `base`. Written by `gateway lock`; commit it together with the tables.
# A slot never moves and is never given to another asset. Delete a line only when no BMS reads its registers
# any more.
# `tag` keeps the name of an automatic asset, however it is called in Infodeck later.
schema: gateway.registers/1
slots:
"""
_EMPTY_LIST = re.compile(r"^(\w+:)[ \t]*(\[\]|null|~)[ \t]*$", re.MULTILINE)
_LIST_ENTRY = re.compile(r"^( *)- ", re.MULTILINE)
_SCALAR = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,}\s]+""")  # YAML text on one line
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z_][a-z0-9_/-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Slot:
    """The registers of one asset: `stride` of them from `base` on. `tag`: of an automatic asset."""

    asset: Text
    template: Text
    base: Address
    stride: Stride
    tag: Level | None = None

    @property
    def last(self) -> int:
        """The last PDU address of the slot."""
        return self.base + self.stride - 1

    def __str__(self) -> str:
        tag = "" if self.tag is None else f", tag: {yaml_text(self.tag)}"
        names = f"asset: {yaml_text(self.asset)}, template: {yaml_text(self.template)}"
        return f"{{{names}, base: {self.base}, stride: {self.stride}{tag}}}"


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LockFile:
    """The keys of `registers.lock`."""

    schema: Literal["gateway.registers/1"]
    slots: tuple[Slot, ...] | None = None  # None: nothing follows `slots:`


LOCK_PARTS = Parts(droppable=(("slots", ANY),), essential=("schema",))


def add_slots(text: str | None, added: Iterable[Slot]) -> str:
    """Return the text of registers.lock with more slots at its end. `text`: None if there is no file."""
    return extend_list(_NEW_FILE if text is None else text, added)


def extend_list(text: str, added: Iterable[object]) -> str:
    """Return the text of a file whose only list is last in it, with more entries."""
    text = _EMPTY_LIST.sub(r"\1", text)
    entry = _LIST_ENTRY.search(text)
    indent = "  " if entry is None else entry[1]
    return "\n".join([text.rstrip("\n"), *(f"{indent}- {each}" for each in added)]) + "\n"


def rename_slot(text: str, place: Location, asset: str) -> str:
    """Return the text of registers.lock with another asset at a place, and no other change."""
    lines = text.split("\n")
    line, start = lines[place.line - 1], place.column - 1
    lines[place.line - 1] = line[:start] + _SCALAR.sub(lambda _: yaml_text(asset), line[start:], count=1)
    return "\n".join(lines)


def yaml_text(text: str) -> str:
    """Return text as a YAML scalar, in quotes if necessary."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
