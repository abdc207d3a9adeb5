"""The ways out: one file per protocol, each with its config, constructor and implementation."""
