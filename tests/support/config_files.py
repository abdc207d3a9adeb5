"""Settings files of tests, and their problems as users see them."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config.decode import Document


def write(folder: Path, content: str | bytes, name: str = "file.yaml") -> Path:
    """Write a file; text may be indented as a whole."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
    return file


def complaints(document: Document[Any]) -> list[str]:
    """Return the document's problems as they are printed, without the folder."""
    return [str(problem).removeprefix(f"{document.file.parent}/") for problem in document.problems]
