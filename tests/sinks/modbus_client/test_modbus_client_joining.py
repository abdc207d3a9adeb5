"""Which registers one request writes: neighbours joined, values never torn, no register too many."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import RegisterTable
from gateway.sinks.modbus_client.desired_registers import MOST, Span, Unit, can_write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.sinks.modbus_client.desired_registers import Block

SIZES = st.sampled_from([1, 1, 1, 2, 2, 4, 8, 123])
FUNCTIONS = st.sets(st.sampled_from([5, 6, 15, 16]), min_size=1)
GAPS = st.sampled_from([0, 0, 0, 0, 1, 7])
OFTEN = st.integers(0, 5).map(bool)


class Plan(NamedTuple):
    """Spans of one unit, the dirty and the isolated ones, and the requests for them."""

    unit: Unit
    functions: set[int]
    dirty: set[Span]
    alone: set[Span]
    blocks: list[Block]

    def spans_of(self, block: Block) -> list[Span]:
        """Return the spans that a request writes."""
        return self.unit.spans[block.first : block.end]


def all_blocks(unit: Unit, dirty: Iterable[bool]) -> list[Block]:
    """Make some values dirty; return one request after the other, until nothing is dirty."""
    unit.wanted[:] = unit.acknowledged[:] = [b""] * len(unit.spans)
    unit.dirty[:] = bytearray(dirty)
    found: list[Block] = []
    while (block := unit.next_block()) is not None:
        found.append(block)
        unit.acknowledge(block, unit.values_to_send(block))
    return found


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plan the requests for spans that do not overlap, many of them neighbours."""
    functions = draw(FUNCTIONS)
    made = []
    for table in (RegisterTable.HOLDING, RegisterTable.COIL):
        address = draw(st.integers(0, 50))
        for gap, size in draw(st.lists(st.tuples(GAPS, SIZES), max_size=80)):
            width = size if table is RegisterTable.HOLDING else 1
            if can_write(table, width, functions=functions):
                made.append(Span(table, address + gap, width))
            address += gap + width
    unit = Unit(1, draw(st.permutations(made)), functions=functions)
    flags = draw(st.lists(st.tuples(OFTEN, OFTEN), min_size=len(made), max_size=len(made)))
    unit.isolate(index for index, (_, joins) in enumerate(flags) if not joins)
    return Plan(
        unit,
        functions,
        dirty={span for span, (is_dirty, _) in zip(unit.spans, flags, strict=True) if is_dirty},
        alone={span for span, (_, joins) in zip(unit.spans, flags, strict=True) if not joins},
        blocks=all_blocks(unit, (is_dirty for is_dirty, _ in flags)),
    )


@given(plans())
def test_dirty_values_are_written_whole(plan: Plan) -> None:
    """Each dirty value is in one request; no request has a gap or is longer than the protocol allows."""
    written = [span for block in plan.blocks for span in plan.spans_of(block)]
    assert len(written) == len(plan.dirty)
    assert set(written) == plan.dirty
    for block in plan.blocks:
        spans = plan.spans_of(block)
        assert {span.table for span in spans} == {block.table}
        assert block.function in plan.functions
        assert block.function in ({6, 16} if block.table is RegisterTable.HOLDING else {5, 15})
        assert (block.address, block.size) == (spans[0].address, sum(span.size for span in spans))
        assert block.size <= (1 if block.function in {5, 6} else MOST[block.table])
        assert block.is_joined is (len(spans) > 1)
        assert not block.is_joined or plan.alone.isdisjoint(spans)
        assert all(one.address + one.size == other.address for one, other in pairwise(spans))


@given(plans())
def test_requests_are_as_few_as_possible(plan: Plan) -> None:
    """Two consecutive requests do not fit into one, or must not be joined."""
    for one, other in pairwise(plan.blocks):
        last, first = plan.spans_of(one)[-1], plan.spans_of(other)[0]
        touches = last.table is first.table and last.address + last.size == first.address
        several = 15 if last.table is RegisterTable.COIL else 16
        if touches and plan.alone.isdisjoint({last, first}) and several in plan.functions:
            assert one.size + first.size > MOST[last.table]


def test_single_registers_use_functions_5_and_6() -> None:
    """If the controller supports 6 or 5, these write single registers and coils; otherwise 16 and 15."""
    coil = Span(RegisterTable.COIL, 0, 1)
    word, pair = Span(RegisterTable.HOLDING, 0, 1), Span(RegisterTable.HOLDING, 1, 2)

    def functions_for(*known: int) -> list[int]:
        unit = Unit(1, [word, pair, coil], functions=known)
        return [unit.block(index, index + 1).function for index in range(3)]

    assert functions_for(15, 16) == [15, 16, 16]
    assert functions_for(5, 6, 15, 16) == [5, 6, 16]
    assert functions_for(6, 15, 16) == [15, 6, 16]
    joined = all_blocks(Unit(1, [word, pair], functions=(6, 16)), [True, True])
    assert [(block.function, block.size) for block in joined] == [(16, 3)]


def test_unwritable_values() -> None:
    """Two registers need function 16; input registers and discrete inputs are never written."""
    assert can_write(RegisterTable.HOLDING, 1, functions={6})
    assert not can_write(RegisterTable.HOLDING, 2, functions={5, 6, 15})
    assert can_write(RegisterTable.COIL, 1, functions={5})
    assert not can_write(RegisterTable.COIL, 1, functions={6, 16})
    assert not can_write(RegisterTable.INPUT, 1, functions={5, 6, 15, 16})
    assert not can_write(RegisterTable.DISCRETE, 1, functions={5, 6, 15, 16})
