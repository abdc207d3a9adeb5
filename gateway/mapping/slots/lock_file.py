"""Registers of assets without `base`: the file `registers.lock`, read, checked, and with slots added.

The running gateway only reads it; `gateway lock` writes what `with_slots` returns.
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
from gateway.mapping.compiling.places import Place
from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.mapping.table_types import Address, Level, Stride, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.mapping.compiling.footprint import Footprint

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
_WRITTEN = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,}\s]+""")  # a text of YAML on one line
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
        """The last PDU address that is kept."""
        return self.base + self.stride - 1

    def __str__(self) -> str:
        tag = "" if self.tag is None else f", tag: {_scalar(self.tag)}"
        return (
            f"{{asset: {_scalar(self.asset)}, template: {_scalar(self.template)}, base: {self.base},"
            f" stride: {self.stride}{tag}}}"
        )


def _check_schema(text: str) -> str:
    if text != _SCHEMA:
        raise FieldError(f"this version reads {_SCHEMA}", value=text)
    return text


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LockFile:
    """`registers.lock`."""

    schema: Annotated[str, AfterValidator(_check_schema)]
    slots: tuple[Slot, ...] | None = None  # None: nothing stands after `slots:`


_PARTS = Parts(droppable=(("slots", ANY),), essential=("schema",))


class Kept(NamedTuple):
    """A slot and where it is written."""

    slot: Slot
    place: Place


class Slots:
    """All slots of a folder's registers.lock; where it must be mended, those that can be read."""

    def __init__(self, document: Document[LockFile] | None) -> None:
        """Take the file as read; None: there is none."""
        self.document = document
        self.is_readable = document is None or document.value is not None
        self._by_asset: dict[str, Kept] = {}
        if document is not None and document.remains.value is not None:
            slots = document.remains.value.slots or ()
            for index, slot in zip(document.remains.positions("slots"), slots, strict=True):
                self._take(Kept(slot, Place(document, ("slots", index))))

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._by_asset.values())

    def of(self, asset: str) -> Kept | None:
        """Return an asset's slot."""
        return self._by_asset.get(asset)

    def hand_over(self, old: str, new: str) -> None:
        """Give the slot of one asset to another one that has none; it stays where it is written."""
        self._by_asset = {
            (new if asset == old else asset): (
                kept._replace(slot=replace(kept.slot, asset=new)) if asset == old else kept
            )
            for asset, kept in self._by_asset.items()
        }

    def _take(self, kept: Kept) -> None:
        slot, place = kept
        first = self._by_asset.setdefault(slot.asset, kept)
        if first is not kept:
            place.report(f"this asset has a slot already at {first.place}", "asset")
        if slot.last > HIGHEST_ADDRESS:
            place.report(f"the slot would end at register {slot.last}, the last is {HIGHEST_ADDRESS}", "base")


def read_slots(folder: Path) -> Slots:
    """Read a folder's registers.lock. Never raises for what it contains: see `Slots.document`."""
    file = folder / LOCK_NAME
    return Slots(
        read_document(file, LockFile, parts=_PARTS) if lexists(file) else None
    )  # a dead link is a problem


def misfit(slot: Slot, *, template: str, footprint: Footprint) -> tuple[str, str] | None:
    """Return why an asset cannot use its slot, and the key of the slot that is about it; None: it can."""
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


def with_slots(text: str | None, slots: Slots, added: Iterable[Slot]) -> str:
    """Return the text of registers.lock with further slots, sorted by base; lines there are kept as they are.

    `text`: of the file that `slots` were read from, None where there is none. Comments above a slot
    stay above it.
    """
    head, pieces, tail = _pieces(_NEW_FILE if text is None else text, slots)
    indent = next((found[0] for _, own in pieces for line in own if (found := _INDENT.match(line))), "  ")
    pieces += [(slot, [f"{indent}- {slot}"]) for slot in added]
    pieces.sort(key=lambda piece: piece[0].base)
    lines = [*head, *(line for _, own in pieces for line in own), *tail]
    return "\n".join(lines) + "\n"


def with_successors(text: str, slots: Slots, assets: Iterable[str]) -> str:
    """Return the text of registers.lock with the ids of these assets in their slots, and no other change.

    `slots`: those of the file, handed over to the assets.
    """
    lines = text.split("\n")
    for asset in assets:
        kept = slots.of(asset)
        assert kept is not None  # noqa: S101 - it was handed over
        at = kept.place.document.location((*kept.place.path, "asset"))
        before, after = lines[at.line - 1][: at.column - 1], lines[at.line - 1][at.column - 1 :]
        written = _WRITTEN.match(after)
        lines[at.line - 1] = before + _scalar(asset) + after[written.end() if written else 0 :]
    return "\n".join(lines)


def _pieces(text: str, slots: Slots) -> tuple[list[str], list[tuple[Slot, list[str]]], list[str]]:
    """Split the file into what stands above the slots, each slot's own lines, and what stands below."""
    lines = text.splitlines()
    starts = [(kept.place.document.location(kept.place.path).line - 1, kept.slot) for kept in slots]
    begin = next((number for number, line in enumerate(lines) if line.startswith("slots:")), len(lines)) + 1
    head, at = lines[:begin], begin
    pieces = []
    for number, (_, slot) in enumerate(starts):
        following = starts[number + 1][0] if number + 1 < len(starts) else len(lines)
        end = following
        while end > at and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        pieces.append((slot, lines[at:end]))
        at = end
    if not starts:
        head = [re.sub(r"^slots:\s*(\[\]|null|~)?\s*$", "slots:", line) for line in head]
    return head, pieces, lines[at:]


def _scalar(text: str) -> str:
    """Return text as YAML that reads as this text, in quotes where it would not by itself."""
    if _KEYS.fullmatch(text) and text.isascii() and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=False)
