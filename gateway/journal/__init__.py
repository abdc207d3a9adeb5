"""The durable log of events, one cursor per sink."""
