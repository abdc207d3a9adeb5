"""Point drafts: the keys of a point with their defaults, checked and compiled, before it belongs to an asset.

All assets of a template share its drafts. A draft becomes a Point when tag and base are known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.mapping.compile.register_blocks import (
    RegisterBlock,
    check_counter,
    check_value,
    compile_blocks,
    warn_of_bound,
    warn_of_decimals,
)
from gateway.mapping.convert import Convert, compile_conversion, conflicting_keys
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import is_scalable
from gateway.mapping.table import CovKeys, Defaults, MqttDefaults, MqttKeys, OnStaleValue
from gateway.mapping.units import ConversionsByUnit, UnitProblem, suggest_unit, unit_conversion
from gateway.model import (
    HEARTBEAT,
    PSEUDO_SOURCES,
    Conversion,
    Cov,
    Mqtt,
    OnStale,
    Point,
    Quality,
    StalePolicy,
    ValueKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.mapping.compile.file_places import PointPlaces
    from gateway.mapping.compile.register_blocks import SinkTypes
    from gateway.mapping.table import Heartbeat, OnStaleKeys, PointKeys, RefillKeys, StaleAfter
    from gateway.model import Register
    from gateway.records import KnownAsset

_STALE_AFTER_S = 90 * 60.0
_MEASURING_KEYS = (
    "source_unit",
    "gain",
    "offset",
    "map",
    "range",
    "clamp",
    "decimals",
    "stale_after",
    "on_stale",
)
_HIGHEST = {"$quality": max(Quality).value, "$age": 365 * 86_400, "$online": 1}
_HIGHEST_BEAT = 32_767
_NAMELESS = Point(
    site="",
    tag="",
    point="",
    asset="",
    source="",
    unit_of_measure=None,
    stale_after_ms=None,
    on_stale=OnStale(StalePolicy.SENTINEL),
)


@dataclass(frozen=True, slots=True)
class PointDraft:
    """A point without tag, asset and base: the `prototype` is the same for every asset of a template.

    `get` finds the reading of a `$.…` source in an event's body, `get_unit` the unit beside it.
    """

    prototype: Point
    blocks: tuple[RegisterBlock, ...]
    convert: Convert
    by_unit: Mapping[str, Convert]
    get: Callable[[Any], Any] | None
    get_unit: Callable[[Any], Any] | None
    places: PointPlaces

    @property
    def source(self) -> str:
        """Where the point's readings come from."""
        return self.prototype.source

    def point(
        self, *, site: str, tag: str, name: str, asset: str, base: int, known: KnownAsset | None = None
    ) -> Point:
        """Return the point of one asset, with registers at their final addresses."""
        shared = self.prototype
        return Point(  # dataclasses.replace takes twice as long, and a building has 100,000 points
            site=site,
            tag=tag,
            point=name,
            asset=asset,
            source=shared.source,
            unit_of_measure=shared.unit_of_measure,
            stale_after_ms=shared.stale_after_ms,
            on_stale=shared.on_stale,
            cov=shared.cov,
            description=shared.description,
            mqtt=shared.mqtt,
            registers=tuple([block.at(base) for block in self.blocks]),
            conversion=shared.conversion,
            tags=shared.tags,
            known=known,
            backfill=shared.backfill,
        )


