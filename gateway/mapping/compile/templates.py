"""Templates: the points of each device type, compiled once for all assets, with what an asset overrides."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.config.problems import key_text
from gateway.mapping.compile.computations import SOURCE_KEYS
from gateway.mapping.compile.drafts import draft_point
from gateway.mapping.compile.register_blocks import table_of_modicon
from gateway.mapping.compile.sources import Place
from gateway.mapping.object_keys import BacnetKeys
from gateway.mapping.table import Defaults, Match, ModbusDefaults, ModbusKeys, PointKeys, QualityKeys
from gateway.mapping.topics import names_asset
from gateway.model import RegisterTable
from gateway.text import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.decode import Document
    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.lock_file import Slot
    from gateway.mapping.compile.sources import MissingParts, TableInputs
    from gateway.mapping.table import AssetEntry, Table, Template

Area = tuple[str, int, RegisterTable]
"""One table of one Modbus unit of one sink."""
_Keys = TypeVar("_Keys", PointKeys, ModbusKeys, QualityKeys, BacnetKeys, Defaults, ModbusDefaults)
_Block = TypeVar("_Block", ModbusKeys, QualityKeys)
_REMOVE = "delete this line when no BMS reads its registers any more and run `gateway lock -c …`"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The areas of an asset's relative registers, and how many registers from the base on they cover."""

    areas: frozenset[Area]
    size: int


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """A template with its point drafts by name. `defaults`: the file's, overridden by its own."""

    name: str
    template: Template
    place: Place
    defaults: Defaults
    drafts: dict[str, PointDraft]
    footprint: Footprint
    site: str

    def slot_problem(self, slot: Slot, needed: Footprint) -> tuple[str, str] | None:
        """Return the key and the reason why an asset cannot use its slot, or None if it can."""
        uses = f"the template {key_text(self.name)}"
        if slot.template != self.name:
            return "template", (
                f"these registers mean {key_text(slot.template)} to the BMS, but {slot.asset} uses {uses}"
                " now: if that one was only renamed, rename it here; otherwise give the asset a `base`, or"
                f" {_REMOVE}"
            )
        if needed.size > slot.stride:
            return "stride", (
                f"{uses} needs {needed.size} registers now, and a slot cannot grow: keep its points within"
                f" {slot.stride} registers, put what is new into another template, or {_REMOVE}"
            )
        return None


def compile_templates(
    document: Document[Table], table: Table, *, inputs: TableInputs
) -> list[CompiledTemplate]:
    """Compile the templates of one file."""
    compiled = []
    for name, template in table.templates.items():
        place = Place(document, ("templates", name))
        defaults = _merge_defaults(table.defaults, template.defaults)
        drafts = {
            point: draft_point(
                keys, place.at("points", point), defaults=defaults, inputs=inputs, is_relative=True
            )
            for point, keys in template.points.items()
        }
        for draft in drafts.values():
            _check_stride(draft, template.stride)
        used = CompiledTemplate(name, template, place, defaults, drafts, footprint(drafts), table.site)
        if template.reserve is not None and template.stride is None:
            place.report("`stride` is required with `reserve`: how many registers of it each asset is given")
        _check_automatic(used)
        compiled.append(used)
    return compiled


def draft_asset(
    entry: AssetEntry, place: Place, used: CompiledTemplate, *, inputs: TableInputs, missing: MissingParts
) -> dict[str, PointDraft]:
    """Return the drafts of one asset: the template's own, except for points that the asset overrides."""
    if not entry.points:
        return used.drafts
    drafts = dict(used.drafts)
    for name, override in entry.points.items():
        point = used.template.points.get(name)
        if point is None:
            if not missing.template_points:
                message = unknown_name("point", name, drafts)
                place.report(f"{message} (template {used.name})", "points", name)
            continue
        own = replace(place.at("points", name), template=drafts[name].place)
        keys = _merge_point(point, override)
        drafts[name] = draft_point(keys, own, defaults=used.defaults, inputs=inputs, is_relative=True)
        _check_stride(drafts[name], used.template.stride)
    return drafts


def footprint(drafts: Mapping[str, PointDraft]) -> Footprint:
    """Return the footprint of all relative blocks of an asset's points."""
    blocks = [block for draft in drafts.values() for block in draft.blocks if block.is_relative]
    registers = [block.register for block in blocks]
    return Footprint(
        frozenset((register.sink, register.unit, register.table) for register in registers),
        max((block.last_address(0) + 1 for block in blocks), default=0),
    )


