"""Names, topics and registers that can be used only once, across all tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.mapping.registers import register_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.mapping.compile.drafts import PointDraft
    from gateway.mapping.compile.file_places import Place, Steps
    from gateway.mapping.compile.register_blocks import RegisterBlock
    from gateway.mapping.compile.templates import Area
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Register

ONE_NAME = "names are unique in the whole gateway, not only in a site; put the site into the tag: "
"""Starts a message about a name that is used in two sites."""
_SAME_TOPIC = "is the same topic for {assets}: write {{tag}} into it, or leave it out"
_SAME_REGISTER = (
    "is the same register for {assets}: write `register`, which the `base` of each asset is added to"
)
_TWO_SINKS = "two sinks of one broker would both write the topic {topic}, {first} and {second}: {advice}"
_ONE_SINK = "write {prefix} into it, or leave it to one of them by `to`"
_OTHER_TEMPLATE = "give one of these sinks another `topic` in gateway.yaml"
_TOPIC_STEPS = ("mqtt", "topic")


@dataclass(frozen=True, slots=True)
class Claimant:
    """A point that claims a name, topics and registers.

    `entry`: the asset that uses a template, None for any other point.
    """

    point: Point
    draft: PointDraft
    entry: Place | None


_Holder = tuple[Claimant, "RegisterBlock"]
_Clash = tuple[str, str, str | int]
"""Two places, and the kind of what both claim."""


@dataclass(frozen=True, slots=True)
class _TopicHolder:
    """A point with a topic on a sink; with `tag`, all points of that tag, which share a message."""

    sink: str
    claimant: Claimant
    tag: str | None

    def __str__(self) -> str:
        return self.claimant.point.name if self.tag is None else f"the asset {self.tag}"


@dataclass(slots=True)
class _ClaimedArea:
    """The claimed addresses of one table of one Modbus unit of one sink."""

    words: dict[int, _Holder] = field(default_factory=dict)
    bits: dict[tuple[int, int], _Holder] = field(default_factory=dict)
    words_with_bits: dict[int, _Holder] = field(default_factory=dict)

    def claim(self, register: Register, holder: _Holder) -> _Holder | None:
        """Claim the register, or return the first holder of a part of it."""
        address, bit = register.address, register.bit
        if bit is not None:
            self.words_with_bits.setdefault(address, holder)
            first = self.words.get(address) or self.bits.setdefault((address, bit), holder)
            return None if first is holder else first
        for word in range(address, address + register.words):
            first = self.words_with_bits.get(word) or self.words.setdefault(word, holder)
            if first is not holder:
                return first
        return None

    def addresses(self) -> Iterable[int]:
        return {**self.words, **self.words_with_bits}

    def holders(self, first: int, last: int) -> Iterator[_Holder]:
        """Yield the holders of the addresses from first to last, again for each address."""
        addresses: Sequence[int] = range(first, last + 1)
        if len(addresses) > len(self.words) + len(self.words_with_bits):
            addresses = [address for address in self.addresses() if address in addresses]
        yield from filter(None, map(self.words.get, addresses))
        for address in filter(self.words_with_bits.__contains__, addresses):
            yield from filter(None, (self.bits.get((address, bit)) for bit in range(16)))


class Claims:
    """Records what points claim, and reports each second claim together with the place of the first."""

    def __init__(self, *, topics: Mapping[str, TopicScheme]) -> None:
        """`topics`: those of each MQTT sink by its name."""
        self._schemes = topics
        self._names: dict[str, Claimant] = {}
        self._topics: dict[tuple[str, str], _TopicHolder] = {}  # by broker, or by sink if that is unknown
        self._assets: set[tuple[str, ...]] = set()  # assets whose topics are claimed, by sink
        self._areas: dict[Area, _ClaimedArea] = {}
        self._reported: set[_Clash] = set()
        self._clashing: set[frozenset[str]] = set()  # pairs of assets with a reported clash

    def claim_name(self, claimant: Claimant) -> bool:
        """Claim the point's name. Report and return False if another point has it."""
        other = self._names.setdefault(claimant.point.name, claimant)
        if other is claimant:
            return True
        why = ONE_NAME if claimant.point.site != other.point.site else ""
        message = f"{why}a point named {claimant.point.name} is already at"
        self._report(claimant, other, message, ("point",))
        return False

    def claim_topics(self, claimant: Claimant) -> None:
        """Claim the point's topic, and its asset's, on each of its MQTT sinks."""
        point = claimant.point
        if point.mqtt is None:
            return
        for sink, scheme in self._schemes.items():
            if not point.mqtt.goes_to(sink):
                continue
            if (problem := scheme.asset_id_problem(point, own=point.mqtt.topic)) is not None:
                entry = claimant.entry
                place, key = (entry, "id") if entry is not None else (claimant.draft.places.bottom, "asset")
                message = f"{problem} ({{asset}} in the topics of {sink})"
                self._report_once((str(place), "", key), place, message, (key,))
                continue
            topic = scheme.point_topic(point, own=point.mqtt.topic)
            if topic is not None:
                self._claim_topic(topic, _TopicHolder(sink, claimant, None))
            if scheme.assets is not None:
                asset = (sink, *scheme.asset_key(point))
                topic = scheme.asset_topic(point)
                if asset not in self._assets and topic is not None:
                    self._assets.add(asset)
                    self._claim_topic(topic, _TopicHolder(sink, claimant, point.tag))

    def _claim_topic(self, topic: str, holder: _TopicHolder) -> None:
        first = self._topics.setdefault(self._on_broker(holder.sink, topic), holder)
        if first is holder:
            return
        claimant, other = holder.claimant, first.claimant
        if first.sink != holder.sink:
            self._report_two_sinks(topic, first, holder)
        elif (shared := _shared(claimant, other, _TOPIC_STEPS, _TOPIC_STEPS)) is not None:
            self._report_shared(claimant, other, shared, _TOPIC_STEPS, _SAME_TOPIC)
        else:
            message = f"the topic {topic} of {holder} already belongs to {first} at"
            self._report(claimant, other, message, _TOPIC_STEPS)

    def _on_broker(self, sink: str, topic: str) -> tuple[str, str]:
        return self._schemes[sink].broker or sink, topic

    def topic_obstacle(self, point: Point) -> str | None:
        """Return why a point cannot have its topics, or None if it can."""
        for sink, scheme in self._schemes.items():
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            if (problem := scheme.asset_id_problem(point, own=point.mqtt.topic)) is not None:
                return f"its id {problem}"
            topic = scheme.point_topic(point, own=point.mqtt.topic)
            holders = [self._topics.get(self._on_broker(sink, topic))] if topic is not None else []
            if scheme.assets is not None and (sink, *scheme.asset_key(point)) not in self._assets:
                holders.append(self._topics.get(self._on_broker(sink, scheme.asset_topic(point) or "")))
            if (holder := next(filter(None, holders), None)) is not None:
                return f"{holder} has the topic of {point.name}"
        return None

    def claim_registers(self, claimant: Claimant) -> None:
        """Claim the point's registers. Two blocks of one point must not overlap either."""
        for register, block in zip(claimant.point.registers, claimant.draft.blocks, strict=True):
            key = (register.sink, register.unit, register.table)
            area = self._areas.get(key) or self._areas.setdefault(key, _ClaimedArea())
            first = area.claim(register, (claimant, block))
            if first is None:
                continue
            other, other_block = first
            steps = (*block.steps, "modicon")
            place = _shared(claimant, other, steps, (*other_block.steps, "modicon"))
            if place is not None:
                self._report_shared(claimant, other, place, steps, _SAME_REGISTER)
            else:
                name = claimant.point.name
                message = f"{register_text(register)} for {name} overlaps {other.point.name} at"
                self._report(claimant, other, message, block.steps)

    def holders(self, area: Area, first: int, last: int) -> Iterator[_Holder]:
        """Yield the holders of these PDU addresses, again for each address."""
        claimed = self._areas.get(area)
        return iter(()) if claimed is None else claimed.holders(first, last)

    def addresses(self) -> Iterator[tuple[Area, Iterable[int]]]:
        """Yield each area with its claimed PDU addresses."""
        for area, claimed in self._areas.items():
            yield area, claimed.addresses()

    def report_intrusion(self, claimant: Claimant, block: RegisterBlock, *, into: str, of: str) -> None:
        """Report a point in registers reserved for others, unless it overlaps the asset `of` there anyway."""
        if of and frozenset((claimant.point.asset, of)) in self._clashing:
            return
        register = claimant.point.registers[claimant.draft.blocks.index(block)]
        message = f"{register_text(register)} for {claimant.point.name} is inside {into}"
        entry = claimant.entry
        if entry is None:
            claimant.draft.places.report(message, *block.steps)
        else:
            entry.report(message, *(("base",) if entry.has("base") else ()))

    def _report(self, claimant: Claimant, other: Claimant, message: str, steps: Steps) -> None:
        """Report a clash of two points, once per pair of places and kind.

        Inside one asset the template is at fault, between assets their entries are.
        """
        kind = steps[0]
        is_between_assets = claimant.entry is not other.entry
        if claimant.entry is not None and is_between_assets:
            place, steps = claimant.entry, ()
        else:
            place = claimant.draft.places.place_of(*steps)
            steps = steps if place.has(*steps) else ()
        has_other_entry = other.entry is not None and is_between_assets
        other_place = other.entry if has_other_entry else other.draft.places.bottom
        self._clashing.add(frozenset((claimant.point.asset, other.point.asset)))
        self._report_once((str(place), str(other_place), kind), place, f"{message} {other_place}", steps)

    def _report_shared(
        self, claimant: Claimant, other: Claimant, place: Place, steps: Steps, advice: str
    ) -> None:
        """Report a key of a template that makes its assets clash, once for all of them."""
        self._clashing.add(frozenset((claimant.point.asset, other.point.asset)))
        assets = f"{other.point.tag} and {claimant.point.tag}, which use this template"
        clash = (str(place), "", "/".join(map(str, steps)))
        self._report_once(clash, place, advice.format(assets=assets), steps)

    def _report_two_sinks(self, topic: str, first: _TopicHolder, second: _TopicHolder) -> None:
        """Report a topic of two sinks where it is written, or once if the sinks' own templates make it."""
        places = [holder.claimant.draft.places for holder in (second, first)]
        candidates = [one.place_of(*_TOPIC_STEPS) for one in places]
        written = next((place for place in candidates if place.has(*_TOPIC_STEPS)), None)
        message = _TWO_SINKS.format(
            topic=topic,
            first=f"{first.sink} for {first}",
            second=f"{second.sink} for {second}",
            advice=_OTHER_TEMPLATE if written is None else _ONE_SINK,
        )
        clash = (str(written or ""), f"{first.sink} {second.sink}", "topic")
        self._report_once(clash, written or places[0].bottom, message, _TOPIC_STEPS if written else ())

    def _report_once(self, clash: _Clash, place: Place, message: str, steps: Steps) -> None:
        if clash not in self._reported:
            self._reported.add(clash)
            place.report(message, *steps)


def _shared(claimant: Claimant, other: Claimant, steps: Steps, other_steps: Steps) -> Place | None:
    """Return the place of a key that two assets share through their template, None if each has its own."""
    if claimant.entry is None or other.entry is None or claimant.entry is other.entry:
        return None
    place = claimant.draft.places.place_of(*steps)
    is_same = place.has(*steps) and steps == other_steps and place == other.draft.places.place_of(*steps)
    return place if is_same else None
