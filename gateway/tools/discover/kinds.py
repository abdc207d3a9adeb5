"""What a telemetry key is: a number, a switch or text, by what its type says and by what was seen."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.tools.discover.evidence import Sample


class Kind(Enum):
    """What the readings of a key are."""

    NUMBER = "a number"
    SWITCH = "true or false"
    TEXT = "text"
    UNKNOWN = "unknown"


# Infodeck's documentation shows `integer` and lists no others; these are the words that such lists have.
_DECLARED = {
    **dict.fromkeys(("integer", "int", "long", "short", "number", "numeric"), Kind.NUMBER),
    **dict.fromkeys(("float", "double", "decimal"), Kind.NUMBER),
    **dict.fromkeys(("boolean", "bool"), Kind.SWITCH),
    **dict.fromkeys(("string", "text", "enum"), Kind.TEXT),
}


def kind_of(declared: str | None, sample: Sample) -> Kind:
    """Return the kind that takes everything that was seen; what the type says, where nothing was.

    `declared` is Infodeck's word for it. Text takes anything. Numbers take true and false, but not as text;
    switches take both, and 0 and 1.
    """
    said = _DECLARED.get((declared or "").strip().lower(), Kind.UNKNOWN)
    if sample.has_words or said is Kind.TEXT or (sample.has_spoken and sample.has_amounts):
        return Kind.TEXT
    if sample.has_spoken:
        return Kind.SWITCH
    if sample.has_amounts or said is not Kind.UNKNOWN:
        return Kind.NUMBER if sample.has_amounts else said
    if sample.has_numbers:
        return Kind.NUMBER
    return Kind.SWITCH if sample.has_switches else Kind.UNKNOWN


def contradiction(declared: str | None, kind: Kind) -> str | None:
    """Say that the type calls it something else than what it is; None: it does not."""
    said = _DECLARED.get((declared or "").strip().lower(), Kind.UNKNOWN)
    if said in {Kind.UNKNOWN, kind}:
        return None
    return f"its type says {declared}, but {kind.value} was seen"
