"""What may be taken only once: names, topics and registers, across all tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.mapping.compiling.blocks import Block
from gateway.mapping.notation import register_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gateway.mapping.compiling.draft import Draft
    from gateway.mapping.compiling.footprint import Area
    from gateway.mapping.compiling.places import Place, Steps
    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point, Register


@dataclass(frozen=True, slots=True)
class Owner:
    """A point that claims something. `entry`: the asset that uses a template, None for any other point."""

    point: Point
    draft: Draft
    entry: Place | None


ONE_NAME = "names are unique in the whole gateway, not only in a site; put the site into the tag: "
"""What comes before a message about a name that two sites have."""
_SAME_TOPIC = "is the same topic for {assets}: write {{tag}} into it, or leave it out"
_SAME_REGISTER = (
    "is the same register for {assets}: write `register`, which the `base` of each asset is added to"
)
_TWO_SINKS = "two sinks of one broker would both write the topic {topic}, {first} and {second}: {advice}"
_ONE_SINK = "write {prefix} into it, or leave it to one of them by `to`"
_OTHER_TEMPLATE = "give one of these sinks another `topic` in gateway.yaml"
_Holder = tuple[Owner, Block]


@dataclass(frozen=True, slots=True)
class _TopicHolder:
    """Who has a topic of a sink: a point, or with `tag` all points of a tag in one message."""

    sink: str
    owner: Owner
    tag: str | None

    def __str__(self) -> str:
        return self.owner.point.name if self.tag is None else f"the asset {self.tag}"


@dataclass(slots=True)
class _Area:
    """What is taken of one table of one Modbus unit of one sink, by address."""

    words: dict[int, _Holder] = field(default_factory=dict)
    bits: dict[tuple[int, int], _Holder] = field(default_factory=dict)
    words_with_bits: dict[int, _Holder] = field(default_factory=dict)

    def claim(self, register: Register, holder: _Holder) -> _Holder | None:
        """Take the register, or return who has some of it already."""
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

    def holders(self, first: int, last: int) -> Iterator[_Holder]:
        """Yield who has any of the addresses from first to last, again where several are theirs."""
        addresses: Sequence[int] = range(first, last + 1)
        if len(addresses) > len(self.words) + len(self.words_with_bits):
            addresses = [
                address for address in {**self.words, **self.words_with_bits} if address in addresses
            ]
        yield from filter(None, map(self.words.get, addresses))
        for address in filter(self.words_with_bits.__contains__, addresses):
            yield from filter(None, (self.bits.get((address, bit)) for bit in range(16)))


class Claims:
    """Collects what points take, and reports whatever is taken twice, naming the other place."""

    def __init__(self, *, topics: Mapping[str, TopicScheme]) -> None:
        """Take each MQTT sink's topics by the sink's name."""
        self._schemes = topics
        self._names: dict[str, Owner] = {}
        self._topics: dict[tuple[str, str], _TopicHolder] = {}  # by broker, or sink where it is unknown
        self._families: set[tuple[str, ...]] = set()  # assets that have their topics, by sink
        self._areas: dict[Area, _Area] = {}
        self._reported: set[tuple[str, str, str | int]] = set()
        self._clashing: set[frozenset[str]] = set()

    def claim_name(self, owner: Owner) -> bool:
        """Take the point's name; report and return False where another point has it."""
        other = self._names.setdefault(owner.point.name, owner)
        if other is owner:
            return True
        why = ONE_NAME if owner.point.site != other.point.site else ""
        self._report(owner, other, f"{why}a point named {owner.point.name} is already at", ("point",))
        return False

    def claim_topics(self, owner: Owner) -> None:
        """Take the point's topic, and its asset's, on each of its MQTT sinks."""
        point = owner.point
        if point.mqtt is None:
            return
        for sink, scheme in self._schemes.items():
            if not point.mqtt.goes_to(sink):
                continue
            if (misfit := scheme.asset_id_problem(point, own=point.mqtt.topic)) is not None:
                self._report_asset_id(owner, f"{misfit} ({{asset}} in the topics of {sink})")
                continue
            topic = scheme.point_topic(point, own=point.mqtt.topic)
            if topic is not None:
                self._claim_topic(topic, _TopicHolder(sink, owner, None))
            if scheme.assets is not None:
                family = (sink, *scheme.asset_key(point))
                topic = scheme.asset_topic(point)
                if family not in self._families and topic is not None:
                    self._families.add(family)
                    self._claim_topic(topic, _TopicHolder(sink, owner, point.tag))

    def _claim_topic(self, topic: str, holder: _TopicHolder) -> None:
        first = self._topics.setdefault(self._on_broker(holder.sink, topic), holder)
        if first is holder:
            return
        owner, other, steps = holder.owner, first.owner, ("mqtt", "topic")
        if first.sink != holder.sink:
            self._report_two_sinks(topic, first, holder)
        elif (shared := _shared(owner, other, steps, steps)) is not None:
            self._report_shared(owner, other, shared, steps, _SAME_TOPIC)
        else:
            message = f"the topic {topic} of {holder} already belongs to {first} at"
            self._report(owner, other, message, steps)

    def _on_broker(self, sink: str, topic: str) -> tuple[str, str]:
        return self._schemes[sink].broker or sink, topic

    def _report_two_sinks(self, topic: str, first: _TopicHolder, second: _TopicHolder) -> None:
        """Report once where a topic is written, or once for two sinks whose own templates are to blame."""
        layers, steps = [holder.owner.draft.layers for holder in (second, first)], ("mqtt", "topic")
        written = next((one.place_of(*steps) for one in layers if one.place_of(*steps).has(*steps)), None)
        clash = (str(written or ""), f"{first.sink} {second.sink}", "topic")
        if clash in self._reported:
            return
        self._reported.add(clash)
        message = _TWO_SINKS.format(
            topic=topic,
            first=f"{first.sink} for {first}",
            second=f"{second.sink} for {second}",
            advice=_OTHER_TEMPLATE if written is None else _ONE_SINK,
        )
        (written or layers[0].bottom).report(message, *(steps if written else ()))

    def claim_registers(self, owner: Owner) -> None:
        """Take the point's registers; two blocks of one point must not overlap either."""
        for register, block in zip(owner.point.registers, owner.draft.blocks, strict=True):
            key = (register.sink, register.unit, register.table)
            area = self._areas.get(key) or self._areas.setdefault(key, _Area())
            first = area.claim(register, (owner, block))
            if first is None:
                continue
            modicon = (*block.steps, "modicon")
            place = _shared(owner, first[0], modicon, (*first[1].steps, "modicon"))
            if place is not None:
                self._report_shared(owner, first[0], place, modicon, _SAME_REGISTER)
            else:
                message = (
                    f"{register_text(register)} for {owner.point.name} overlaps {first[0].point.name} at"
                )
                self._report(owner, first[0], message, block.steps)

    def holders(self, area: Area, first: int, last: int) -> Iterator[_Holder]:
        """Yield who has any of these PDU addresses, again where several are theirs."""
        taken = self._areas.get(area)
        return iter(()) if taken is None else taken.holders(first, last)

    def addresses(self) -> Iterator[tuple[Area, Iterable[int]]]:
        """Yield each area with the PDU addresses that are taken in it."""
        for area, taken in self._areas.items():
            yield area, {**taken.words, **taken.words_with_bits}

    def topic_obstacle(self, point: Point) -> str | None:
        """Say why a point that is to come cannot have its topics; None: it can."""
        for sink, scheme in self._schemes.items():
            if point.mqtt is None or not point.mqtt.goes_to(sink):
                continue
            if (misfit := scheme.asset_id_problem(point, own=point.mqtt.topic)) is not None:
                return f"its id {misfit}"
            own = scheme.point_topic(point, own=point.mqtt.topic)
            holders = [self._topics.get(self._on_broker(sink, own))] if own is not None else []
            if scheme.assets is not None and (sink, *scheme.asset_key(point)) not in self._families:
                holders.append(self._topics.get(self._on_broker(sink, scheme.asset_topic(point) or "")))
            if (holder := next(filter(None, holders), None)) is not None:
                return f"{holder} has the topic of {point.name}"
        return None

    def report_intrusion(self, owner: Owner, block: Block, *, into: str, of: str) -> None:
        """Report a point in registers kept for others; not if it overlaps the asset `of` there anyway."""
        if of and frozenset((owner.point.asset, of)) in self._clashing:
            return
        register = owner.point.registers[owner.draft.blocks.index(block)]
        message = f"{register_text(register)} for {owner.point.name} is inside {into}"
        if owner.entry is None:
            owner.draft.layers.report(message, *block.steps)
        else:
            owner.entry.report(message, *(("base",) if owner.entry.has("base") else ()))

    def _report_asset_id(self, owner: Owner, message: str) -> None:
        """Report an asset whose id no topic can have in it, once."""
        place, key = (owner.entry, "id") if owner.entry is not None else (owner.draft.layers.bottom, "asset")
        clash = (str(place), "", key)
        if clash not in self._reported:
            self._reported.add(clash)
            place.report(message, key)

    def _report_shared(self, owner: Owner, other: Owner, place: Place, steps: Steps, advice: str) -> None:
        """Report a template's own key once, however many assets clash because of it."""
        self._clashing.add(frozenset((owner.point.asset, other.point.asset)))
        clash = (str(place), "", "/".join(map(str, steps)))
        if clash not in self._reported:
            self._reported.add(clash)
            assets = f"{other.point.tag} and {owner.point.tag}"
            place.report(advice.format(assets=f"{assets}, which use this template"), *steps)

    def _report(self, owner: Owner, other: Owner, message: str, steps: Steps) -> None:
        """Report once per pair of places and kind, for a shared base or template repeats for every asset.

        Within one asset the template is to blame, between assets it is their entries.
        """
        what = steps[0]
        if owner.entry is not None and owner.entry is not other.entry:
            place, steps = owner.entry, ()
        else:
            place = owner.draft.layers.place_of(*steps)
            steps = steps if place.has(*steps) else ()
        is_other_entry = other.entry is not None and owner.entry is not other.entry
        other_place = other.entry if is_other_entry else other.draft.layers.bottom
        self._clashing.add(frozenset((owner.point.asset, other.point.asset)))
        clash = (str(place), str(other_place), what)
        if clash not in self._reported:
            self._reported.add(clash)
            place.report(f"{message} {other_place}", *steps)


def _shared(owner: Owner, other: Owner, steps: Steps, other_steps: Steps) -> Place | None:
    """Return the template's point that two assets have one key of, None where each has a key of its own."""
    if owner.entry is None or other.entry is None or owner.entry is other.entry:
        return None
    place = owner.draft.layers.place_of(*steps)
    is_same = place.has(*steps) and steps == other_steps and place == other.draft.layers.place_of(*steps)
    return place if is_same else None
