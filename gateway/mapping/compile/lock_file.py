"""The file `registers.lock`: a slot of registers for each asset without `base`.

The running gateway only reads it. `gateway lock` writes what `add_slots` and `rename_assets` return.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from os.path import lexists
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT, Document, FieldError, read_document
from gateway.config.problems import key_text
from gateway.config.salvage import ANY, Parts
from gateway.mapping.compile.file_places import Place
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.mapping.table import Address, Level, Stride, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.mapping.compile.templates import Footprint

LOCK_NAME = "registers.lock"
_SCHEMA = "gateway.registers/1"
_NEW_FILE = f"""\
# Registers of assets that have no `base`. Written by `gateway lock`; commit it together with the tables.
# A slot never moves and is never given to another asset. Delete a line only when no BMS reads its registers
# any more.
# `tag` keeps the name of an automatic asset, however it is called in Infodeck later.
schema: {_SCHEMA}
slots:
"""
_KEYS = re.compile(r"[A-Za-z_][\w-]*")
_REMOVE = "delete this line when no BMS reads its registers any more and run `gateway lock -c …`"
_SCALAR = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,}\s]+""")  # YAML text on one line
_INDENT = re.compile(" *(?=- )")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}  # in YAML 1.1 or 1.2


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
        tag = "" if self.tag is None else f", tag: {_yaml_text(self.tag)}"
        return (
            f"{{asset: {_yaml_text(self.asset)}, template: {_yaml_text(self.template)}, base: {self.base},"
            f" stride: {self.stride}{tag}}}"
        )


def _check_schema(text: str) -> str:
    if text != _SCHEMA:
        raise FieldError(f"this version reads {_SCHEMA}", value=text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LockFile:
    """The keys of `registers.lock`."""

    schema: Annotated[str, AfterValidator(_check_schema)]
    slots: tuple[Slot, ...] | None = None  # None: nothing follows `slots:`


_PARTS = Parts(droppable=(("slots", ANY),), essential=("schema",))


class SlotEntry(NamedTuple):
    """A slot and where it is written."""

    slot: Slot
    place: Place


class Slots:
    """All slots of a folder's registers.lock; of a file with problems, those that can be read."""

    def __init__(self, document: Document[LockFile] | None) -> None:
        """`document`: the file as read, None if there is none."""
        self.document = document
        self.is_readable = document is None or document.value is not None
        self._by_asset: dict[str, SlotEntry] = {}
        if document is not None and document.remains.value is not None:
            slots = document.remains.value.slots or ()
            for index, slot in zip(document.remains.positions("slots"), slots, strict=True):
                self._add(SlotEntry(slot, Place(document, ("slots", index))))

    def __iter__(self) -> Iterator[SlotEntry]:
        return iter(self._by_asset.values())

    def find(self, asset: str) -> SlotEntry | None:
        """Return an asset's slot."""
        return self._by_asset.get(asset)

    def reassign(self, old: str, new: str) -> None:
        """Give the slot of one asset to another one that has none."""
        self._by_asset = {
            (new if asset == old else asset): (
                entry._replace(slot=replace(entry.slot, asset=new)) if asset == old else entry
            )
            for asset, entry in self._by_asset.items()
        }

    def _add(self, entry: SlotEntry) -> None:
        slot, place = entry
        first = self._by_asset.setdefault(slot.asset, entry)
        if first is not entry:
            place.report(f"this asset has a slot already at {first.place}", "asset")
        if slot.last > HIGHEST_ADDRESS:
            place.report(f"the slot would end at register {slot.last}, the last is {HIGHEST_ADDRESS}", "base")


def read_slots(folder: Path) -> Slots:
    """Read a folder's registers.lock. Its problems are in `Slots.document`."""
    file = folder / LOCK_NAME
    return Slots(read_document(file, LockFile, parts=_PARTS) if lexists(file) else None)  # also a dead link


def slot_problem(slot: Slot, *, template: str, footprint: Footprint) -> tuple[str, str] | None:
    """Return the key and the reason why an asset cannot use its slot, or None if it can."""
    uses = f"the template {key_text(template)}"
    if slot.template != template:
        return "template", (
            f"these registers mean {key_text(slot.template)} to the BMS, but {slot.asset} uses {uses} now:"
            f" if that one was only renamed, rename it here; otherwise give the asset a `base`, or {_REMOVE}"
        )
    if footprint.size > slot.stride:
        return "stride", (
            f"{uses} needs {footprint.size} registers now, and a slot cannot grow: keep its points within"
            f" {slot.stride} registers, put what is new into another template, or {_REMOVE}"
        )
    return None


def add_slots(text: str | None, slots: Slots, added: Iterable[Slot]) -> str:
    """Return the text of registers.lock with more slots, sorted by base. Existing lines are unchanged.

    `text`: that of the file which `slots` were read from, None if there is none. Comments above a slot
    stay above it.
    """
    head, pieces, tail = _split(_NEW_FILE if text is None else text, slots)
    indent = next((found[0] for _, own in pieces for line in own if (found := _INDENT.match(line))), "  ")
    pieces += [(slot, [f"{indent}- {slot}"]) for slot in added]
    pieces.sort(key=lambda piece: piece[0].base)
    lines = [*head, *(line for _, own in pieces for line in own), *tail]
    return "\n".join(lines) + "\n"


def rename_assets(text: str, slots: Slots, assets: Iterable[str]) -> str:
    """Return the text of registers.lock with the new ids of reassigned slots, and no other change."""
    lines = text.split("\n")
    for asset in assets:
        entry = slots.find(asset)
        assert entry is not None  # noqa: S101 - it was reassigned
        at = entry.place.document.location((*entry.place.path, "asset"))
        before, after = lines[at.line - 1][: at.column - 1], lines[at.line - 1][at.column - 1 :]
        written = _SCALAR.match(after)
        lines[at.line - 1] = before + _yaml_text(asset) + after[written.end() if written else 0 :]
    return "\n".join(lines)


def _split(text: str, slots: Slots) -> tuple[list[str], list[tuple[Slot, list[str]]], list[str]]:
    """Split the file into the lines above the slots, each slot's own lines, and the lines below."""
    lines = text.splitlines()
    starts = [(entry.place.document.location(entry.place.path).line - 1, entry.slot) for entry in slots]
    begin = next((number for number, line in enumerate(lines) if line.startswith("slots:")), len(lines)) + 1
    head, at = lines[:begin], begin
    pieces = []
    for number, (_, slot) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(lines)
        while end > at and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        pieces.append((slot, lines[at:end]))
        at = end
    if not starts:
        head = [re.sub(r"^slots:\s*(\[\]|null|~)?\s*$", "slots:", line) for line in head]
    return head, pieces, lines[at:]


def _yaml_text(text: str) -> str:
    """Return text as a YAML scalar, in quotes if necessary."""
    if _KEYS.fullmatch(text) and text.isascii() and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=False)
