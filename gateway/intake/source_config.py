"""The settings of a source: where events come from if this gateway has no intake of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.config.value_types import must_match, pattern_hint
from gateway.jetstream.config import JetStreamName, NatsConfig

_SUBJECT = r"([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?"
_Subject = Annotated[
    str,
    must_match(
        _SUBJECT,
        "subjects are words with dots between, such as infodeck.o-xxxx.hq-tower.>; `*` is any word, and a `>`"
        " at the end is all that follow",
    ),
    pattern_hint(_SUBJECT),
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NatsSourceConfig(NatsConfig):
    """Events that the intakes of other gateways publish to a JetStream stream."""

    type: Literal["nats"]
    """Where events come from: nats."""
    consumer: JetStreamName
    """The name of this gateway's durable consumer; each gateway has its own."""
    subjects: Annotated[tuple[_Subject, ...], Field(min_length=1)]
    """The subjects of the events that this gateway gets, such as infodeck.o-xxxx.hq-tower.>."""
