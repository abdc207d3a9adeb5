"""The kinds of change that a BMS engineer must know of, with the reason for each verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model import Register


class Kind(Enum):
    """One kind of change. `breaks`: an existing BMS database would show nothing, or something wrong."""

    REGISTER_TAKEN = (
        True,
        "register belongs to another point now",
        "the BMS shows the new point's value under the old point's name",
    )
    TOPIC_TAKEN = (
        True,
        "topic belongs to another point now",
        "subscribers take the new point's value for the old point's",
    )
    SINK_GONE = (True, "sink gone", "nothing is published or answered there any more")
    SINK_CHANGED = (True, "sink changed", "the BMS reaches it in another way, or reads messages differently")
    POINT_GONE = (True, "point gone", "its topics fall silent, and its registers answer exception 2")
    REGISTER_MOVED = (True, "register moved", "the BMS still reads the old address")
    REGISTER_GONE = (True, "register gone", "reading it is answered with exception 2")
    REGISTER_FORM = (
        True,
        "type, order, scale or bit changed",
        "the BMS takes the same words for another number",
    )
    TOPIC_MOVED = (True, "topic moved", "the old topic falls silent")
    TOPIC_GONE = (True, "topic gone", "it falls silent")
    UNIT_OF_MEASURE = (True, "unit of measure changed", "the BMS shows the new number with the old unit")
    SOURCE = (True, "another reading behind the point", "the same place means something else")
    ASSET = (True, "another asset behind the point", "the values are those of another device or room")
    MAP = (True, "map changed", "the same number means something else")
    CALCULATION = (True, "calculation changed", "the same reading gives another number")
    TAKEN_AS = (True, "readings are taken differently", "text and switches may come out as something else")
    HEARTBEAT = (True, "heartbeat slower", "a watchdog in the BMS may take the gateway for dead")

    RENAMED = (False, "renamed", "the same reading in the same place; a topic that moved too is told above")
    NEW_POINT = (False, "new point", "nobody reads it yet")
    NEW_REGISTER = (False, "new register of a known point", "nobody reads it yet")
    NEW_TOPIC = (False, "new topic of a known point", "nobody reads it yet")
    NEW_SINK = (False, "new sink", "nobody reads it yet")
    POINT_UNSEEN = (False, "point without topic and register gone", "nobody could read it")
    CORRECTED = (False, "sensor corrected", "values shift a little; place, unit and scale stay")
    MAP_EXTENDED = (False, "map extended", "readings that had no value have one now; the others stay")
    UNIT_TOLD = (False, "unit of measure written or left out", "the number stays the same")
    DESCRIPTION = (False, "description changed", "for people only")
    COV = (False, "deadband changed", "MQTT messages come more or less often; registers stay")
    RANGE = (False, "range changed", "other readings count as faults, the others stay")
    DECIMALS = (False, "decimals changed", "values come finer or coarser")
    STALE = (False, "staleness changed", "old readings are told earlier, later or in another way")
    TAGS = (False, "tags changed", "for people and tools only")
    REFILL = (False, "refill changed", "only what comes to `$history` after a long gap")
    HEARTBEAT_FASTER = (False, "heartbeat faster", "a watchdog in the BMS is content")
    OTHER = (False, "something else changed", "place and form stay")

    def __init__(self, breaks: bool, title: str, why: str) -> None:  # noqa: FBT001 - the values are above
        """Take the parts of the value."""
        self.breaks = breaks
        self.title = title
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that changed.

    `subject` is the point's name as it is now (where it is gone: as it was), or the sink's. `old` and
    `new` are a register each, or what else changed as text, None where there is none. `other` is the
    point that has the old one's register or topic now. `what`: the key of the tables, where it helps.
    """

    kind: Kind
    subject: str
    old: Register | str | None = None
    new: Register | str | None = None
    other: str | None = None
    what: str | None = None
