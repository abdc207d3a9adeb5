"""Writes the point table that a command makes: a new file, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path


def check_name(file: Path) -> None:
    """Raise CommandError if the gateway would not read a table of this name, or the folder is missing."""
    if file.suffix != ".yaml":
        raise CommandError(f"{file}: would not be read: a point table's name ends in .yaml")
    if not file.parent.is_dir():
        raise CommandError(f"{file}: there is no folder {file.parent}; make it, or take another one")


def write_table(file: Path, text: str) -> None:
    """Write the file in one step, because a running gateway may watch the folder."""
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
