"""The settings of an MQTT sink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.sinks._mqtt_broker import BrokerConfig


def _check_prefix(prefix: str) -> str:
    if any(mark in prefix for mark in "+#\0"):
        raise ValueError("a topic prefix has no wildcards")
    if prefix.startswith("$") or not all(prefix.split("/")):
        raise ValueError(
            'a topic prefix looks like gw/v1: no "$" at the start, no "/" at either end or twice'
        )
    return prefix


_PREFIX = WithJsonSchema({"type": "string", "pattern": "^(?![$])[^/+#]+(/[^/+#]+)*$"})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class HomeAssistantKeys:
    """Points as entities in Home Assistant, by its MQTT discovery."""

    discovery_prefix: Annotated[str, AfterValidator(_check_prefix), _PREFIX] = "homeassistant"
    """Where Home Assistant listens for them."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttConfig(BrokerConfig):
    """Values as topics on one broker. `history`: whether readings that are not the newest go there, too."""

    type: Literal["mqtt"]
    """An MQTT broker."""
    prefix: Annotated[str, AfterValidator(_check_prefix), _PREFIX] = "gw/v1"
    """What every topic begins with."""
    payload: Literal["json", "value"] = "json"
    """json: value, unit, quality and time; value: the bare value."""
    history: bool = True
    """Whether readings that are not the newest go to <topic>/$history."""
    home_assistant: HomeAssistantKeys | None = None
    """Tell Home Assistant of every point; off if not written."""
