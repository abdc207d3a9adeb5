"""The settings of a NATS sink."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.jetstream.config import NatsConfig


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NatsSinkConfig(NatsConfig):
    """A stream for gateways in many buildings."""

    type: Literal["nats"]
    """A stream of NATS JetStream, to which every event is published as received."""
