"""Files of the mappings folder that commands write: whole or not at all."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from gateway.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def check_name(file: Path) -> None:
    """Raise CommandError if the gateway would not read a table of this name, or the folder is missing."""
    if file.suffix != ".yaml":
        raise CommandError(f"{file}: would not be read: a point table's name ends in .yaml")
    if not file.parent.is_dir():
        raise CommandError(f"{file}: there is no folder {file.parent}; make it, or take another one")


def write_table(file: Path, text: str, *, check: Callable[[Path], None] | None = None) -> None:
    """Write a file in one step, because a running gateway may watch the folder. A link stays a link.

    `check` is called with the draft, which replaces the file unless it raises.
    """
    target = file.resolve()
    draft = target.with_name(f".{target.name}.part")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, draft)
        if check is not None:
            check(draft)
        draft.replace(target)
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
