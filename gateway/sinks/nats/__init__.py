"""The NATS sink: publishes every event to a stream of JetStream."""
