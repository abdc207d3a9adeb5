"""One point as written, together with its file's defaults: checked and compiled, not yet any asset's."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.mapping.compiling.blocks import Block, read_blocks, sink_problem
from gateway.mapping.compiling.fit import check_decimals, check_fit, check_highest, check_reach
from gateway.mapping.convert import Convert, compile_conversion, conflicting_keys
from gateway.mapping.paths import compile_path
from gateway.mapping.registers import is_scalable
from gateway.mapping.table import CovKeys, Defaults, OnStaleValue
from gateway.mapping.table_outputs import MqttDefaults, MqttKeys
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

    from gateway.mapping.compiling.places import Layers
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


@dataclass(frozen=True, slots=True)
class Draft:
    """What a template's point, or a free-standing one, is before it has a tag and a base.

    `get` takes an event's body to the reading of a `$.…` source, None for other sources; `get_unit` to the
    unit beside it.
    """

    source: str
    unit_of_measure: str | None
    stale_after_ms: int | None
    on_stale: OnStale
    cov: Cov | None
    description: str | None
    tags: Mapping[str, Any] | None
    mqtt: Mqtt | None
    blocks: tuple[Block, ...]
    conversion: Conversion
    convert: Convert
    by_unit: Mapping[str, Convert]
    get: Callable[[Any], Any] | None
    get_unit: Callable[[Any], Any] | None
    layers: Layers
    backfill: bool = False

    @property
    def is_pseudo(self) -> bool:
        """Say whether the gateway itself makes the point's values."""
        return self.source in PSEUDO_SOURCES

    def point(
        self, *, site: str, tag: str, name: str, asset: str, base: int, known: KnownAsset | None = None
    ) -> Point:
        """Return the point of one asset, registers at their final addresses."""
        return Point(
            site=site,
            tag=tag,
            point=name,
            asset=asset,
            source=self.source,
            unit_of_measure=self.unit_of_measure,
            stale_after_ms=self.stale_after_ms,
            on_stale=self.on_stale,
            cov=self.cov,
            description=self.description,
            mqtt=self.mqtt,
            registers=tuple([block.at(base) for block in self.blocks]),
            conversion=self.conversion,
            tags=self.tags,
            known=known,
            backfill=self.backfill,
        )


def draft_point(
    keys: PointKeys, layers: Layers, *, defaults: Defaults, sinks: Mapping[str, str], is_relative: bool
) -> Draft:
    """Compile a point's keys; whatever is wrong with them is reported and left out of the draft."""
    written, layers = layers, layers.for_drafting
    source = keys.source or ""
    if not source:
        layers.report("this key is required: a telemetry key, or $.data.object…", "from")
    is_pseudo = source in PSEUDO_SOURCES
    blocks = read_blocks(keys.modbus, layers, defaults=defaults.modbus, sinks=sinks, is_relative=is_relative)
    registers = tuple(block.register for block in blocks)
    conversion = _conversion(keys, registers, layers)
    convert = compile_conversion(conversion, registers)
    is_path, unit_beside = source.startswith(("$.", "$[")), re.sub(r"\.value$", ".unit", source)
    draft = Draft(
        source=source,
        unit_of_measure=keys.unit,
        stale_after_ms=None if is_pseudo else _stale_after_ms(keys.stale_after, defaults.stale_after),
        on_stale=_on_stale(keys.on_stale or defaults.on_stale),
        cov=_cov(keys, defaults, expires=not is_pseudo),
        description=keys.description,
        tags=keys.tags,
        mqtt=_mqtt(keys, layers, defaults=defaults, sinks=sinks),
        blocks=blocks,
        conversion=conversion,
        convert=convert,
        by_unit=ConversionsByUnit(conversion, keys.unit, registers, convert),
        get=compile_path(source) if is_path else None,
        get_unit=compile_path(unit_beside) if is_path and unit_beside != source else None,
        layers=written,
        backfill=_refill_history(keys, layers, default=defaults.refill),
    )
    if is_pseudo:
        _refuse_measuring_keys(keys, layers)
        check_highest(blocks, layers, _HIGHEST[source], f"{source} can become")
    else:
        _check_constants(draft, conversion, layers, needs_numbers=conversion.calculates or bool(keys.cov))
    return draft


def _refuse_measuring_keys(keys: PointKeys, layers: Layers) -> None:
    for name in _MEASURING_KEYS:
        if getattr(keys, name) is not None:
            layers.report(f"does not apply to {keys.source}, which the gateway makes itself", name)


