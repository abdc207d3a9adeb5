"""The settings of a Sparkplug sink."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Literal

from pydantic.dataclasses import dataclass

from gateway.config.decode import STRICT
from gateway.mapping.table import Level
from gateway.model import Quality
from gateway.sinks.broker.config import BrokerConfig

NODE = ""
"""Stands for the node itself where a device id is expected."""
_NAMESPACE = "spBv1.0"

QualityCodes = dict[Quality, int]
"""The number of the property `Quality` for each quality."""

# Section 6.4.9.1 of Sparkplug 3.0.0 has three codes. A forced value is there to be acted upon, so it is good;
# that it was forced, or why a value is not fresh, is in the property GatewayQuality.
_STALE = (Quality.HELD, Quality.STALE, Quality.OFFLINE)
_QUALITY_CODES: dict[str, QualityCodes] = {
    "sparkplug": dict.fromkeys(Quality, 192) | dict.fromkeys(_STALE, 500) | {Quality.BAD: 0},
    # Ignition takes the number for its own QualityCode, whose level is in the top bits (Cirrus Link's
    # documentation, "Ignition 8 Quality Codes"): to it, 500 and 0 are kinds of good.
    "ignition": dict.fromkeys(Quality, 192) | dict.fromkeys(_STALE, -2147483132) | {Quality.BAD: -2147483136},
}


@plain_dataclass(frozen=True, slots=True)
class NodeName:
    """Group id and edge node id (section 4.1)."""

    group: str
    node: str

    def topic(self, verb: str, device: str = NODE) -> str:
        """Return the topic of a message about the node (NBIRTH, say) or about one of its devices (DBIRTH)."""
        return "/".join(filter(None, (_NAMESPACE, self.group, verb, self.node, device)))


def state_topic(host: str) -> str:
    """Return the topic of a host application's state."""
    return f"{_NAMESPACE}/STATE/{host}"


_BD_SEQ_MARK = "/bdSeq/"  # nothing is ever published to such a topic


def is_bd_seq(entry: str) -> bool:
    """Return whether an entry among the retained topics is a session number instead of a topic."""
    return _BD_SEQ_MARK in entry


def next_bd_seq(retained: dict[str, bool], *, will_topic: str) -> int:
    """Return the number of the next session (section 6.4.19): 0 to 255 and again, continued over restarts.

    Otherwise a former session that the broker ends only now would have the same number, and hosts would take
    its will for the death of the present session. `retained` outlives the gateway, and stores it as a topic.
    """
    number = 0
    for former in filter(is_bd_seq, [*retained]):
        number = (int(former.partition(_BD_SEQ_MARK)[2]) + 1) % 256
        del retained[former]
    retained[f"{will_topic}{_BD_SEQ_MARK}{number}"] = False
    return number


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MqttSparkplugConfig(BrokerConfig):
    """One Sparkplug B edge node on one broker."""

    type: Literal["mqtt_sparkplug"]
    """A Sparkplug B edge node on an MQTT broker."""
    group: Level
    """The group id, by which hosts sort edge nodes."""
    node: Level | None = None
    """The edge node id, unique in its group; the gateway's name if not written."""
    primary_host: Level | None = None
    """Publish only while this host application says that it is online."""
    quality_codes: Literal["sparkplug", "ignition"] = "sparkplug"
    """sparkplug: 192, 500 and 0, as specified; ignition: those that Ignition shows as good, stale and bad."""
    history: bool = True
    """Whether readings that are not the newest are sent, marked as historical."""
    types_in_data: bool = False
    """Whether data has types, too, for hosts that do not remember those of births."""

    @property
    def codes(self) -> QualityCodes:
        """The number for each quality."""
        return _QUALITY_CODES[self.quality_codes]

    def node_name(self, gateway: str) -> NodeName:
        """Return the name of the node; `gateway` is this gateway's name."""
        return NodeName(self.group, self.node or gateway)
