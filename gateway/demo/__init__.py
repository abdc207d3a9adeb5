"""A simulated Infodeck and an embedded MQTT broker, for the demo, for training and for tests."""
