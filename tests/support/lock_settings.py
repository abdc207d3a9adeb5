"""Settings with a folder of tables and a journal with assets, for `gateway lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.records import AssetSnapshot, KnownAsset, StateChanges
from support.journal_parts import START_MS, sqlite_journal
from support.processes import run_gateway

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


def write_files(folder: Path, *, sinks: str = "", **tables: str) -> Path:
    """Write settings, with more sinks, and tables, each under its name; return the settings."""
    (folder / "mappings").mkdir()
    for name, text in tables.items():
        (folder / "mappings" / f"{name}.yaml").write_text(text)
    file = folder / "gateway.yaml"
    file.write_text(
        "infodeck: {organization: o-1}\n"
        "intake: {signing_secrets: [{env: S}]}\n"
        f'journal: {{url: "sqlite:///{folder}/journal.db"}}\n'
        'sinks: {bms: {type: mqtt, url: "mqtt://127.0.0.1:1883"},'
        f' regs: {{type: modbus_server, listen: "127.0.0.1:5020"}}{sinks}}}\n'
        "mappings: mappings\n"
    )
    return file


def gateway(config: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these settings."""
    return run_gateway(command, "-c", config, *arguments)


async def store_assets(folder: Path, *assets: KnownAsset) -> None:
    """Store assets in the journal, as the running gateway does."""
    async with sqlite_journal(folder) as journal:
        journal.save(StateChanges(assets=AssetSnapshot(START_MS, {asset.id: asset for asset in assets})))
