"""Readings that no webhook brought, from shadows and from history, as events of our own."""
