"""Assets that only the tables or only Infodeck knows: always shown, logged once."""

from __future__ import annotations

from structlog.testing import capture_logs

from gateway.infodeck.inventory import compare_with_tables
from gateway.records import AssetSnapshot, KnownAsset
from gateway.status import InventoryStatus


def known(*assets: str, offline: tuple[str, ...] = (), unclear: tuple[str, ...] = ()) -> AssetSnapshot:
    """Return a snapshot of these assets."""
    states = {**dict.fromkeys(assets, True), **dict.fromkeys(offline, False), **dict.fromkeys(unclear)}
    return AssetSnapshot(0, {name: KnownAsset(id=name, online=online) for name, online in states.items()})


def test_each_side_is_counted_with_a_sample() -> None:
    """Assets that are not online need no point table."""
    status = InventoryStatus()
    snapshot = known("a", "b", "c", offline=("d",), unclear=("e",))
    compare_with_tables(snapshot, mapped={"a", "y", "x"}, status=status)
    assert status == InventoryStatus(unmapped=2, unmapped_sample=["b", "c"], gone=2, gone_sample=["x", "y"])
    many = [f"s{number:03}" for number in range(100)]
    compare_with_tables(known(*many), mapped=(), status=status)
    assert (status.unmapped, status.unmapped_sample) == (100, many[:20])


def test_begin_and_end_are_logged() -> None:
    """Changes of numbers in between are not logged."""
    status = InventoryStatus()
    with capture_logs() as lines:
        for assets in (("a",), ("a", "b"), ("a", "b", "c"), ("b",), ("a",), ("a", "b"), ("a",)):
            compare_with_tables(known(*assets), mapped={"a"}, status=status)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("inventory.unmapped", "info"),
        ("inventory.gone", "warning"),
        ("inventory.none_gone", "info"),
        ("inventory.none_unmapped", "info"),
        ("inventory.unmapped", "info"),
        ("inventory.none_unmapped", "info"),
    ]
    assert (lines[1]["assets"], lines[1]["such_as"]) == (1, ["a"])
