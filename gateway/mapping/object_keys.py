"""The keys of BACnet objects: `bacnet` of a point, and of defaults."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.mapping.object_types import HIGHEST_INSTANCE
from gateway.model import ObjectType

Sinks = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
Instance = Annotated[int, Field(ge=0, le=HIGHEST_INSTANCE)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BacnetDefaults:
    """`defaults.bacnet`: the BACnet sinks that points go to."""

    to: Sinks
    """The BACnet sinks that the points go to, by their names in gateway.yaml."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class BacnetKeys:
    """`bacnet` of a point: its sinks, and an object type and instance that replace the usual ones."""

    to: Sinks | None = None
    """The BACnet sinks that the point goes to, by their names in gateway.yaml; all if not written."""
    object: ObjectType | None = None
    """The object type; if not written, that of the point's values."""
    instance: Instance | None = None
    """The instance of the object; if not written, that in bacnet.lock."""
