"""The settings of a NATS sink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.jetstream.config import NatsConfig


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NatsSinkConfig(NatsConfig):
    """A stream for gateways in many buildings."""

    type: Literal["nats"]
    """A stream of NATS JetStream, to which every event is published as received."""
    in_flight: Annotated[int, Field(ge=1, le=4000)] = 300
    """How many events may be unacknowledged; of one asset, one at a time."""
