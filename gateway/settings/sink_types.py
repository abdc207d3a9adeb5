"""Which sinks there are: what a sink's `type` stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from gateway.config.decode import ByType
from gateway.sinks.modbus_client.sink import ModbusClientConfig, ModbusClientSink
from gateway.sinks.modbus_server.sink import ModbusServerConfig, ModbusServerSink
from gateway.sinks.mqtt.sink import MqttConfig, MqttSink
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig, MqttSparkplugSink

if TYPE_CHECKING:
    from gateway.alarms import Alarms
    from gateway.ports import LatestValues, PointSource, Sink
    from gateway.status import SinkStatus


class SinkFactory(Protocol):
    """Makes a sink: what every sink's constructor takes. `config` is of the sink's own config class."""

    def __call__(
        self,
        *,
        name: str,
        config: Any,
        gateway: str,
        points: PointSource,
        latest: LatestValues,
        status: SinkStatus,
        retained: dict[str, bool] | None = None,
        alarms: Alarms | None = None,
    ) -> Sink:
        """Return the sink, not yet started.

        `retained`: the topics that it, or a former one of its name, has left with its receiver, and whether
        a value stands there. The sink keeps it true; it outlives the gateway. `alarms`: what needs a person,
        for a sink that can tell it.
        """


@dataclass(frozen=True, slots=True)
class SinkType:
    """What a sink's `type` stands for."""

    config: type
    factory: SinkFactory


SINK_TYPES: dict[str, SinkType] = {
    "mqtt": SinkType(MqttConfig, MqttSink),
    "mqtt_sparkplug": SinkType(MqttSparkplugConfig, MqttSparkplugSink),
    "modbus_server": SinkType(ModbusServerConfig, ModbusServerSink),
    "modbus_client": SinkType(ModbusClientConfig, ModbusClientSink),
}


class SinkConfig(Protocol):
    """Common to the config classes of all sinks."""

    @property
    def type(self) -> str:
        """Return its name in SINK_TYPES."""


AnySinkConfig = Annotated[
    SinkConfig, ByType({name: sink_type.config for name, sink_type in SINK_TYPES.items()})
]
