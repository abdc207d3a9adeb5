"""The settings of an MQTT sink."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema
from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.events import EVENT_PATTERN, check_event_pattern
from gateway.mapping.topics import (
    ASSET_TOPIC,
    ASSET_TOPICS_PATTERN,
    POINT_TOPIC,
    POINT_TOPICS_PATTERN,
    TopicScheme,
    check_asset_topics,
    check_point_topics,
    check_prefix,
)
from gateway.sinks.broker.config import BrokerConfig

_PREFIX = WithJsonSchema({"type": "string", "pattern": "^(?![$])[^/+#]+(/(?![$])[^/+#]+)*$"})

_TOPIC = WithJsonSchema({"type": "string", "pattern": POINT_TOPICS_PATTERN})
_EVENT_TYPE = WithJsonSchema({"type": "string", "pattern": EVENT_PATTERN})
_ASSET_TOPIC = WithJsonSchema({"type": "string", "pattern": ASSET_TOPICS_PATTERN})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class HomeAssistantKeys:
    """Points as entities in Home Assistant, by its MQTT discovery."""

    discovery_prefix: Annotated[str, AfterValidator(check_prefix), _PREFIX] = "homeassistant"
    """The discovery prefix in Home Assistant's settings."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttConfig(BrokerConfig):
    """Topics with values on one broker."""

    type: Literal["mqtt"]
    """An MQTT broker."""
    prefix: Annotated[str, AfterValidator(check_prefix), _PREFIX] = "gw/v1"
    """The beginning of every topic."""
    topic: Annotated[str, AfterValidator(check_point_topics), _TOPIC] = POINT_TOPIC
    """The topic of a point, with {prefix}, {site}, {tag}, {point}, {asset} and {gateway}."""
    asset_topic: Annotated[str, AfterValidator(check_asset_topics), _ASSET_TOPIC] = ASSET_TOPIC
    """The topic of a whole asset with `layout: asset` or `both`, like `topic` but without {point}."""
    layout: Literal["point", "asset", "both"] = "point"
    """point: a message per point; asset: one with all points of the asset; or both."""
    payload: Literal["json", "value"] = "json"
    """json: value, unit, quality and time; value: the bare value, of an asset {"ZN-T": 21.5}."""
    history: bool = True
    """Whether readings that are not the newest go to <topic>/$history."""
    events: tuple[Annotated[str, AfterValidator(check_event_pattern), _EVENT_TYPE], ...] = ()
    """Event types to publish as received, at <prefix>/$events/<type>, such as [workorder.*, booking.*]."""
    home_assistant: HomeAssistantKeys | None = None
    """Publish every point to Home Assistant; off if not written."""

    def topics(self, gateway: str) -> TopicScheme:
        """Return the topics of this sink; `gateway` is this gateway's name."""
        return TopicScheme(
            prefix=self.prefix,
            gateway=gateway,
            points=None if self.layout == "asset" else self.topic,
            assets=None if self.layout == "point" else self.asset_topic,
            broker=self.url.broker,
        )
