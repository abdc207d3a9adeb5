"""Which assets get the same points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.tools.discover.evidence import Sample, Samples
from gateway.tools.discover.naming import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.records import AssetType, KnownAsset
    from gateway.tools.discover.evidence import Evidence


@dataclass(slots=True)
class Group:
    """Assets that get the same points: those of one type, or with no type known those with the same keys."""

    asset_type: str | None
    of_type: AssetType | None
    samples: Samples
    assets: list[KnownAsset] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Return what Infodeck calls the type."""
        return one_line((self.of_type and self.of_type.name) or "")


def groups_of(known: Iterable[KnownAsset], evidence: Evidence) -> list[Group]:
    """Return the assets by type, in the order of types; those without one by the keys that they report."""
    samples = _samples_by_type(evidence)
    groups: dict[tuple[str, ...], Group] = {}
    for one in known:
        own = evidence.sightings.of(one.id)
        key = (one.asset_type,) if one.asset_type is not None else ("", *sorted(own))
        group = groups.get(key)
        if group is None:
            seen = samples[one.asset_type] if one.asset_type is not None else {}
            of_type = evidence.types.get(one.asset_type) if one.asset_type is not None else None
            group = groups[key] = Group(one.asset_type, of_type, seen)
        if one.asset_type is None:
            _merge(group.samples, own)
        group.assets.append(one)
    return [groups[key] for key in sorted(groups)]


def _samples_by_type(evidence: Evidence) -> dict[str, Samples]:
    """Return what was seen of each type, also by assets that the draft is not about."""
    found: dict[str, Samples] = {}
    for one in evidence.assets.values():
        if one.asset_type is not None:
            _merge(found.setdefault(one.asset_type, {}), evidence.sightings.of(one.id))
    return found


def _merge(samples: Samples, others: Samples) -> None:
    for key, sample in others.items():
        samples.setdefault(key, Sample()).merge(sample)