def area_text(area: Area) -> str:
    """Return an area for messages: `input registers of unit 1 on regs`."""
    sink, unit, table = area
    names = {RegisterTable.COIL: "coils", RegisterTable.DISCRETE: "discrete inputs"}
    return f"{names.get(table, f'{table} registers')} of unit {unit} on {sink}"


def _check_stride(draft: PointDraft, stride: int | None) -> None:
    for block in draft.blocks:
        last = block.last_address(0)
        if stride is not None and block.is_relative and last >= stride:
            message = f"ends at register {last}, beyond the template's stride of {stride}"
            draft.place.report(message, *block.steps, "register")


def _check_automatic(used: CompiledTemplate) -> None:
    """Report keys that cannot be the same for many assets."""
    template, place = used.template, used.place
    if not template.auto:
        if template.tag is not None:
            place.report("is for automatic assets: write `auto: true` and `match`, or leave it out", "tag")
        return
    if template.match is None or template.match == Match():
        place.report("needs `match` beside it, to select the assets: asset_type, model, …", "auto")
    if used.footprint.areas and template.stride is None:
        place.report("needs `stride` beside it: how many registers each asset is given", "auto")
    for draft in used.drafts.values():
        for block in draft.blocks:
            if not block.is_relative:
                message = "must be relative with `auto` (`register`): each asset has its own registers"
                draft.place.report(message, *block.steps)
        topic = draft.mqtt.topic if draft.mqtt is not None else None
        if topic is not None and not names_asset(topic):
            message = "would be the same for every asset with `auto`: write {tag} or {asset} into it"
            draft.place.report(message, "mqtt", "topic")
        if draft.bacnet is not None and draft.bacnet.instance is not None:
            message = (
                "would be the same for every asset with `auto`: leave it out, and run `gateway lock -c …`"
            )
            draft.place.report(message, "bacnet", "instance")


def _merge_point(point: PointKeys, override: PointKeys) -> PointKeys:
    """Return the point with every key that the override has.

    Two single register blocks are merged key by key, and so are `bacnet` and tags; a list of blocks replaces
    all before.
    `from`, or a key that computes the point, replaces what the point has of these.
    """
    given: dict[str, Any] = {}
    if any(getattr(override, key) is not None for key in SOURCE_KEYS):
        given = dict.fromkeys(SOURCE_KEYS)
    given |= _written(override, PointKeys)
    if isinstance(point.modbus, ModbusKeys) and isinstance(override.modbus, ModbusKeys):
        given["modbus"] = _merge_block(point.modbus, override.modbus)
    if isinstance(point.quality, QualityKeys) and isinstance(override.quality, QualityKeys):
        given["quality"] = _merge_block(point.quality, override.quality)
    if isinstance(point.bacnet, BacnetKeys) and isinstance(override.bacnet, BacnetKeys):
        given["bacnet"] = _with(point.bacnet, _written(override.bacnet, BacnetKeys))
    if point.tags and override.tags:
        given["tags"] = point.tags | override.tags
    return _with(point, given)


def _merge_defaults(defaults: Defaults, override: Defaults) -> Defaults:
    modbus = _with(defaults.modbus, _written(override.modbus, ModbusDefaults))
    return _with(defaults, _written(override, Defaults) | {"modbus": modbus})


def _merge_block(block: _Block, override: _Block) -> _Block:
    """Merge key by key. `register` replaces `modicon`, whose table stays, and the other way round."""
    given = _written(override, type(override))
    if "modicon" in given:
        given = {"register": None, "table": None} | given
    elif "register" in given:
        given = {"modicon": None, "table": block.table or table_of_modicon(block.modicon)} | given
    return _with(block, given)


def _written(keys: Any, shape: type[_Keys]) -> dict[str, Any]:
    given = {field.name: getattr(keys, field.name) for field in fields(shape)}
    return {name: value for name, value in given.items() if value is not None}


def _with(keys: _Keys, changes: dict[str, Any]) -> _Keys:
    """Return a changed copy. Nothing is validated again: both sides were when they were read."""
    merged = copy.copy(keys)
    for name, value in changes.items():
        object.__setattr__(merged, name, value)
    return merged
