"""docs/architecture.md against the code: its files, functions and rooms exist, and no room is missing."""

from __future__ import annotations

import re

from support.daemon import REPOSITORY

HOUSE = REPOSITORY / "gateway"
TEXT = (REPOSITORY / "docs/architecture.md").read_text()
WALK = TEXT.partition("## From POST to register")[2].partition("\n## ")[0]


def test_every_file_of_the_walk_is_there() -> None:
    """The files that an event passes are named in order, with their folders."""
    named = re.findall(r"`([a-z_/]+\.py)`", WALK)
    folders = {"", *(f"{path.parent.relative_to(HOUSE)}/" for path in HOUSE.rglob("*.py"))}
    missing = [name for name in named if not any((HOUSE / folder / name).is_file() for folder in folders)]
    assert len(named) > 15
    assert missing == []


def test_every_function_of_the_walk_is_there() -> None:
    """The function to start reading at is in its file."""
    named = re.findall(r"`([a-z_/]+\.py)`[^`]*\(`(?:\w+\.)?(\w+)`\)", WALK)
    missing = [
        (name, function)
        for name, function in named
        if not re.search(rf"def {function}\(", (HOUSE / name).read_text())
    ]
    assert len(named) > 5
    assert missing == []


def test_every_room_is_named() -> None:
    """The picture of the rooms has each folder and each single file."""
    picture = TEXT.partition("## The rooms")[2].partition("\n## ")[0]
    rooms = [f"{path.name}/" for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    files = [path.name for path in HOUSE.glob("*.py") if path.name != "__init__.py"]
    assert [name for name in (*rooms, *files) if name not in picture] == []


def test_the_page_stays_short() -> None:
    """It has at most 200 lines."""
    assert len(TEXT.splitlines()) <= 200
