"""Building-telemetry gateway: Infodeck's webhooks in, MQTT and Modbus out."""

__version__ = "0.1.0"
