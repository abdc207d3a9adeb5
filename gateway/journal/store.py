"""The journal's SQLite file: checked, committed, read, pruned. Blocking; for one thread at a time."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from gateway.errors import JournalError
from gateway.journal import alarms, assets, gaps, layout, letters
from gateway.journal.letters import Kept
from gateway.journal.notes import (
    read_forced,
    read_kept,
    read_online,
    read_retained,
    write_cursors,
    write_notes,
)
from gateway.journal.rows import event_of, id_hash
from gateway.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import (
        Alarm,
        AssetSnapshot,
        Event,
        Forced,
        Gap,
        KeptValue,
        Notes,
        OnlineState,
        StoredLetter,
    )

# Each statement gives up the interpreter lock and must win it back from the busy event loop, so
# rows are inserted many to a statement; powers of two keep the number of statements small.
_CHUNKS = tuple(
    (size, f"INSERT OR IGNORE INTO events VALUES {','.join(['(?,?,?,?)'] * size)}")  # noqa: S608 - placeholders only
    for size in (64, 32, 16, 8, 4, 2, 1)
)
_LAST_TO_FREE = """SELECT max(seq) FROM (
  SELECT seq FROM events WHERE seq > ? AND seq <= ? AND body IS NOT NULL ORDER BY seq LIMIT ?)"""
# Taken out and put in again: rows that only shrink where they are leave their pages half empty.
_FREE = (
    """CREATE TEMP TABLE slim AS
      SELECT seq, id_hash, received_ms, NULL FROM events WHERE seq > :after AND seq <= :last""",
    "DELETE FROM events WHERE seq > :after AND seq <= :last",
    "INSERT INTO events SELECT * FROM slim",
    "DROP TABLE slim",
)

_PAGE_BYTES = 2048
_RESERVE_BYTES = 2 << 20  # room left for cursors and values when no event fits any more
_CHECK_EVERY_BYTES = 64 << 10
_ROW_OVERHEAD_BYTES = 150
_MOST_UNMAPPED = 10_000
_PRUNE_ROWS = 5_000
_LETTERS_SHARE = 4  # bodies of dead letters are at most a fourth of the journal
_MOST_LETTERS = letters.MOST_KEPT + 1_000  # that there are between two prunings
_READ_BYTES = 4 << 20
FULL_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one commit did: the events that were new, with their numbers, and why events were turned away."""

    records: tuple[Record, ...]
    error: JournalError | None = None


