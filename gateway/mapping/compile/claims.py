"""Names, topics and registers, which can be used only once across all tables, and reserved registers.

Slots of registers.lock are reserved for their assets, reserves of templates for their assets without `base`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, pairwise
from typing import TYPE_CHECKING

from gateway.mapping.compile.templates import Area, area_text
from gateway.mapping.registers import register_text
from gateway.mapping.topics import check_level

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.object_lock import ObjectLock
    from gateway.mapping.compile.register_blocks import RegisterBlock
    from gateway.mapping.compile.sources import Place, SlotEntry, Steps
    from gateway.mapping.compile.templates import CompiledTemplate
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Mqtt, ObjectType, Point, Register

ONE_NAME = "names are unique in the whole gateway, not only in a site; put the site into the tag: "
"""Starts a message about a name that is used in two sites."""
_SAME_FOR_ALL = "; this key is the same for every asset of the template"
_AT_EACH_ASSET = ": write it at each asset instead, `points: {%s: {bacnet: {instance: …}}}`"
_TOPIC = ("mqtt", "topic")
_INSTANCE = ("bacnet", "instance")


@dataclass(slots=True, eq=False)
class Claimant:
    """A point that claims a name, topics, BACnet objects and registers, one for each of the blocks.

    `entry`: the asset that uses a template, None for any other point.
    """

    point: Point
    draft: PointDraft
    blocks: Sequence[RegisterBlock]
    entry: Place | None


@dataclass(slots=True, eq=False)
class _TopicClaim:
    """A point that claims a topic on a sink, by its name or as one of those with this `asset_key`."""

    sink: str
    claimant: Claimant
    asset_key: tuple[str, ...] | None = None

    def has_owner_of(self, other: _TopicClaim) -> bool:
        """Return whether both claim the topic for the same point or asset on the same sink."""
        own, others = self.asset_key, other.asset_key
        is_same_point = own is None and others is None and self.claimant.point is other.claimant.point
        return self.sink == other.sink and (is_same_point or (own is not None and own == others))

    def __str__(self) -> str:
        point = self.claimant.point
        return point.name if self.asset_key is None else f"the asset {point.tag}"


_Holder = tuple[Claimant, "RegisterBlock"]


class Claims:
    """Records what points claim, and reports each second claim together with the place of the first."""

    def __init__(self, *, topics: Mapping[str, TopicScheme], locked: ObjectLock) -> None:
        """`topics`: those of each MQTT sink by its name; `locked`: bacnet.lock."""
        self._locked = locked
        self._schemes = topics
        self._names: dict[str, Claimant] = {}
        self._topics: dict[tuple[str, str], _TopicClaim] = {}  # by broker, or by sink if that is unknown
        self._words: dict[Area, dict[int, _Holder]] = defaultdict(dict)
        self._bits: dict[Area, dict[int, dict[int, _Holder]]] = defaultdict(dict)
        self._objects: dict[tuple[str, ObjectType, int], Claimant] = {}
        self._reported: set[tuple[str, ...]] = set()
        self._clashing: set[frozenset[str]] = set()  # pairs of assets with a reported clash

    def claim(self, claimant: Claimant) -> None:
        """Claim the point's name, topics, registers, objects; report what another point has already."""
        point = claimant.point
        other = self._names.setdefault(point.name, claimant)
        if other is not claimant:
            why = ONE_NAME if point.site != other.point.site else ""
            self._report(claimant, other, f"{why}a point named {point.name} is already at", "point")
            return
        self._claim_topics(claimant)
        self._claim_registers(claimant)
        if claimant.point.objects:
            self._claim_objects(claimant)

    def topic_obstacle(self, claimant: Claimant) -> str | None:
        """Return why a point cannot have its topics, or None if it can."""
        if (problem := self._asset_id_problem(claimant.point)) is not None:
            return f"its id {problem}"
        for key, claim in self._topic_claims(claimant):
            first = self._topics.get(key, claim)
            if first is not claim and not first.has_owner_of(claim):
                return f"{first} has the topic of {claimant.point.name}"
        return None

    def _claim_topics(self, claimant: Claimant) -> None:
        if (problem := self._asset_id_problem(claimant.point)) is not None:
            place, step = (claimant.entry, "id") if claimant.entry else (claimant.draft.place, "asset")
            self._report_once((str(place), step), place, problem, step)
            return
        for key, claim in self._topic_claims(claimant):
            first = self._topics.setdefault(key, claim)
            if first is claim or first.has_owner_of(claim):
                continue
            holder = f"{first} on {first.sink}"
            message = f"the topic {key[1]} of {claim} on {claim.sink} already belongs to {holder} at"
            # Two sinks that meet on a topic are one mistake, however many points there are.
            clash = () if claim.sink == first.sink else (claim.sink, first.sink)
            self._report(claimant, first.claimant, message, *_TOPIC, clash=clash)

    def _topic_claims(self, claimant: Claimant) -> Iterator[tuple[tuple[str, str], _TopicClaim]]:
        """Yield the topics of a point, and of the messages of its asset, on each broker."""
        point = claimant.point
        for sink, scheme, mqtt in self._sinks_of(point):
            broker = scheme.broker or sink
            if (topic := scheme.point_topic(point, own=mqtt.topic)) is not None:
                yield (broker, topic), _TopicClaim(sink, claimant)
            if (topic := scheme.asset_topic(point)) is not None:
                yield (broker, topic), _TopicClaim(sink, claimant, scheme.asset_key(point))

    def _sinks_of(self, point: Point) -> Iterator[tuple[str, TopicScheme, Mqtt]]:
        for sink, scheme in self._schemes.items():
            if point.mqtt is not None and point.mqtt.goes_to(sink):
                yield sink, scheme, point.mqtt

    def _asset_id_problem(self, point: Point) -> str | None:
        """Return why the id of the point's asset cannot be in its topics, or None if it can."""
        if (problem := _level_problem(point.asset)) is None:
            return None
        sinks = [sink for sink, scheme, _ in self._sinks_of(point) if scheme.names_asset_id(point)]
        return f"{problem} ({{asset}} in the topics of {', '.join(sinks)})" if sinks else None

    def _claim_registers(self, claimant: Claimant) -> None:
        """Claim the point's registers. Two blocks of one point must not overlap either."""
        for register, block in zip(claimant.point.registers, claimant.blocks, strict=True):
            first = self._claim_register(register, (claimant, block))
            if first is None:
                continue
            other, _ = first
            message = f"{register_text(register)} for {claimant.point.name} overlaps {other.point.name} at"
            self._report(claimant, other, message, *block.steps, "modicon")

    def _claim_register(self, register: Register, holder: _Holder) -> _Holder | None:
        """Claim the register, or return the first holder of a part of it."""
        area, address = (register.sink, register.unit, register.table), register.address
        words, bits = self._words[area], self._bits[area]
        if register.bit is not None:
            others = bits.setdefault(address, {})
            first = words.get(address) or others.setdefault(register.bit, holder)
            return None if first is holder else first
        for word in range(address, address + register.words):
            in_bits = bits.get(word)
            first = next(iter(in_bits.values())) if in_bits else words.setdefault(word, holder)
            if first is not holder:
                return first
        return None

    def _claim_objects(self, claimant: Claimant) -> None:
        point, draft = claimant.point, claimant.draft
        for one in point.objects:
            what = f"{one.type} {one.instance}"
            holder, entry = self._locked.holders.get((one.type, one.instance), (point.name, None))
            if holder != point.name:
                message = f"{what} belongs to {holder} at {entry}: write another instance, or if that point"
                message += " was renamed, its new name there"
                place = draft.place.owner(*_INSTANCE)
                self._report_once((str(place), *_INSTANCE), place, message, *_INSTANCE)
                return
            other = self._objects.setdefault((one.sink, one.type, one.instance), claimant)
            if other is not claimant:
                message = f"{what} for {point.name} on {one.sink} already belongs to {other.point.name} at"
                self._report(claimant, other, message, *_INSTANCE)
                return

    def instances(self) -> dict[tuple[ObjectType, int], str]:
        """Return a point for each type and instance of claimed objects."""
        return {(kind, instance): one.point.name for (_, kind, instance), one in self._objects.items()}

    def addresses(self) -> Iterator[tuple[Area, Collection[int]]]:
        """Yield each area with its claimed PDU addresses."""
        for area in self._words.keys() | self._bits.keys():
            yield area, self._words[area].keys() | self._bits[area].keys()

    def check_reserved(
        self, ranges: Collection[ReservedRange], *, uses: Mapping[str, str], in_slots: Collection[str]
    ) -> None:
        """Report points in registers that are reserved for others. The ranges do not overlap each other.

        `uses`: the template of each listed asset; `in_slots`: the assets that use their slot.
        """
        for area in list(self._words):
            kept = sorted((one for one in ranges if area in one.areas), key=lambda one: one.first)
            starts = [one.first for one in kept]
            bits = ((at, holder) for at, held in self._bits[area].items() for holder in held.values())
            for address, (claimant, block) in chain(self._words[area].items(), bits) if kept else ():
                reserved = kept[max(0, bisect_right(starts, address) - 1)]
                if not reserved.first <= address <= reserved.last:
                    continue
                asset = claimant.point.asset
                is_own = asset == reserved.asset or (
                    not reserved.asset and uses.get(asset) == reserved.template
                )
                if claimant.entry is None or not (is_own or asset in in_slots):
                    self._report_intrusion(claimant, block, reserved)

    def _report_intrusion(self, claimant: Claimant, block: RegisterBlock, reserved: ReservedRange) -> None:
        """Report a point in reserved registers, unless it overlaps the asset there anyway."""
        point, entry = claimant.point, claimant.entry
        if reserved.asset and frozenset((point.asset, reserved.asset)) in self._clashing:
            return
        register = point.registers[claimant.blocks.index(block)]
        message = f"{register_text(register)} for {point.name} is inside {reserved}"
        if entry is None:
            place = claimant.draft.place
            self._report_once((str(place), "reserved"), place, message, *block.steps)
            return
        if reserved.asset:
            message += (
                f"; if it takes the place of {reserved.asset}, leave `base` out and run"
                f" `gateway lock -c … --replace {reserved.asset}={point.asset}`"
            )
        self._report_once((str(entry), "reserved"), entry, message, *(("base",) if entry.has("base") else ()))

    def _report(
        self,
        claimant: Claimant,
        other: Claimant,
        message: str,
        *steps: str | int,
        clash: tuple[str, ...] = (),
    ) -> None:
        """Report a clash of two points, once per place or per `clash`.

        Inside one asset the template is at fault, between assets their entries are, unless a key of the
        template is the same for all of them.
        """
        self._clashing.add(frozenset((claimant.point.asset, other.point.asset)))
        place, other_place = claimant.draft.place.owner(*steps[:1]), other.draft.place
        is_shared = _is_shared(claimant, other, place, steps)
        if claimant.entry is not other.entry:
            place = place if is_shared else claimant.entry or place
            other_place = other.entry or other_place
        key = next((steps[:end] for end in (len(steps), len(steps) - 1) if place.has(*steps[:end])), ())
        message = f"{message} {other_place}"
        if is_shared:
            message += _SAME_FOR_ALL + (_AT_EACH_ASSET % claimant.point.point if steps == _INSTANCE else "")
        self._report_once(clash or (str(place), *map(str, steps)), place, message, *key)

    def _report_once(self, clash: tuple[str, ...], place: Place, message: str, *steps: str | int) -> None:
        if clash not in self._reported:
            self._reported.add(clash)
            place.report(message, *steps)