def _conversion(keys: PointKeys, registers: tuple[Register, ...], layers: Layers) -> Conversion:
    """Numbers are expected where something can only be done with numbers, or a unit of measure says so."""
    unit_gain, unit_offset = _unit_conversion(keys, layers)
    plain = Conversion(
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
    if plain.calculates or keys.cov is not None or keys.unit is not None or has_number:
        return replace(plain, kind=ValueKind.NUMBER)
    if any(register.type == "bit" for register in registers):
        return replace(plain, kind=ValueKind.SWITCH)
    return plain


def _unit_conversion(keys: PointKeys, layers: Layers) -> tuple[float, float]:
    """Return gain and offset from `source_unit` to `unit`; those that change nothing where there is none."""
    unchanged = (1, 0)
    if keys.source_unit is None and keys.unit is not None and (meant := suggest_unit(keys.unit)):
        layers.warn(
            f"no unit that is known here; did you mean `{meant}`? It is published as it stands", "unit"
        )
    if keys.source_unit is None or keys.source in PSEUDO_SOURCES:
        return unchanged
    if keys.map is not None:
        layers.report("stands beside `map`, whose values are in `unit` already", "source_unit")
        return unchanged
    if keys.unit is None:
        layers.report("needs `unit` beside it: what is published", "source_unit")
        return unchanged
    if keys.source_unit == keys.unit:
        return unchanged  # free text, too: it says that no reading's own unit counts
    found = unit_conversion(keys.source_unit, keys.unit)
    if isinstance(found, UnitProblem):
        layers.report(found.message, found.key)
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
    """At most half of the time in which a value stays fresh passes without a message.

    A message with a value expires on the broker when that value would be stale. By then, another one has to
    be there, also where no reading has left the deadband, and readings come only now and then.
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


def _refill_history(keys: PointKeys, layers: Layers, *, default: RefillKeys | None) -> bool:
    """Histories are asked for by telemetry key, so only points that read one can have theirs filled."""
    if (keys.source or "").startswith("$"):
        if keys.refill is not None:
            layers.report(f"is for points that read a telemetry key, not {keys.source}", "refill")
        return False
    return (keys.refill or default) == "history"


def _mqtt(keys: PointKeys, layers: Layers, *, defaults: Defaults, sinks: Mapping[str, str]) -> Mqtt | None:
    written = keys.mqtt if keys.mqtt is not None else defaults.mqtt
    if written is False:
        return None
    names = written.to if isinstance(written, MqttKeys | MqttDefaults) else None
    if isinstance(keys.mqtt, MqttKeys):
        for index, name in enumerate(keys.mqtt.to or ()):
            problem = sink_problem(name, sinks, kind="mqtt")
            if problem:
                layers.report(problem, "mqtt", "to", index)
        if names is None and isinstance(defaults.mqtt, MqttDefaults):
            names = defaults.mqtt.to
    topic = written.topic if isinstance(written, MqttKeys) else None
    return Mqtt(None if names is None else frozenset(names), topic)


def _check_constants(draft: Draft, conversion: Conversion, layers: Layers, *, needs_numbers: bool) -> None:
    """Refuse values that the table itself puts into registers which cannot hold them."""
    if conversion.clamp and conversion.range is None:
        layers.report("is about `range`, which is not written here", "clamp")
    if draft.on_stale.policy is StalePolicy.VALUE:
        check_fit(draft.blocks, layers, draft.on_stale.value, "on_stale", "value")
    for index, bound in enumerate(conversion.range or ()):
        if conversion.clamp:
            check_fit(draft.blocks, layers, bound, "range", index)
        else:
            check_reach(draft.blocks, layers, bound, "range", index, on_stale=draft.on_stale)
    check_decimals(draft.blocks, layers, conversion.decimals)
    for key, same in conflicting_keys(conversion.map or {}):
        kind = "" if same.lower() in {"true", "false"} else " number"
        layers.report(f"means the same{kind} as {same}, which gives another value", "map", key)
    convert = compile_conversion(conversion)
    for key, output in (conversion.map or {}).items():
        if isinstance(output, str) and needs_numbers:
            layers.report("is text, but gain, offset, range, decimals and cov need numbers", "map", key)
            continue
        value, quality = convert(key)
        if quality is Quality.GOOD:
            check_fit(draft.blocks, layers, value, "map", key)


def draft_heartbeat(
    heartbeat: Heartbeat, layers: Layers, *, defaults: Defaults, sinks: Mapping[str, str]
) -> Draft:
    """Return the point that the gateway counts up; it is in registers only."""
    blocks = read_blocks(heartbeat.modbus, layers, defaults=defaults.modbus, sinks=sinks, is_relative=False)
    draft = Draft(
        source=HEARTBEAT,
        unit_of_measure=None,
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.HOLD),
        cov=None,
        description="Counts up while the gateway runs",
        tags=None,
        mqtt=None,
        blocks=blocks,
        conversion=Conversion(),
        convert=compile_conversion(Conversion()),
        by_unit={},
        get=None,
        get_unit=None,
        layers=layers,
    )
    check_highest(blocks, layers, _HIGHEST_BEAT, "the heartbeat counts up to")
    return draft
