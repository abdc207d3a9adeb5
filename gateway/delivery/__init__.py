"""From the journal to the sinks: mapped once, then one feed and one loop per sink."""
