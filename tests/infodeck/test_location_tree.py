"""The path of locations to an asset, also with missing parents and cycles."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.infodeck.inventory import LocationTree
from gateway.records import AssetLocation, KnownAsset

TREE = {
    one.id: one
    for one in (
        AssetLocation("site", "HQ"),
        AssetLocation("tower", "Tower A", "site"),
        AssetLocation("level", "Level 3", "tower"),
        AssetLocation("room", None, "level"),
        AssetLocation("orphan", "Shed", "nowhere"),
        AssetLocation("egg", "Egg", "hen"),
        AssetLocation("hen", "Hen", "egg"),
        AssetLocation("self", "Self", "self"),
    )
}


def located(location_id: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return name and path of an asset that states its location's id alone."""
    found = LocationTree(TREE).locate(KnownAsset(id="ast-1", location=location_id, location_id=location_id))
    return found.location, found.location_path


def test_the_path_leads_from_the_outermost_location_to_the_assets_own() -> None:
    """A location without a name is shown by its id."""
    assert located("level") == ("Level 3", ("HQ", "Tower A", "Level 3"))
    assert located("room") == ("room", ("HQ", "Tower A", "Level 3", "room"))
    assert located("site") == ("HQ", ("HQ",))


def test_missing_parents_and_cycles_end_the_path() -> None:
    """Missing parents and cycles end the path."""
    assert located("orphan") == ("Shed", ("Shed",))
    assert located("egg") == ("Egg", ("Hen", "Egg"))
    assert located("hen") == ("Hen", ("Egg", "Hen"))
    assert located("self") == ("Self", ("Self",))
    assert located("nowhere") == ("nowhere", ())
    assert located(None) == (None, ())


@given(parents=st.lists(st.integers(-1, 60), min_size=1, max_size=50))
def test_every_path_ends_at_its_own_location_and_repeats_none(parents: list[int]) -> None:
    """In any tree, a path ends at the location, and no location occurs twice."""
    known = {f"l{at}": AssetLocation(f"l{at}", None, f"l{parent}") for at, parent in enumerate(parents)}
    tree = LocationTree(known)
    for name in known:
        path = tree.locate(KnownAsset(id="a", location_id=name)).location_path
        assert path[-1] == name
        assert len(set(path)) == len(path) <= 32
        assert all(known[inner].parent == outer for outer, inner in pairwise(path))