def draft_point(
    keys: PointKeys, places: PointPlaces, *, defaults: Defaults, sinks: SinkTypes, is_relative: bool
) -> PointDraft:
    """Return the draft of a point. Keys with problems are reported and left out."""
    written, places = places, places.silent_if_incomplete
    source = keys.source or ""
    if not source:
        places.report("this key is required: a telemetry key, or $.data.object…", "from")
    is_pseudo = source in PSEUDO_SOURCES
    blocks = compile_blocks(
        keys.modbus, places, defaults=defaults.modbus, sinks=sinks, is_relative=is_relative
    )
    registers = tuple(block.register for block in blocks)
    conversion = _conversion(keys, registers, places)
    convert = compile_conversion(conversion, registers)
    prototype = replace(
        _NAMELESS,
        source=source,
        unit_of_measure=keys.unit,
        stale_after_ms=None if is_pseudo else _stale_after_ms(keys.stale_after, defaults.stale_after),
        on_stale=_on_stale(keys.on_stale or defaults.on_stale),
        cov=_cov(keys, defaults, expires=not is_pseudo),
        description=keys.description,
        mqtt=_mqtt(keys, places, defaults=defaults, sinks=sinks),
        conversion=conversion,
        tags=keys.tags,
        backfill=_backfill(keys, places, default=defaults.refill),
    )
    is_path, unit_path = source.startswith(("$.", "$[")), re.sub(r"\.value$", ".unit", source)
    draft = PointDraft(
        prototype=prototype,
        blocks=blocks,
        convert=convert,
        by_unit=ConversionsByUnit(conversion, keys.unit, registers, convert),
        get=compile_path(source) if is_path else None,
        get_unit=compile_path(unit_path) if is_path and unit_path != source else None,
        places=written,
    )
    if is_pseudo:
        for name in _MEASURING_KEYS:
            if getattr(keys, name) is not None:
                places.report(f"does not apply to {source}, which the gateway makes itself", name)
        check_counter(blocks, places, _HIGHEST[source], f"{source} can become")
    else:
        _check_constants(draft, places, needs_numbers=conversion.calculates or bool(keys.cov))
    if any(sinks.is_controller(block.register.sink) for block in blocks):
        _check_stale_value(draft, places)
    return draft


def draft_heartbeat(
    heartbeat: Heartbeat, places: PointPlaces, *, defaults: Defaults, sinks: SinkTypes
) -> PointDraft:
    """Return the draft of the heartbeat, which has registers only."""
    blocks = compile_blocks(
        heartbeat.modbus, places, defaults=defaults.modbus, sinks=sinks, is_relative=False
    )
    check_counter(blocks, places, _HIGHEST_BEAT, "the heartbeat counts up to")
    prototype = replace(
        _NAMELESS,
        source=HEARTBEAT,
        on_stale=OnStale(StalePolicy.HOLD),
        description="Counts up while the gateway runs",
        mqtt=None,
    )
    convert = compile_conversion(Conversion())
    return PointDraft(prototype, blocks, convert, by_unit={}, get=None, get_unit=None, places=places)


def _conversion(keys: PointKeys, registers: tuple[Register, ...], places: PointPlaces) -> Conversion:
    """Return the conversion. It expects numbers if a step, a unit or a register needs them."""
    unit_gain, unit_offset = _unit_conversion(keys, places)
    conversion = Conversion(
        map=keys.map,
        source_unit=keys.source_unit,
        unit_gain=unit_gain,
        unit_offset=unit_offset,
        gain=1 if keys.gain is None else keys.gain,
        offset=keys.offset or 0,
        range=keys.range,
        clamp=bool(keys.clamp),
        decimals=keys.decimals,
    )
    has_number = any(is_scalable(register.type) for register in registers)
    if conversion.calculates or keys.cov is not None or keys.unit is not None or has_number:
        return replace(conversion, kind=ValueKind.NUMBER)
    if any(register.type == "bit" for register in registers):
        return replace(conversion, kind=ValueKind.SWITCH)
    return conversion


def _unit_conversion(keys: PointKeys, places: PointPlaces) -> tuple[float, float]:
    """Return gain and offset from `source_unit` to `unit`; (1, 0) if there is nothing to convert."""
    unchanged = (1, 0)
    if keys.source_unit is None and keys.unit is not None and (meant := suggest_unit(keys.unit)):
        places.warn(f"an unknown unit; did you mean `{meant}`? It is published unchanged", "unit")
    if keys.source_unit is None or keys.source in PSEUDO_SOURCES:
        return unchanged
    if keys.map is not None:
        places.report("has no effect with `map`, whose values are in `unit` already", "source_unit")
        return unchanged
    if keys.unit is None:
        places.report("needs `unit` beside it, the published unit", "source_unit")
        return unchanged
    if keys.source_unit == keys.unit:
        return unchanged  # also free text: the units that readings state are to be ignored
    found = unit_conversion(keys.source_unit, keys.unit)
    if isinstance(found, UnitProblem):
        places.report(found.message, found.key)
        return unchanged
    return found


def _stale_after_ms(written: StaleAfter | None, default: StaleAfter | None) -> int | None:
    seconds = written if written is not None else default if default is not None else _STALE_AFTER_S
    return None if isinstance(seconds, str) else round(seconds * 1000)


