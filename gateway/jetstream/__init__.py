"""What sink and source of type `nats` share: subjects, settings of the connection, the connection."""
