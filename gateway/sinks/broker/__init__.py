"""What all MQTT sinks share: a broker's settings, one connection, and staying connected."""
