"""Registers and tags that belong to assets without a place in the tables: registers.lock and `auto`."""