def _on_stale(written: OnStaleKeys | None) -> OnStale:
    if written is None:
        return OnStale(StalePolicy.SENTINEL)
    if isinstance(written, OnStaleValue):
        return OnStale(StalePolicy.VALUE, written.value)
    return OnStale(StalePolicy(written))


def _cov(keys: PointKeys, defaults: Defaults, *, expires: bool) -> Cov | None:
    """Return the deadband. Its longest interval is at most half of `stale_after`.

    A message expires on the broker when its value becomes stale, so the next one must be there before, even
    if no reading leaves the deadband.
    """
    if keys.cov is None:
        return None
    delta, every_s = (keys.cov.delta, keys.cov.every) if isinstance(keys.cov, CovKeys) else (keys.cov, None)
    stale_after_ms = _stale_after_ms(keys.stale_after, defaults.stale_after)
    half_ms = (stale_after_ms or round(_STALE_AFTER_S * 1000)) // 2
    if every_s is None:
        return Cov(delta, half_ms)
    every_ms = round(every_s * 1000)
    return Cov(delta, min(every_ms, half_ms) if expires and stale_after_ms is not None else every_ms)


def _backfill(keys: PointKeys, places: PointPlaces, *, default: RefillKeys | None) -> bool:
    """Return whether gaps are filled. Only telemetry keys have a history in Infodeck."""
    if (keys.source or "").startswith("$"):
        if keys.refill is not None:
            places.report(f"is for points that read a telemetry key, not {keys.source}", "refill")
        return False
    return (keys.refill or default) == "history"


def _mqtt(keys: PointKeys, places: PointPlaces, *, defaults: Defaults, sinks: SinkTypes) -> Mqtt | None:
    written = keys.mqtt if keys.mqtt is not None else defaults.mqtt
    if written is False:
        return None
    names = written.to if isinstance(written, MqttKeys | MqttDefaults) else None
    if isinstance(keys.mqtt, MqttKeys):
        for index, name in enumerate(keys.mqtt.to or ()):
            problem = sinks.problem(name, kind="mqtt")
            if problem:
                places.report(problem, "mqtt", "to", index)
        if names is None and isinstance(defaults.mqtt, MqttDefaults):
            names = defaults.mqtt.to
    topic = written.topic if isinstance(written, MqttKeys) else None
    return Mqtt(None if names is None else frozenset(names), topic)


def _check_constants(draft: PointDraft, places: PointPlaces, *, needs_numbers: bool) -> None:
    """Report values of the table itself that its registers cannot hold."""
    blocks, conversion, on_stale = draft.blocks, draft.prototype.conversion, draft.prototype.on_stale
    if conversion.clamp and conversion.range is None:
        places.report("has no effect without `range`", "clamp")
    if on_stale.policy is StalePolicy.VALUE:
        check_value(blocks, places, on_stale.value, "on_stale", "value")
    for index, bound in enumerate(conversion.range or ()):
        if conversion.clamp:
            check_value(blocks, places, bound, "range", index)
        else:
            warn_of_bound(blocks, places, bound, "range", index)
    warn_of_decimals(blocks, places, conversion.decimals)
    _check_map(conversion, blocks, places, needs_numbers=needs_numbers)


def _check_map(
    conversion: Conversion, blocks: tuple[RegisterBlock, ...], places: PointPlaces, *, needs_numbers: bool
) -> None:
    table = conversion.map or {}
    for key, earlier in conflicting_keys(table):
        kind = "" if earlier.lower() in {"true", "false"} else " number"
        places.report(f"means the same{kind} as {earlier}, which gives another value", "map", key)
    convert = compile_conversion(conversion)
    for key, output in table.items():
        if isinstance(output, str) and needs_numbers:
            places.report("is text, but gain, offset, range, decimals and cov need numbers", "map", key)
            continue
        value, quality = convert(key)
        if quality is Quality.GOOD:
            check_value(blocks, places, value, "map", key)


def _check_stale_value(draft: PointDraft, places: PointPlaces) -> None:
    """Report a value for stale times that is outside the point's own range: it is not written."""
    limits, on_stale = draft.prototype.conversion.range, draft.prototype.on_stale
    value = on_stale.value
    if on_stale.policy is not StalePolicy.VALUE or limits is None or value is None:
        return
    if isinstance(value, str) or not limits[0] <= value <= limits[1]:
        message = f"is outside of `range`, {limits[0]} to {limits[1]}, and so never written into a controller"
        places.report(message, "on_stale", "value")