class Store:
    """One open journal file."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Open the file or prepare to create it; nothing is read before `prepare`."""
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._max_bytes = max_bytes
        self._unchecked_bytes = _CHECK_EVERY_BYTES
        self._full = False
        self._freed_through = 0
        self._letters = Kept(0, 0)

    def prepare(self) -> None:
        """Check the file, or create it; raise sqlite3.DatabaseError where it is corrupt."""
        execute = self._database.execute
        # Ids are random: each one changes another page of their index, and every changed page is
        # logged whole. Pages of half the usual size make commits cheaper, and spare flash.
        execute(f"PRAGMA page_size={_PAGE_BYTES}")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA mmap_size=0")
        execute("PRAGMA temp_store=MEMORY")
        found = execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        version = self._number("PRAGMA user_version")
        layout.check_layout(self._path, version)
        if not version:
            layout.create(self._database)
        self._page_bytes = self._number("PRAGMA page_size")
        execute(f"PRAGMA max_page_count={(self._max_bytes + _RESERVE_BYTES) // self._page_bytes}")
        newest = self._number("SELECT max(seq) FROM events")
        self.next_seq = 1 + max(newest, self._number("SELECT max(seq) FROM cursors"))
        self._letters = letters.count(self._database)

    @property
    def dead_letters(self) -> int:
        """How many there are."""
        return self._letters.number

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._database.close()

    def commit(self, events: Sequence[Event], notes: Notes, *, delivered_through: int) -> Outcome:
        """Write events and notes with one fsync. Events that are there already are left out.

        Where the file is full, bodies of events that every sink has are given up first; if that
        is not enough, the events are turned away and only the notes written. Raise sqlite3.Error
        where nothing could be written.
        """
        error, more = None, Kept(0, 0)
        if (events or self._full) and self._is_full(delivered_through):
            error = JournalError("the journal is full", retry_after_s=FULL_RETRY_AFTER_S)
            events = ()
        with self._transaction():
            records = self._insert(events) if events else ()
            if notes:
                write_notes(self._database, notes)
                more = self._write_letters(notes)
                if notes.gaps:
                    gaps.write(self._database, notes.gaps, room_bytes=self._max_bytes - self.used_bytes())
        kept = self._letters
        self._letters = Kept(kept.number + more.number, kept.body_bytes + more.body_bytes)
        self._bound_letters()
        if notes.snapshot is not None:
            assets.keep(self._database, notes.snapshot, room_bytes=self._max_bytes - self.used_bytes())
        return Outcome(records, error)

    def prune(self, *, before_ms: int, delivered_through: int) -> bool:
        """Forget events that are both delivered everywhere and older than the retention.

        Not those that the kept values do not include yet: after a long time without power, they are all that
        is known of the last readings.

        Return whether there may be more of them: a limit keeps commits from waiting long.
        """
        kept_through = self._number("SELECT seq FROM cursors WHERE sink = ?", layout.KEPT_THROUGH)
        with self._transaction():
            pruned = self._database.execute(
                "DELETE FROM events WHERE seq IN (SELECT seq FROM (SELECT seq, received_ms FROM events"
                " WHERE seq <= ? ORDER BY seq LIMIT ?) WHERE received_ms < ?)",
                (min(delivered_through, kept_through or delivered_through), _PRUNE_ROWS, before_ms),
            ).rowcount
            if pruned:
                write_cursors(self._database, {layout.NUMBERED: self.next_seq - 1})
            kept = letters.prune(self._database, body_bytes=self._max_bytes // _LETTERS_SHARE)
            self._database.execute("DELETE FROM forced WHERE until_ms < ?", (before_ms,))
            self._database.execute(
                "DELETE FROM unmapped WHERE asset NOT IN"
                " (SELECT asset FROM unmapped ORDER BY last_ms DESC LIMIT ?)",
                (_MOST_UNMAPPED,),
            )
        self._letters = kept
        return pruned == _PRUNE_ROWS

    def read(self, after: int, limit: int) -> list[Record]:
        """Return the next events after `after`, bounded by number and by bytes."""
        records: list[Record] = []
        size = 0
        rows = self._database.execute(
            "SELECT seq, id_hash, received_ms, body FROM events"
            " WHERE seq > ? AND body IS NOT NULL ORDER BY seq LIMIT ?",
            (after, limit),
        )
        for seq, stored_hash, received_ms, body in rows:
            records.append(Record(seq, event_of(stored_hash, received_ms, body)))
            size += len(body)
            if size > _READ_BYTES:
                break
        return records

    def letters(self, numbers: Sequence[int]) -> list[StoredLetter]:
        """Return the dead letters of these numbers that there are, oldest first, bounded by bytes."""
        return letters.read(self._database, numbers, enough_bytes=_READ_BYTES)

    def cursors(self) -> dict[str, int]:
        """Return every kept cursor by sink name."""
        return {
            sink: seq
            for sink, seq in self._database.execute("SELECT sink, seq FROM cursors")
            if not sink.startswith("$")
        }

    def replace_cursors(self, cursors: Mapping[str, int]) -> None:
        """Keep the cursors of these sinks and no others: a sink that is gone holds no events back."""
        with self._transaction():
            self._database.execute("DELETE FROM cursors WHERE sink NOT LIKE '$%'")
            write_cursors(self._database, cursors)

    def kept(self) -> tuple[list[KeptValue], int]:
        """Return the kept values and the event number they include."""
        through = self._number("SELECT seq FROM cursors WHERE sink = ?", layout.KEPT_THROUGH)
        return read_kept(self._database), through

    def forced(self) -> list[Forced]:
        """Return the forced values, also those whose time is over by now."""
        return read_forced(self._database)

    def online(self) -> list[OnlineState]:
        """Return what was last said of each asset's connection."""
        return read_online(self._database)

    def retained(self) -> dict[str, dict[str, bool]]:
        """Return by sink which topics it has left with its receiver, and whether a value stands there."""
        return read_retained(self._database)

    def snapshot(self) -> AssetSnapshot | None:
        """Return the assets that are kept, None where there never were any."""
        return assets.read(self._database)

    def alarms(self) -> list[Alarm]:
        """Return the alarms that are kept, see `gateway.journal.alarms`."""
        return alarms.read(self._database)

    def gaps(self) -> list[Gap]:
        """Return the gaps in histories that are kept."""
        return gaps.read(self._database)

    def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds in which a reading inside a gap is known already."""
        return gaps.known_seconds(self._database, gap)

    def used_bytes(self) -> int:
        """Return the bytes in use in the file, free pages left out."""
        return (self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")) * self._page_bytes

    def _number(self, query: str, *parameters: str | int) -> int:
        row = self._database.execute(query, parameters).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _insert(self, events: Sequence[Event]) -> tuple[Record, ...]:
        first = self.next_seq
        self.next_seq += len(events)
        before = self._database.total_changes
        done = 0
        for size, statement in _CHUNKS:
            while len(events) - done >= size:
                chunk = enumerate(events[done : done + size], first + done)
                self._database.execute(
                    statement,
                    tuple(
                        chain.from_iterable(
                            (seq, id_hash(event.event_id), event.received_ms, event.body)
                            for seq, event in chunk
                        )
                    ),
                )
                done += size
        self._unchecked_bytes += sum(len(event.body) + _ROW_OVERHEAD_BYTES for event in events)
        records = enumerate(events, first)
        if self._database.total_changes - before == len(events):
            return tuple(Record(seq, event) for seq, event in records)
        new = {row[0] for row in self._database.execute("SELECT seq FROM events WHERE seq >= ?", (first,))}
        return tuple(Record(seq, event) for seq, event in records if seq in new)

    def _write_letters(self, notes: Notes) -> Kept:
        """Write letters, with bodies as far as the journal has room; return by how much there is more."""
        most_bytes = self._max_bytes // _LETTERS_SHARE
        room_bytes = max(0, min(most_bytes, self._max_bytes - self.used_bytes())) if notes.dead_letters else 0
        return letters.update(
            self._database, new=notes.dead_letters, settled=notes.settled, room_bytes=room_bytes
        )

    def _bound_letters(self) -> None:
        """Have no more letters and copies than may be; some less, so that it is not done each time."""
        most_bytes = self._max_bytes // _LETTERS_SHARE
        if self._letters.number <= _MOST_LETTERS and self._letters.body_bytes <= most_bytes:
            return
        with suppress(sqlite3.Error), self._transaction():  # what was to be committed is; pruning comes again
            self._letters = letters.prune(self._database, body_bytes=most_bytes - most_bytes // 8)

    def _is_full(self, delivered_through: int) -> bool:
        """Say whether events must be turned away; measured again only after some bytes were written."""
        if self._full or self._unchecked_bytes >= _CHECK_EVERY_BYTES:
            self._unchecked_bytes = 0
            self._full = self.used_bytes() >= self._max_bytes
            if self._full and self._free_delivered(delivered_through):
                self._full = self.used_bytes() >= self._max_bytes
        return self._full

    def _free_delivered(self, through: int) -> bool:
        """Give up bodies of delivered events, oldest first; their ids stay, to recognise duplicates."""
        last = self._number(_LAST_TO_FREE, self._freed_through, through, _PRUNE_ROWS)
        if not last:
            return False
        with self._transaction():
            for statement in _FREE:
                self._database.execute(statement, {"after": self._freed_through, "last": last})
        self._freed_through = last
        return True
