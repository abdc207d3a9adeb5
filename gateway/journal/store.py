"""The journal's SQLite file: checked, committed, read, pruned. Blocking; for one thread at a time."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import orjson

from gateway.errors import EventError, JournalError
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
from gateway.journal.rows import as_text, damaged_letter, event_of, id_hash, is_corrupt
from gateway.journal.salvage import Salvaged, salvage
from gateway.model import Record
from gateway.records import StateChanges, StoredState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import Event
    from gateway.records import DeadLetter, Gap, StoredDeadLetter

# Each statement gives up the interpreter lock and must win it back from the busy event loop, so
# rows are inserted many to a statement; powers of two keep the number of statements small.
_CHUNKS = tuple(
    (size, f"INSERT OR IGNORE INTO events VALUES {','.join(['(?,?,?,?)'] * size)}")  # noqa: S608 - placeholders only
    for size in (64, 32, 16, 8, 4, 2, 1)
)
_FIRST_BODY = "SELECT seq FROM events WHERE body IS NOT NULL ORDER BY seq LIMIT 1"
_LAST_TO_FREE = """SELECT max(seq) FROM (
  SELECT seq FROM events WHERE seq > ? AND seq <= ? AND body IS NOT NULL ORDER BY seq LIMIT ?)"""
_FREE_DAMAGED = "UPDATE events SET body = NULL WHERE seq IN (SELECT value FROM json_each(?))"
_FORGET = """DELETE FROM events WHERE seq IN (SELECT seq FROM (
  SELECT seq, received_ms FROM events WHERE seq <= ? ORDER BY seq LIMIT ?) WHERE received_ms < ?)"""
_EVER_MS = 1 << 62
# Taken out and put in again: rows that only shrink where they are leave their pages half empty.
_FREE = (
    """CREATE TEMP TABLE slim AS
      SELECT seq, id_hash, received_ms, NULL FROM events WHERE seq > :after AND seq <= :last""",
    "DELETE FROM events WHERE seq > :after AND seq <= :last",
    "INSERT INTO events SELECT * FROM slim",
    "DROP TABLE slim",
)

_PAGE_BYTES = 2048
_MOST_LOG_BYTES = 4 << 20  # of the write-ahead log, once it is folded in
_CHECK_EVERY_BYTES = 64 << 10
_MOST_REFUSED_BYTES = 1 << 20  # that there must be room for until it is reported that there is
_ROW_OVERHEAD_BYTES = 150
_ID_BYTES = 80  # of an event without its body
_IDS_SHARE = 4  # ids of freed events have at most a fourth of the room, where events need it
_MOST_UNMAPPED = 10_000
_STEP_ROWS = 1_000  # each changes a page of the ids' index, which the disk's reserve must have room for
_LETTERS_SHARE = 4  # bodies of dead letters are at most a fourth of the journal
_MOST_LETTERS = letters.MOST_KEPT + 1_000  # that there are between two prunings
_NOTES_BYTES = 4 << 20  # made room for before dead letters or gaps are written
_READ_BYTES = 4 << 20
_MAPPED_AGAIN = 100_000  # events at most, a few seconds' work, where kept values are damaged
_RESERVE_BYTES = 16 << 20
_RESERVE_SHARE = 4  # of a small disk, the reserve is a fourth
FULL_RETRY_AFTER_S = 60
COMMIT_RETRY_AFTER_S = 10


class DiskUsage(Protocol):
    """What `shutil.disk_usage` returns, in bytes."""

    @property
    def total(self) -> int:
        """The size of the file system, 0 where it does not say."""

    @property
    def free(self) -> int:
        """What this process may still write."""


def disk_reserve(total_bytes: int) -> int:
    """Return how much of a disk stays free of events, so that cursors and values can be written always."""
    return min(_RESERVE_BYTES, total_bytes // _RESERVE_SHARE)


@dataclass(slots=True)
class Batch:
    """What one commit writes: events, changes of state, moved cursors, and numbers of damaged events."""

    events: list[Event] = field(default_factory=list)
    changes: StateChanges = field(default_factory=StateChanges)
    cursors: dict[str, int] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to write beside events."""
        return bool(self.cursors or self.changes or self.damaged)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one commit did: the events that were new, with their numbers, and why events were turned away."""

    records: tuple[Record, ...]
    error: JournalError | None = None


class Store:
    """One open journal file."""

    def __init__(
        self, path: Path, *, max_bytes: int, disk_usage: Callable[[Path], DiskUsage] = shutil.disk_usage
    ) -> None:
        """Open the file or prepare to create it; nothing is read before `prepare`."""
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.text_factory = as_text
        self._max_bytes = max_bytes
        self._disk_usage = disk_usage
        self._granted_bytes = 0  # of events that may be written before room is measured again
        self._refused_bytes = 0  # of the events that found no room
        self._failure: JournalError | None = None
        self._freed_through = 0
        self._kept_through = 0
        self._letters = Kept(0, 0)
        self.damaged_values = 0  # that were found by `kept` and `forced`
        self.room_bytes = 0  # for events
        self._full = ""  # what is full where there is none
        self.used_bytes = 0  # in the file, free pages left out; as last measured

    def prepare(self) -> None:
        """Check the file, or create it; raise sqlite3.DatabaseError where it is corrupt."""
        execute = self._database.execute
        # Ids are random: each one changes another page of their index, and every changed page is
        # logged whole. Pages of half the usual size make commits cheaper, and spare flash.
        execute(f"PRAGMA page_size={_PAGE_BYTES}")
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA journal_size_limit={_MOST_LOG_BYTES}")
        execute("PRAGMA synchronous=FULL")
        # Where it is on, as Debian builds SQLite, freed bodies are logged as zeros: megabytes, which a full
        # disk has no room for.
        execute("PRAGMA secure_delete=OFF")
        execute("PRAGMA mmap_size=0")
        execute("PRAGMA temp_store=MEMORY")
        found = execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        version = self._number("PRAGMA user_version")
        layout.check_layout(self._path, version)
        if not version:
            layout.create(self._database)
        layout.check_schema(self._database)
        self._page_bytes = self._number("PRAGMA page_size")
        newest = self._number("SELECT max(seq) FROM events")
        self.next_seq = 1 + max(newest, self._number("SELECT max(seq) FROM cursors"))
        self._freed_through = (self._number(_FIRST_BODY) or newest + 1) - 1
        self._kept_through = self._number("SELECT seq FROM cursors WHERE sink = ?", layout.KEPT_THROUGH)
        self._letters = letters.count(self._database)
        self._measure_room()

    @property
    def dead_letters(self) -> int:
        """How many there are."""
        return self._letters.number

    def salvage(self, damaged: Store, *, sinks: Iterable[str]) -> Salvaged:
        """Take over what can be read of another store, which could not be prepared."""
        salvaged = salvage(damaged._database, self._database, sinks=sinks)
        self.prepare()
        return salvaged

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self._database.close()

    def commit(self, batch: Batch, *, delivered_through: int) -> Outcome:
        """Write a batch with one fsync. Events that are there already are left out.

        Where there is no room, bodies of events that every sink has and the last values include are freed
        first; if that is not enough, the events are turned away and only the rest is written, which has
        room of its own. Raise sqlite3.Error where nothing could be written.
        """
        rest = Batch([], batch.changes, batch.cursors, batch.damaged)
        error = self._find_room(batch.events, freeable_through=delivered_through)
        if error is not None and rest.has_changes:
            self._write(rest)  # which may be what room waits for
            batch, rest = Batch(batch.events), Batch()
            error = self._find_room(batch.events, freeable_through=delivered_through)
        self._make_changes_room(batch.changes, freeable_through=delivered_through)
        if batch.events and error is None:
            try:
                records = self._write(batch)
            except sqlite3.Error as failure:  # the changes alone are less
                if is_corrupt(failure):
                    raise
                self._failure = JournalError(
                    f"the journal can't commit: {failure}", retry_after_s=COMMIT_RETRY_AFTER_S
                )
            else:
                self._failure = None
                return Outcome(records)
        if rest.has_changes:
            self._write(rest)
        return Outcome((), error or self._failure)

    def prune(self, *, before_ms: int, delivered_through: int) -> bool:
        """Forget events that are both delivered everywhere and older than the retention.

        Not those that the kept values do not include yet: after a long time without power, they are all that
        is known of the last readings.

        Return whether there may be more of them: a limit keeps commits from waiting long.
        """
        through = min(delivered_through, self._kept_through)
        has_more = self._forget(through, limit=_STEP_ROWS, before_ms=before_ms) == _STEP_ROWS
        if not has_more:
            self._prune_notes(before_ms)
            self._measure_room()
            self._failure = None
        return has_more

    def read(self, after: int, limit: int) -> tuple[list[Record], list[DeadLetter]]:
        """Return the next events after `after`, bounded by number and bytes, and the damaged ones there."""
        records: list[Record] = []
        damaged: list[DeadLetter] = []
        size = 0
        rows = self._database.execute(
            "SELECT seq, id_hash, received_ms, body FROM events"
            " WHERE seq > ? AND body IS NOT NULL ORDER BY seq",
            (after,),
        )
        for row in rows:
            seq, stored_hash, received_ms, body = row
            try:
                records.append(Record(seq, event_of(stored_hash, received_ms, body)))
            except EventError as error:
                damaged.append(damaged_letter(*row, reason=str(error)))
            size += len(body)
            if len(records) == limit or (records and size > _READ_BYTES):
                break
        return records, damaged

    def letters(self, numbers: Sequence[int]) -> list[StoredDeadLetter]:
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

    def stored_state(self) -> StoredState:
        """Return what is stored. Where last values are damaged, the newest events are to be mapped again."""
        values, damaged = read_kept(self._database)
        self._give_up(damaged, "kept", StateChanges(last_values={value.point: value for value in values}))
        through = max(0, self._kept_through - _MAPPED_AGAIN) if damaged else self._kept_through
        overrides, damaged = read_forced(self._database)
        self._give_up(damaged, "forced", StateChanges(overrides={each.point: each for each in overrides}))
        return StoredState(
            last_values=values,
            values_through=through,
            overrides=overrides,
            online=read_online(self._database),
            retained=read_retained(self._database),
            assets=assets.read(self._database),
            gaps=gaps.read(self._database),
            alarms=alarms.read(self._database),
        )

    def _give_up(self, damaged: int, table: str, intact: StateChanges) -> None:
        """Count damaged rows of a table, and have it hold the intact ones alone."""
        if damaged:
            self.damaged_values += damaged
            with self._transaction():
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                write_notes(self._database, intact)

    def known_seconds(self, gap: Gap) -> set[int]:
        """Return the Unix seconds in which a reading inside a gap is known already."""
        return gaps.known_seconds(self._database, gap)

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

    def _write(self, batch: Batch) -> tuple[Record, ...]:
        """Write a batch with one fsync; return the events that were new."""
        more = Kept(0, 0)
        changes = batch.changes
        with self._transaction():
            records = self._insert(batch.events)
            if batch.has_changes:
                write_notes(self._database, changes)
                more = self._write_letters(changes)
                if batch.damaged:
                    self._database.execute(_FREE_DAMAGED, (orjson.dumps(batch.damaged).decode(),))
                gaps.write(self._database, changes.gaps, room_bytes=self.room_bytes)
                write_cursors(self._database, batch.cursors)
        self._kept_through = max(self._kept_through, changes.values_through)
        kept = self._letters
        self._letters = Kept(kept.number + more.number, kept.body_bytes + more.body_bytes)
        self._bound_letters()
        if changes.assets is not None:
            assets.keep(self._database, changes.assets, room_bytes=self.room_bytes)
        return records

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
        records = enumerate(events, first)
        if self._database.total_changes - before == len(events):
            return tuple(Record(seq, event) for seq, event in records)
        new = {row[0] for row in self._database.execute("SELECT seq FROM events WHERE seq >= ?", (first,))}
        return tuple(Record(seq, event) for seq, event in records if seq in new)

    def _write_letters(self, changes: StateChanges) -> Kept:
        """Write letters, with bodies as far as the journal has room; return by how much there is more."""
        room_bytes = max(0, min(self._max_bytes // _LETTERS_SHARE, self.room_bytes))
        return letters.update(
            self._database,
            new=changes.dead_letters,
            settled=changes.removed_dead_letters,
            room_bytes=room_bytes,
        )

    def _bound_letters(self) -> None:
        """Have no more letters and copies than may be; some less, so that it is not done each time."""
        most_bytes = self._max_bytes // _LETTERS_SHARE
        if self._letters.number <= _MOST_LETTERS and self._letters.body_bytes <= most_bytes:
            return
        with suppress(sqlite3.Error), self._transaction():  # what was to be committed is; pruning comes again
            self._letters = letters.prune(self._database, body_bytes=most_bytes - most_bytes // 8)

    def _find_room(self, events: Sequence[Event], *, freeable_through: int) -> JournalError | None:
        """Return why events must be turned away, None where there is room for them.

        Room is measured again only after some bytes were written, or while events are turned away.
        """
        size_bytes = sum(len(event.body) + _ROW_OVERHEAD_BYTES for event in events)
        self._granted_bytes -= size_bytes
        if self._granted_bytes >= 0 and not self._refused_bytes:
            return None
        least_bytes = min(_CHECK_EVERY_BYTES, self._max_bytes // 16)
        needed_bytes = max(size_bytes or self._refused_bytes, least_bytes)
        self._make_room(needed_bytes, freeable_through=freeable_through)
        if needed_bytes <= self.room_bytes:
            self._granted_bytes = least_bytes - size_bytes
            self._refused_bytes = 0
            return None
        self._refused_bytes = min(needed_bytes, _MOST_REFUSED_BYTES)
        return JournalError(f"the {self._full} is full", retry_after_s=FULL_RETRY_AFTER_S)

    def _make_changes_room(self, changes: StateChanges, *, freeable_through: int) -> None:
        """Make room for what may be large; all other changes have room of their own."""
        if changes.dead_letters or changes.gaps or changes.assets is not None:
            needed_bytes = min(_NOTES_BYTES, self._max_bytes // _LETTERS_SHARE)
            self._make_room(needed_bytes, freeable_through=freeable_through)

    def _make_room(self, needed_bytes: int, *, freeable_through: int) -> None:
        """Measure the room, and free what every sink has and the kept values include until it is enough."""
        through = min(freeable_through, self._kept_through)
        self._measure_room()
        while self.room_bytes < needed_bytes and (self._free_bodies(through) or self._forget_ids()):
            self._measure_room()

    def _measure_room(self) -> None:
        """Find how many bytes of events there is room for: within `max_bytes`, and on the disk.

        Free pages are in the file already. On the disk, whatever is written goes into the write-ahead log
        first and into the file later, as what is in the log alone still has to; and a reserve stays free.
        """
        pages, free_pages = self._number("PRAGMA page_count"), self._number("PRAGMA freelist_count")
        self.used_bytes = (pages - free_pages) * self._page_bytes
        self.room_bytes, self._full = self._max_bytes - self.used_bytes, "journal"
        disk = self._disk_usage(self._path.parent)
        if disk.total:
            to_come_bytes = max(0, pages * self._page_bytes - self._path.stat().st_size)
            free_bytes = disk.free - disk_reserve(disk.total) - to_come_bytes + free_pages * self._page_bytes
            if free_bytes // 2 < self.room_bytes:
                self.room_bytes, self._full = free_bytes // 2, "disk of the journal"

    def _free_bodies(self, through: int) -> bool:
        """Free bodies of events up to `through`, oldest first; their ids stay, to recognise duplicates."""
        last = self._number(_LAST_TO_FREE, self._freed_through, through, _STEP_ROWS)
        if not last:
            return False
        with self._transaction():
            for statement in _FREE:
                self._database.execute(statement, {"after": self._freed_through, "last": last})
        self._freed_through = last
        return True

    def _forget_ids(self) -> bool:
        """Forget the oldest ids of freed events, where they have more than their share of the room."""
        ids = 1 + self._freed_through - self._number("SELECT min(seq) FROM events")
        most = (self.used_bytes + self.room_bytes) // (_IDS_SHARE * _ID_BYTES)
        return ids > most and bool(self._forget(self._freed_through, limit=min(_STEP_ROWS, ids - most)))

    def _forget(self, through: int, *, limit: int, before_ms: int = _EVER_MS) -> int:
        """Forget events up to `through`, ids and all, the oldest first; return how many."""
        with self._transaction():
            forgotten = self._database.execute(_FORGET, (through, limit, before_ms)).rowcount
            if forgotten:
                write_cursors(self._database, {layout.NUMBERED: self.next_seq - 1})
        return forgotten

    def _prune_notes(self, before_ms: int) -> None:
        """Forget dead letters, overrides and unmapped assets that are old or too many."""
        with self._transaction():
            kept = letters.prune(self._database, body_bytes=self._max_bytes // _LETTERS_SHARE)
            self._database.execute("DELETE FROM forced WHERE until_ms < ?", (before_ms,))
            self._database.execute(
                "DELETE FROM unmapped WHERE asset NOT IN"
                " (SELECT asset FROM unmapped ORDER BY last_ms DESC LIMIT ?)",
                (_MOST_UNMAPPED,),
            )
        self._letters = kept
