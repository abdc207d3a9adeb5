"""An MQTT broker inside the demo's process, so that nothing has to be installed to subscribe."""