@lru_cache(maxsize=1)  # the points of an asset come one after the other
def _level_problem(text: str) -> str | None:
    try:
        check_level(text)
    except ValueError as error:
        return str(error)
    return None


def _is_shared(claimant: Claimant, other: Claimant, place: Place, steps: Steps) -> bool:
    """Return whether a key at `steps` of this place, a template's, holds for both assets."""
    are_assets = claimant.entry is not None and other.entry is not None
    is_same = place.has(*steps) and place == other.draft.place.owner(*steps)
    return are_assets and claimant.entry is not other.entry and is_same


@dataclass(frozen=True, slots=True)
class ReservedRange:
    """Reserved PDU addresses, both ends included, in each of the areas. `asset` is "" for a reserve."""

    first: int
    last: int
    areas: frozenset[Area]
    template: str
    asset: str
    place: Place

    def overlaps(self, first: int, last: int) -> bool:
        """Return whether it has any of these addresses."""
        return self.first <= last and first <= self.last

    def __str__(self) -> str:
        what = f"slot of {self.asset}" if self.asset else f"reserve of the template {self.template}"
        return f"the {what} at {self.place}"


def slot_ranges(slots: Iterable[SlotEntry], templates: Mapping[str, CompiledTemplate]) -> list[ReservedRange]:
    """Return the ranges of all slots, also of removed assets. Those of unknown templates have no areas."""
    ranges = []
    for slot, place in slots:
        template = templates.get(slot.template)
        areas = frozenset[Area]() if template is None else template.footprint.areas
        at = place.at("base")
        ranges.append(ReservedRange(slot.base, slot.last, areas, slot.template, slot.asset, at))
    return ranges


def template_ranges(templates: Iterable[CompiledTemplate]) -> list[ReservedRange]:
    """Return the reserves of templates."""
    return [
        ReservedRange(*used.template.reserve, used.footprint.areas, used.name, "", used.place.at("reserve"))
        for used in templates
        if used.template.reserve is not None
    ]


def check_ranges(slots: list[ReservedRange], reserves: list[ReservedRange]) -> None:
    """Report slots that overlap each other, and reserves that overlap other slots or reserves."""
    for area in {area for slot in slots for area in slot.areas}:
        in_area = sorted((slot for slot in slots if area in slot.areas), key=lambda slot: slot.first)
        for before, slot in pairwise(in_area):
            _check_overlap(slot, before)
    for earlier, later in combinations(reserves, 2):
        _check_overlap(later, earlier)
    for reserve in reserves:
        for slot in slots:
            if slot.template != reserve.template:
                _check_overlap(slot, reserve)


def _check_overlap(one: ReservedRange, other: ReservedRange) -> None:
    shared = one.areas & other.areas
    if shared and one.overlaps(other.first, other.last):
        one.place.report(f"{one.first}-{one.last} of the {area_text(min(shared))} overlap {other}")
