"""Checks of the point tables against what Infodeck knows: now, or as the gateway last heard."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, counted, ok, problem, warning
from gateway.errors import GatewayError
from gateway.infodeck.inventory.items import known_asset
from gateway.journal.lookup import read_snapshot

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gateway.doctor.setup import Setup
    from gateway.model import KnownAsset

_MOST_SHOWN = 3


async def check_inventory(setup: Setup) -> list[Finding]:
    """Compare the assets of the tables with those that Infodeck lists."""
    if setup.point_map is None:
        return []  # told by the check of the tables
    known = await _known(setup)
    if not known:
        return []  # told by the checks of the API
    mapped = setup.point_map.by_asset.keys()
    gone = sorted(mapped - known.keys())
    silent = sorted(asset.id for asset in known.values() if asset.online and asset.id not in mapped)
    findings = []
    if gone:
        level = problem if len(gone) == len(mapped) else warning  # a wrong organization, or one device less
        findings.append(
            level(
                f"Infodeck does not know {counted(len(gone), 'asset')} of the tables: {_few(gone)}",
                "correct their ids, or take them out; their points will show nothing",
            )
        )
    if silent:
        verb = "is" if len(silent) == 1 else "are"
        findings.append(
            warning(
                f"no table names {counted(len(silent), 'asset')} that {verb} online: {_few(silent)}",
                "add them where the building needs them; `gateway discover` drafts that",
            )
        )
    return findings or [
        ok(f"Infodeck knows all assets of the tables ({len(mapped)}), and no other one is online")
    ]


async def _known(setup: Setup) -> Mapping[str, KnownAsset]:
    """Return what Infodeck says now, where the list is short enough; else what the gateway last heard."""
    if setup.access.api_key is not None and not setup.is_offline:
        listed = await setup.assets()
        if listed.is_whole:
            return {asset.id: asset for item in listed.items if (asset := known_asset(item)) is not None}
    try:
        snapshot = await asyncio.to_thread(read_snapshot, setup.settings.journal.path)
    except GatewayError:
        return {}  # told by the check of the journal
    return {} if snapshot is None else snapshot.assets


def _few(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
