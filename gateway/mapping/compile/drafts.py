"""Point drafts: the keys of a point with their defaults, checked and compiled, before it belongs to an asset.

All assets of a template share its drafts. A draft becomes a Point when tag and base are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.mapping.compile.computations import read_computation
from gateway.mapping.compile.object_drafts import draft_object
from gateway.mapping.compile.register_blocks import (
    check_value,
    compile_blocks,
    compile_quality,
    warn_of_bound,
    warn_of_decimals,
)
from gateway.mapping.compile.sources import choose_sinks
from gateway.mapping.convert import compile_conversion
from gateway.mapping.paths import compile_path
from gateway.mapping.plan import PathRule, Rule
from gateway.mapping.registers import is_scalable
from gateway.mapping.table import CovKeys, Defaults, MqttKeys, OnStaleValue
from gateway.mapping.units import ConversionsByUnit, UnitProblem, unit_conversion
from gateway.model import (
    HEARTBEAT,
    KEY_SEPARATOR,
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
    from collections.abc import Callable, Iterable

    from gateway.mapping.compile.computations import Computation
    from gateway.mapping.compile.object_drafts import ObjectDraft
    from gateway.mapping.compile.register_blocks import RegisterBlock
    from gateway.mapping.compile.sources import Place, TableInputs
    from gateway.mapping.table import Heartbeat, PointKeys, StaleAfter
    from gateway.model import Register

_STALE_AFTER_S = 90 * 60.0
_CALCULATING_KEYS = ("bits", "source_unit", "gain", "offset", "map", "range", "clamp", "decimals")
_HIGHEST = {"$quality": max(Quality).value, "$age": 365 * 86_400, "$online": 1}
_HIGHEST_BEAT = 32_767


@dataclass(frozen=True, slots=True)
class PointDraft:
    """A point without tag, asset and base: the same for every asset of a template.

    `make_point` and `make_rule` lack what differs between assets, and the point.
    """

    source: str
    unit_of_measure: str | None
    mqtt: Mqtt | None
    conversion: Conversion
    blocks: tuple[RegisterBlock, ...]
    make_point: Callable[..., Point]
    make_rule: Callable[[Point], Rule]
    place: Place
    computation: Computation | None = None
    bacnet: ObjectDraft | None = None


def draft_point(
    keys: PointKeys, place: Place, *, defaults: Defaults, inputs: TableInputs, is_relative: bool
) -> PointDraft:
    """Return the draft of a point. Keys with problems are reported and left out."""
    # Without a key that was left out because of a problem, others may look wrong.
    written, place = place, replace(place, is_silent=not place.is_whole)
    computation = read_computation(keys, place)
    source = _source(keys) if computation is None else computation.source
    if not source:
        place.report("this key is required: a telemetry key, or $.data.object…", "from")
    is_pseudo = source in PSEUDO_SOURCES
    blocks = compile_blocks(
        keys.modbus, place, defaults=defaults.modbus, inputs=inputs, is_relative=is_relative
    )
    of_quality = compile_quality(
        keys, place, defaults=defaults.modbus, inputs=inputs, is_relative=is_relative
    )
    on_stale = _on_stale(keys, defaults)
    draft = _draft(
        source,
        blocks,
        _conversion(keys, tuple(block.register for block in blocks), place, computation),
        written,
        computation,
        unit_of_measure=keys.unit,
        stale_after_ms=None if is_pseudo else _stale_after_ms(keys, defaults),
        on_stale=on_stale,
        cov=_cov(keys, defaults, expires=not is_pseudo),
        description=keys.description,
        mqtt=_mqtt(keys, place, defaults=defaults, inputs=inputs),
        tags=keys.tags,
        backfill=computation is None and _backfill(keys, place, defaults),
    )
    if is_pseudo:
        _check_pseudo_reading(source, keys, place, blocks)
    else:
        _check_constants(draft, place, on_stale, needs_numbers=draft.conversion.calculates or bool(keys.cov))
    if any(inputs.is_controller(block.register.sink) for block in blocks):
        _check_stale_value(on_stale, draft.conversion.range, place)
    bacnet = draft_object(
        keys,
        place,
        source=source,
        computation=computation,
        conversion=draft.conversion,
        registers=[block.register for block in blocks],
        stale_value=on_stale.value,
        defaults=defaults,
        inputs=inputs,
    )
    return replace(draft, blocks=(*blocks, *of_quality), bacnet=bacnet)


def _check_pseudo_reading(
    source: str, keys: PointKeys, place: Place, blocks: Iterable[RegisterBlock]
) -> None:
    """Report keys that do not apply to what the gateway makes itself, and registers that cannot hold it."""
    for name in (*_CALCULATING_KEYS, "stale_after", "on_stale", "quality"):
        if getattr(keys, name) is not None:
            place.report(f"does not apply to {source}, which the gateway makes itself", name)
    if source == "$age" and unit_conversion("s", keys.unit or "s") != (1, 0):
        place.warn("$age is in seconds, whatever is written here: write `s`", "unit")
    check_value(blocks, place, _HIGHEST[source], what=f"{source} can become {_HIGHEST[source]}")


def _source(keys: PointKeys) -> str:
    return KEY_SEPARATOR.join(keys.source) if isinstance(keys.source, tuple) else keys.source or ""


def draft_heartbeat(
    heartbeat: Heartbeat, place: Place, *, defaults: Defaults, inputs: TableInputs
) -> PointDraft:
    """Return the draft of the heartbeat, which has registers only."""
    blocks = compile_blocks(
        heartbeat.modbus, place, defaults=defaults.modbus, inputs=inputs, is_relative=False
    )
    check_value(blocks, place, _HIGHEST_BEAT, what=f"the heartbeat counts up to {_HIGHEST_BEAT}")
    return _draft(
        HEARTBEAT,
        blocks,
        Conversion(),
        place,
        unit_of_measure=None,
        stale_after_ms=None,
        on_stale=OnStale(StalePolicy.HOLD),
        description="Counts up while the gateway runs",
        mqtt=None,
    )


def _draft(
    source: str,
    blocks: tuple[RegisterBlock, ...],
    conversion: Conversion,
    place: Place,
    computation: Computation | None = None,
    **keys: Any,
) -> PointDraft:
    """Return the draft; `keys` are those of the point that all assets share."""
    unit, mqtt = keys["unit_of_measure"], keys["mqtt"]
    registers = tuple(block.register for block in blocks)
    convert = compile_conversion(conversion, registers)
    by_unit = ConversionsByUnit(conversion, unit, registers, convert)
    make_rule: Callable[[Point], Rule] = partial(Rule, convert=convert, by_unit=by_unit)
    if source.startswith(("$.", "$[")):
        beside = compile_path(source.removesuffix(".value") + ".unit") if source.endswith(".value") else None
        get = compile_path(source)
        make_rule = partial(PathRule, convert=convert, by_unit=by_unit, get=get, get_unit=beside)
    make_point = partial(Point, source=source, conversion=conversion, **keys)
    return PointDraft(source, unit, mqtt, conversion, blocks, make_point, make_rule, place, computation)


def _conversion(
    keys: PointKeys, registers: tuple[Register, ...], place: Place, computation: Computation | None
) -> Conversion:
    """Return the conversion. It expects numbers if a step, a unit or a register needs them."""
    unit_gain, unit_offset = _unit_conversion(keys, place)
    conversion = Conversion(
        bits=keys.bits,
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
    kind = None if computation is None else computation.kind
    has_number |= kind not in {None, "any", "all", "expr"}
    is_measure = keys.cov is not None or keys.unit is not None or isinstance(keys.bits, tuple)
    if conversion.calculates or is_measure or has_number:
        return replace(conversion, kind=ValueKind.NUMBER)
    is_switch = keys.bits is not None or kind in {"any", "all"}
    if is_switch or any(register.type == "bit" for register in registers):
        return replace(conversion, kind=ValueKind.SWITCH)
    return conversion


def _unit_conversion(keys: PointKeys, place: Place) -> tuple[float, float]:
    """Return gain and offset from `source_unit` to `unit`; (1, 0) if there is nothing to convert."""
    source, unit = keys.source_unit, keys.unit
    if source is None or keys.source is None or keys.source in PSEUDO_SOURCES:
        return 1, 0
    if keys.map is not None:
        place.report("has no effect with `map`, whose values are in `unit` already", "source_unit")
    elif keys.bits is not None:
        place.report("has no effect with `bits`, which have no unit that could be converted", "source_unit")
    elif unit is None:
        place.report("needs `unit` beside it, the published unit", "source_unit")
    elif source != unit:  # equal also as free text: the units that readings state are to be ignored
        found = unit_conversion(source, unit)
        if not isinstance(found, UnitProblem):
            return found
        place.report(found.message, found.key)
    return 1, 0


def _stale_after_ms(keys: PointKeys, defaults: Defaults) -> int | None:
    chosen: StaleAfter | None = keys.stale_after if keys.stale_after is not None else defaults.stale_after
    seconds = _STALE_AFTER_S if chosen is None else chosen
    return None if isinstance(seconds, str) else round(seconds * 1000)


def _on_stale(keys: PointKeys, defaults: Defaults) -> OnStale:
    chosen = keys.on_stale or defaults.on_stale or StalePolicy.SENTINEL
    if isinstance(chosen, OnStaleValue):
        return OnStale(StalePolicy.VALUE, chosen.value)
    return OnStale(StalePolicy(chosen))


def _cov(keys: PointKeys, defaults: Defaults, *, expires: bool) -> Cov | None:
    """Return the deadband. Its longest interval is at most half of `stale_after`.

    A message expires on the broker when its value becomes stale, so the next one must be there before, even
    if no reading leaves the deadband.
    """
    if keys.cov is None:
        return None
    delta, every_s = (keys.cov.delta, keys.cov.every) if isinstance(keys.cov, CovKeys) else (keys.cov, None)
    stale_after_ms = _stale_after_ms(keys, defaults)
    half_ms = (stale_after_ms or round(_STALE_AFTER_S * 1000)) // 2
    if every_s is None:
        return Cov(delta, half_ms)
    every_ms = round(every_s * 1000)
    return Cov(delta, min(every_ms, half_ms) if expires and stale_after_ms is not None else every_ms)


def _backfill(keys: PointKeys, place: Place, defaults: Defaults) -> bool:
    """Return whether gaps are filled. Only a single telemetry key has a history in Infodeck."""
    source = _source(keys)
    if source.startswith("$") or KEY_SEPARATOR in source:
        if keys.refill is not None:
            place.report(f"is for points that read one telemetry key, not {source}", "refill")
        return False
    return (keys.refill or defaults.refill) == "history"


def _mqtt(keys: PointKeys, place: Place, *, defaults: Defaults, inputs: TableInputs) -> Mqtt | None:
    names = choose_sinks("mqtt", place, inputs, written=keys.mqtt, default=defaults.mqtt)
    if names == ():
        return None
    topic = keys.mqtt.topic if isinstance(keys.mqtt, MqttKeys) else None
    return Mqtt(None if names is None else frozenset(names), topic)


def _check_constants(draft: PointDraft, place: Place, on_stale: OnStale, *, needs_numbers: bool) -> None:
    """Report values of the table itself that its registers cannot hold."""
    blocks, conversion = draft.blocks, draft.conversion
    if conversion.clamp and conversion.range is None:
        place.report("has no effect without `range`", "clamp")
    if on_stale.policy is StalePolicy.VALUE:
        check_value(blocks, place, on_stale.value, "on_stale", "value")
    for index, bound in enumerate(conversion.range or ()):
        if conversion.clamp:
            check_value(blocks, place, bound, "range", index)
        else:
            warn_of_bound(blocks, place, bound, "range", index)
    warn_of_decimals(blocks, place, conversion.decimals)
    if isinstance(conversion.bits, tuple) and conversion.map is None and conversion.linear == (1, 0):
        lowest, highest = conversion.bits
        warn_of_bound(blocks, place, (1 << highest - lowest + 1) - 1, "bits")
    table = conversion.map or {}
    convert = compile_conversion(replace(conversion, bits=None))
    for key, output in table.items():
        if isinstance(output, str) and needs_numbers:
            place.report("is text, but gain, offset, range, decimals and cov need numbers", "map", key)
            continue
        value, quality = convert(key)
        if quality is Quality.GOOD:
            check_value(blocks, place, value, "map", key)


def _check_stale_value(on_stale: OnStale, limits: tuple[float, float] | None, place: Place) -> None:
    """Report a value for stale times that is outside the point's own range: it is not written."""
    value = on_stale.value
    if on_stale.policy is not StalePolicy.VALUE or limits is None or value is None:
        return
    if isinstance(value, str) or not limits[0] <= value <= limits[1]:
        message = f"is outside of `range`, {limits[0]} to {limits[1]}, and so never written into a controller"
        place.report(message, "on_stale", "value")
