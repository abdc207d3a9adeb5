"""Strict YAML with places, secrets, and the scalar types that files are written in."""

import os

# Else pydantic reads the metadata of all installed packages, in search of plugins.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
