"""The point tables against what Infodeck knows: what is only here, and what is only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.records import AssetSnapshot
    from gateway.status import InventoryStatus

log = structlog.get_logger()

_SHOWN = 20
_LOGGED = 3


class Inventory:
    """Compares on request; says in the log when either side begins or ceases to lack something."""

    def __init__(self, *, status: InventoryStatus) -> None:
        """Take where the outcome is shown."""
        self._status = status

    def compare(self, snapshot: AssetSnapshot, *, mapped: Collection[str]) -> None:
        """Compare what Infodeck knows with the ids of the assets that tables name or take by themselves."""
        gone = [asset for asset in mapped if asset not in snapshot.assets]
        unmapped = [known.id for known in snapshot.assets.values() if known.online and known.id not in mapped]
        before, status = (self._status.gone, self._status.unmapped), self._status
        status.gone, status.gone_sample = len(gone), sorted(gone)[:_SHOWN]
        status.unmapped, status.unmapped_sample = len(unmapped), sorted(unmapped)[:_SHOWN]
        if gone and not before[0]:
            log.warning(
                "inventory.gone",
                assets=len(gone),
                such_as=status.gone_sample[:_LOGGED],
                advice="point tables name them, but Infodeck does not know them: see gateway check",
            )
        elif before[0] and not gone:
            log.info("inventory.none_gone")
        if unmapped and not before[1]:
            log.info(
                "inventory.unmapped",
                assets=len(unmapped),
                such_as=status.unmapped_sample[:_LOGGED],
                advice="they are online in Infodeck, but in no point table: gateway discover drafts one",
            )
        elif before[1] and not unmapped:
            log.info("inventory.none_unmapped")
