"""What the Sparkplug sink is made of: nodes, devices, metrics, their payloads, and the host."""
