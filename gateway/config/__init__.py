"""Strict YAML with places, secrets, and the scalar types that files are written in."""
