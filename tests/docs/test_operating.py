"""docs/operating.md: every command runs as it is written, and prints what the page shows."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from support.building import eventually
from support.daemon import REPOSITORY, telemetry
from support.edited_tables import running, swap
from support.mosquitto import Mosquitto
from support.processes import run_script

from gateway.journal.lookup import read_letters

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|text)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
TABLE = """\
schema: gateway.points/1
site: hq
points:
  - {tag: L03-RM312, point: N, asset: a, from: n, modbus: {to: regs, table: input, register: 4, type: uint16}}
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def without_times(text: str) -> str:
    """Return the text with the same time everywhere."""
    return re.sub(TIME, "TIME", text)


def test_commands_run(tmp_path: Path) -> None:
    """In the order of the page, on two values that a register cannot hold; `retry` after the correction."""
    with Mosquitto(tmp_path) as broker, running(tmp_path, broker, TABLE) as daemon:
        journal = daemon.folder / "journal.db"
        for number, value in enumerate((70000, 80000), 1):
            assert daemon.post(telemetry(f"evt_{number}", "a", {"n": value}))[0] == 200
            eventually(lambda: len(read_letters(journal)), number)
        printed = ""
        for kind, text in BLOCKS:
            if kind == "text":
                assert without_times(text) in without_times(printed)
                continue
            if "retry" in text:
                asyncio.run(swap(daemon, TABLE.replace("uint16", "uint32")))
            printed = run_script(text.replace("config/gateway.yaml", str(daemon.config)), folder=tmp_path)
        assert printed == "2: forgotten\n"


def test_what_a_rotation_says_is_what_the_page_has() -> None:
    """Each message of the table is one of the program's, in its words."""
    section = PAGE.partition("## Renewing the signing secret\n")[2].partition("\n## ")[0]
    said = re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)
    sources = [
        *(REPOSITORY / "gateway/cli").glob("webhooks_*.py"),
        REPOSITORY / "gateway/config/secret_drafts.py",
    ]
    texts = "".join(re.sub(r'"\s*f?"', "", source.read_text(encoding="utf-8")) for source in sources)
    assert len(said) == 7
    assert [text for text in said if text not in texts] == []
    events = (REPOSITORY / "gateway/web/signing_secrets.py").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"signing_secrets\.\w+", section) if f'"{name}"' not in events] == []
