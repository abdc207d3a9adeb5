"""The settings of a source: where events come from if this gateway has no intake of its own."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.jetstream.config import JetStreamName, NatsConfig

_SUBJECT = r"^([^\s.*>]+|\*)(\.([^\s.*>]+|\*))*(\.>)?$"


def _check_subject(text: str) -> str:
    if not re.fullmatch(_SUBJECT, text) or not text.isprintable():
        raise ValueError(
            "subjects are words with dots between, such as infodeck.o-xxxx.hq-tower.>; `*` is any word, and a"
            " `>` at the end is all that follow"
        )
    return text


_Subject = Annotated[
    str, AfterValidator(_check_subject), WithJsonSchema({"type": "string", "pattern": _SUBJECT})
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
