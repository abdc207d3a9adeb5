"""The event log and the state store, both in one SQLite file."""
