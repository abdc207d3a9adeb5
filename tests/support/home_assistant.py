"""What Home Assistant makes of discovery messages and values, by its documented rules.

The messages are read by the models of ha-mqtt-discoverable; templates are rendered by Jinja, on which Home
Assistant's own are built.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ha_mqtt_discoverable.sensors import BinarySensorInfo, SensorInfo
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONFIG = re.compile(r"homeassistant/(sensor|binary_sensor)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config")
_INFOS: dict[str, type[SensorInfo | BinarySensorInfo]] = {
    "sensor": SensorInfo,
    "binary_sensor": BinarySensorInfo,
}
_STATE_KEYS = {"state_topic", "value_template", "availability_mode", "availability", "expire_after"}
_OTHER_KEYS = {"default_entity_id", "origin", "json_attributes_topic", "json_attributes_template"}
_ENVIRONMENT = ImmutableSandboxedEnvironment()


@dataclass
class Entity:
    """One entity by its discovery message: state, availability and attributes after each message."""

    component: str
    config: dict[str, Any]
    info: SensorInfo | BinarySensorInfo
    state: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    _available: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def discover(cls, topic: str, payload: str | bytes) -> Entity:
        """Read a discovery message; raise if it is none or has an unknown key."""
        found = _CONFIG.fullmatch(topic)
        assert found, f"Home Assistant does not listen on {topic}"
        config = json.loads(payload)
        info = _INFOS[found[1]].model_validate(config)
        assert set(config) <= set(type(info).model_fields) | _STATE_KEYS | _OTHER_KEYS
        assert config["default_entity_id"].startswith(f"{found[1]}.")
        topics = [each["topic"] for each in config["availability"]]
        assert len(set(topics)) == len(topics)
        return cls(found[1], config, info, _available=dict.fromkeys(topics, False))

    @property
    def is_available(self) -> bool:
        """Whether every topic of the availability was last available."""
        assert self.config["availability_mode"] == "all"
        return all(self._available.values())

    def receive(self, topic: str, payload: str | bytes) -> None:
        """Apply a message: first the state, then attributes and availability."""
        text = payload if isinstance(payload, str) else payload.decode()
        if topic == self.config["state_topic"]:
            self._take(render(self.config["value_template"], text))
        if topic == self.config.get("json_attributes_topic"):
            self.attributes = json.loads(render(self.config["json_attributes_template"], text))
        for each in self.config["availability"]:
            if each["topic"] == topic:
                said = render(each["value_template"], text) if "value_template" in each else text
                self._available[topic] = {"online": True, "offline": False}.get(said, self._available[topic])

    def receive_all(self, messages: Iterable[tuple[str, str | bytes]]) -> Entity:
        """Apply messages in order; return itself."""
        for topic, payload in messages:
            self.receive(topic, payload)
        return self

    def _take(self, state: str) -> None:
        if state == "None":
            self.state = None
            return
        if self.component == "binary_sensor":
            assert state in {"ON", "OFF"}
        elif self.config.get("device_class") == "enum":
            assert state in self.config["options"]
        elif {"unit_of_measurement", "device_class", "state_class"} & set(self.config):
            float(state)  # Home Assistant raises where this does
        self.state = state


def render(template: str, payload: str) -> str:
    """Render a template as Home Assistant does: `value` always, `value_json` if the payload is JSON."""
    variables: dict[str, Any] = {"value": payload}
    with contextlib.suppress(ValueError):
        variables["value_json"] = json.loads(payload)
    return _ENVIRONMENT.from_string(template).render(**variables).strip()
