"""The order in which dirty values are written: each has its turn, new ones come soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import RegisterTable
from gateway.sinks.modbus_client.desired_registers import Span, Unit

COUNT = 12
INDEXES = st.sets(st.integers(0, COUNT - 1))


def make_unit() -> Unit:
    """Return a unit of dirty values that cannot be joined."""
    spans = [Span(RegisterTable.HOLDING, 2 * n, 1) for n in range(COUNT)]
    unit = Unit(1, spans, functions=(15, 16))
    unit.wanted[:] = [b"\0\0"] * COUNT
    unit.mark_all_dirty()
    return unit


def change(unit: Unit, index: int, number: int) -> None:
    """Set a new value."""
    unit.set_value(index, number.to_bytes(2))


def write(unit: Unit, *, failing: set[int]) -> int | None:
    """Write the next request, unless it fails; return the index of its value, None if nothing is dirty."""
    block = unit.next_block()
    if block is None:
        return None
    sent = unit.values_to_send(block)
    if block.first not in failing:
        unit.acknowledge(block, sent)
    return block.first


@given(failing=INDEXES, changing=INDEXES, each=st.integers(1, 3))
def test_every_value_has_its_turn(failing: set[int], changing: set[int], each: int) -> None:
    """Each dirty value is tried within a round and its turns, whatever fails or changes meanwhile."""
    unit = make_unit()
    written = set[int]()
    for number in range(1, 4 * COUNT + 1):
        if number % each == 0:
            for index in changing:
                change(unit, index, number)
        if (tried := write(unit, failing=failing)) is not None:
            written.add(tried)
    assert written == set(range(COUNT))


@given(failing=INDEXES, beat=st.integers(0, COUNT - 1), before=st.integers(0, 2 * COUNT))
def test_a_new_value_waits_for_one_other_at_most(failing: set[int], beat: int, before: int) -> None:
    """A new value, such as a heartbeat, is among the next two requests."""
    unit = make_unit()
    for _ in range(before):
        write(unit, failing=failing)
    change(unit, beat, 1)
    assert beat in {write(unit, failing=failing) for _ in range(2)}


@given(changing=INDEXES)
def test_what_was_written_is_not_written_again(changing: set[int]) -> None:
    """Each value is written once, and once more after a change."""
    unit = make_unit()
    for _ in range(COUNT):
        write(unit, failing=set())
    assert write(unit, failing=set()) is None
    for index in changing:
        change(unit, index, 1)
    assert {write(unit, failing=set()) for _ in changing} == changing
    assert write(unit, failing=set()) is None
