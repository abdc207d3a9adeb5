"""The parts of the point table compiler, `gateway.mapping.compiler`."""
