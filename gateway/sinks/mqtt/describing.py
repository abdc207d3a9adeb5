"""What stands on one broker beside the values, by the settings of a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sinks.mqtt.home_assistant import Discovery
from gateway.sinks.mqtt.layout import describe_by_meta
from gateway.sinks.mqtt.outlet import Companion, Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.mapping.topics import TopicScheme
    from gateway.sinks.mqtt.config import MqttConfig
    from gateway.sinks.mqtt.layout import AnyOutlet, Describe


def describer(config: MqttConfig, *, topics: TopicScheme, status_topic: str) -> Describe:
    """Return what describes outlets: `$meta`, and Home Assistant's discovery where it is asked for."""
    if config.home_assistant is None:
        return describe_by_meta
    discovery = Discovery(
        prefix=config.home_assistant.discovery_prefix,
        gateway=topics.gateway,
        status_topic=status_topic,
        plain=config.payload == "value",
    )

    def describe(outlet: AnyOutlet) -> Iterator[Companion]:
        yield outlet.meta()
        in_asset = not isinstance(outlet, Outlet)
        for point in outlet.points:
            if topics.topics(point)[0] != outlet.topic:
                continue  # told once, by its own topic rather than by its asset's
            told = discovery.tell(point, topic=outlet.topic, in_asset=in_asset)
            if told is not None:
                yield Companion(*told)

    return describe
