"""A reload of the point tables, as a controller that stays connected sees it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from support.modbus_fixtures import Latest, Points, connect, make_sink, point, register, until, update

if TYPE_CHECKING:
    from gateway.model import Point

ILLEGAL_ADDRESS = b"\x84\x02"


async def test_registers_follow_the_new_table() -> None:
    """New registers show their value or sentinel at once, removed ones exception 2; the connection stays."""
    gone, moved = point("GONE", register(0, "uint16")), point("MOVED", register(1, "uint16"))
    async with make_sink(gone, moved) as sink, connect(sink) as client:
        await sink.write([update(gone, 1), update(moved, 2)])
        after, quiet = point("MOVED", register(5, "uint16")), point("QUIET", register(6, "uint16"))
        latest = Latest()
        latest.keep([update(after, 2)])
        adopt = sink.prepare(Points((after, quiet)), latest)
        assert await client.read(4, 0, 2) == b"\0\1\0\2"
        assert await client.read(4, 5, 1) == ILLEGAL_ADDRESS
        adopt(())
        assert await client.read(4, 5, 2) == b"\0\2\xff\xff"
        assert await client.read(4, 0, 1) == ILLEGAL_ADDRESS


async def test_no_register_goes_back_in_time() -> None:
    """Values that came after the registers were prepared are shown together with them."""
    before = point("T", register(0, "uint16"))
    async with make_sink(before) as sink, connect(sink) as client:
        await sink.write([update(before, 1)])
        after = replace(before)
        latest = Latest()
        latest.keep([update(after, 1)])
        adopt = sink.prepare(Points((after,)), latest)
        await sink.write([update(before, 2, time_ms=2_000)])
        adopt([update(after, 2, time_ms=2_000)])
        assert await client.read(4, 0, 1) == b"\0\2"


async def test_updates_of_the_old_table_are_ignored() -> None:
    """They come again by the new table; until then the registers keep their values."""
    before = point("T", register(0, "uint16"))
    async with make_sink(before) as sink, connect(sink) as client:
        after = replace(before)
        latest = Latest()
        sink.prepare(Points((after,)), latest)(())
        await sink.write([update(before, 7)])
        assert await client.read(4, 0, 1) == b"\xff\xff"
        await sink.write([update(after, 8)])
        assert await client.read(4, 0, 1) == b"\0\x08"


async def test_a_swap_before_the_sink_is_entered() -> None:
    """A table that is adopted between making and entering the sink is shown."""
    before, after = point("OLD", register(0, "uint16")), point("NEW", register(1, "uint16"))
    sink, latest = make_sink(before), Latest()
    latest.keep([update(after, 3)])
    sink.prepare(Points((after,)), latest)(())
    async with sink, connect(sink) as client:
        assert await client.read(4, 1, 1) == b"\0\3"
        assert await client.read(4, 0, 1) == ILLEGAL_ADDRESS


class BigTable:
    """A PointSource whose points take a while to read: until `is_done`, or a minute."""

    def __init__(self, *points: Point) -> None:
        self._points = points
        self.is_looked_at = self.was_done_in_time = False
        self.is_done = threading.Event()

    @property
    def points(self) -> tuple[Point, ...]:
        """Return every point."""
        self.is_looked_at = True
        self.was_done_in_time = self.is_done.wait(timeout=60)
        return self._points


async def test_the_loop_turns_while_registers_are_built() -> None:
    """A starting sink, or one that restarts for a port in use, does not block the event loop."""
    table = BigTable(point("T", register(0, "uint16")))
    sink = make_sink(source=table)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.__aenter__(), name="enter")
        await until(lambda: table.is_looked_at, expected=True)
        table.is_done.set()
    assert table.was_done_in_time
    await sink.__aexit__(None, None, None)


async def test_a_swap_while_registers_are_built() -> None:
    """A table that is adopted while the sink is being entered is shown."""
    old = BigTable(point("OLD", register(0, "uint16")))
    sink, latest, new = make_sink(source=old), Latest(), point("NEW", register(1, "uint16"))
    latest.keep([update(new, 3)])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.__aenter__(), name="enter")
        await until(lambda: old.is_looked_at, expected=True)
        sink.prepare(Points((new,)), latest)(())
        old.is_done.set()
    assert old.was_done_in_time
    try:
        async with connect(sink) as client:
            assert await client.read(4, 1, 1) == b"\0\3"
            assert await client.read(4, 0, 1) == ILLEGAL_ADDRESS
    finally:
        await sink.__aexit__(None, None, None)
