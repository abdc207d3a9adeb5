"""The journal's SQLite file: checked, committed, read, pruned. Blocking; for one thread at a time."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from gateway.errors import GatewayError, JournalError
from gateway.journal import dead_letter_table, event_table, state_tables
from gateway.journal.dead_letter_table import MOST_DEAD_LETTERS, DeadLetterCount
from gateway.journal.state_tables import NUMBERS_CURSOR, VALUES_CURSOR, write_cursors
from gateway.records import StateChanges, StoredState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import Event, Record

LAYOUT = 1
_SCHEMA = event_table.SCHEMA + state_tables.SCHEMA + dead_letter_table.SCHEMA
_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes
_PAGE_BYTES = 2048
_MOST_WAL_BYTES = 4 << 20  # of the write-ahead log, once it is in the file

_FIRST_BODY = "SELECT seq FROM events WHERE body IS NOT NULL ORDER BY seq LIMIT 1"
_CHECK_EVERY_BYTES = 64 << 10
_MOST_REFUSED_BYTES = 1 << 20  # that there must be room for before it is reported that there is
_ROW_OVERHEAD_BYTES = 150
_ID_BYTES = 80  # of an event without its body
_IDS_SHARE = 4  # ids of freed events get at most a fourth of the room that events need
_STEP_ROWS = 1_000  # each changes a page of the ids' index, which the disk's reserve must have room for
_COPIES_SHARE = 4  # bodies of dead letters get at most a fourth of the journal
_DEAD_LETTERS_MARGIN = 1_000  # so many more between two prunings
_LARGE_CHANGES_BYTES = 4 << 20  # room to make before dead letters, gaps or assets are written
_MAPPED_AGAIN = 100_000  # events at most, a few seconds' work, if last values are damaged
_RESERVE_BYTES = 16 << 20
_RESERVE_SHARE = 4  # of a small disk, the reserve is a fourth
FULL_RETRY_AFTER_S = 60
COMMIT_RETRY_AFTER_S = 10


class DiskUsage(Protocol):
    """What `shutil.disk_usage` returns, in bytes."""

    @property
    def total(self) -> int:
        """The size of the file system, 0 if it does not say."""

    @property
    def free(self) -> int:
        """What this process may still write."""


def disk_reserve(total_bytes: int) -> int:
    """Return how much of a disk stays free of events, so that cursors and values can always be written."""
    return min(_RESERVE_BYTES, total_bytes // _RESERVE_SHARE)


def is_corrupt(error: Exception) -> bool:
    """Return whether SQLite found that its file is corrupt or no database."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def primary_code(error: Exception) -> int:
    """Return SQLite's code of an error without what extends it."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)) & _PRIMARY_CODE


def create_tables(database: sqlite3.Connection) -> None:
    """Create the tables in an empty database, all or none."""
    database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={LAYOUT};COMMIT;")


def check_layout(path: Path, layout: int) -> None:
    """Raise GatewayError if a newer gateway wrote the file."""
    if layout > LAYOUT:
        raise GatewayError(
            f"{path}: written by a newer gateway (layout {layout}, this one knows {LAYOUT}); install that"
            " version again"
        )


@dataclass(slots=True)
class CommitBatch:
    """What one commit writes: events, changes of state, moved cursors, and numbers of damaged events."""

    events: list[Event] = field(default_factory=list)
    changes: StateChanges = field(default_factory=StateChanges)
    cursors: dict[str, int] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to write beside events."""
        return bool(self.cursors or self.changes or self.damaged)

    def add_changes(self, later: CommitBatch) -> None:
        """Add everything of a later batch but its events."""
        self.changes.add(later.changes)
        self.cursors.update(later.cursors)
        self.damaged.extend(later.damaged)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The events of a commit that were new, and why events were refused, if they were."""

    records: tuple[Record, ...]
    error: JournalError | None = None


class JournalFile:
    """One open journal file."""

    def __init__(
        self, path: Path, *, max_bytes: int, disk_usage: Callable[[Path], DiskUsage] = shutil.disk_usage
    ) -> None:
        """Open the file or prepare to create it; nothing is read before `prepare`."""
        self.path = path
        self.database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.database.text_factory = state_tables.as_text
        self._max_bytes = max_bytes
        self._disk_usage = disk_usage
        self._granted_bytes = 0  # of events that may be written before room is measured again
        self._refused_bytes = 0  # of the events that found no room
        self._failure: JournalError | None = None  # of the last commit of events
        self._freed_through = 0
        self._values_through = 0
        self._dead_letters = DeadLetterCount(0, 0)
        self.damaged_values = 0
        """How many last values and overrides `stored_state` found damaged."""
        self.room_bytes = 0
        """The room for events, as last measured."""
        self.used_bytes = 0
        """The size of the file without its free pages, as last measured."""
        self._full = ""  # what is full if there is no room

    def prepare(self) -> None:
        """Check the file, or create it; raise sqlite3.DatabaseError if it is corrupt."""
        execute = self.database.execute
        # Ids are random: each one changes another page of their index, and every changed page is logged
        # whole. Pages of half the usual size make commits cheaper, and spare flash memory.
        execute(f"PRAGMA page_size={_PAGE_BYTES}")
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA journal_size_limit={_MOST_WAL_BYTES}")
        execute("PRAGMA synchronous=FULL")
        # If it is on, as in Debian's SQLite, freed bodies are logged as zeros: megabytes, for which a full
        # disk has no room.
        execute("PRAGMA secure_delete=OFF")
        execute("PRAGMA mmap_size=0")
        execute("PRAGMA temp_store=MEMORY")
        found = execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        layout = self._number("PRAGMA user_version")
        check_layout(self.path, layout)
        if not layout:
            create_tables(self.database)
        _check_schema(self.database)
        self._page_bytes = self._number("PRAGMA page_size")
        newest = self._number("SELECT max(seq) FROM events")
        self.next_seq = 1 + max(newest, self._number("SELECT max(seq) FROM cursors"))
        self._freed_through = (self._number(_FIRST_BODY) or newest + 1) - 1
        self._values_through = self._number("SELECT seq FROM cursors WHERE sink = ?", VALUES_CURSOR)
        self._dead_letters = dead_letter_table.count_dead_letters(self.database)
        self._measure_room()

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        self.database.close()

    @property
    def dead_letters(self) -> int:
        """How many dead letters are stored."""
        return self._dead_letters.number

    def stored_state(self) -> StoredState:
        """Return what is stored. If last values are damaged, the newest events are to be mapped again."""
        values, damaged = state_tables.read_last_values(self.database)
        self._repair("last_values", damaged, StateChanges(last_values={each.point: each for each in values}))
        through = max(0, self._values_through - _MAPPED_AGAIN) if damaged else self._values_through
        overrides, damaged = state_tables.read_overrides(self.database)
        self._repair("overrides", damaged, StateChanges(overrides={each.point: each for each in overrides}))
        return StoredState(
            last_values=values,
            values_through=through,
            overrides=overrides,
            online=state_tables.read_online(self.database),
            retained=state_tables.read_retained(self.database),
            assets=state_tables.read_assets(self.database),
            gaps=state_tables.read_gaps(self.database),
            alarms=state_tables.read_alarms(self.database),
        )

    def cursors(self) -> dict[str, int]:
        """Return the cursor of each sink."""
        query = "SELECT sink, seq FROM cursors WHERE sink NOT LIKE '$%'"
        return dict(self.database.execute(query))

    def replace_cursors(self, cursors: Mapping[str, int]) -> None:
        """Store the cursors of these sinks and no others: a sink that is gone holds no events back."""
        with self._transaction():
            self.database.execute("DELETE FROM cursors WHERE sink NOT LIKE '$%'")
            write_cursors(self.database, cursors)

    def commit(self, batch: CommitBatch, *, delivered_through: int) -> CommitResult:
        """Write a batch with one fsync, without events that are stored already.

        If there is no room, the bodies of events that every sink has and the last values include are freed
        first. If that is not enough, the events are refused and only the changes are written, which have room
        of their own. Raise sqlite3.Error if nothing could be written.
        """
        error = self._find_room(batch.events, freeable_through=delivered_through)
        if error is not None and batch.has_changes:
            self._write(replace(batch, events=[]))  # which may be what makes room
            batch = CommitBatch(batch.events)
            error = self._find_room(batch.events, freeable_through=delivered_through)
        self._make_room_for_changes(batch.changes, freeable_through=delivered_through)
        if batch.events and error is None:
            try:
                records = self._write(batch)
            except sqlite3.Error as failure:  # the changes alone are less
                if is_corrupt(failure):
                    raise
                reason = f"the journal can't commit: {failure}"
                self._failure = JournalError(reason, retry_after_s=COMMIT_RETRY_AFTER_S)
            else:
                self._failure = None
                return CommitResult(records)
        if batch.has_changes:
            self._write(replace(batch, events=[]))
        return CommitResult((), error or self._failure)

    def prune(self, *, before_ms: int, delivered_through: int) -> bool:
        """Forget events that are older than the retention, delivered everywhere and in the last values.

        After a long time without power, the others are all that is known of the last readings. Return whether
        there may be more to forget: steps of limited size delay no commit for long.
        """
        through = min(delivered_through, self._values_through)
        if self._forget(through, limit=_STEP_ROWS, before_ms=before_ms) == _STEP_ROWS:
            return True
        with self._transaction():
            self._dead_letters = dead_letter_table.prune_dead_letters(
                self.database, copies_bytes=self._max_bytes // _COPIES_SHARE
            )
            state_tables.prune_state(self.database, before_ms=before_ms)
        self._measure_room()
        self._failure = None
        return False

    def _number(self, query: str, *parameters: str | int) -> int:
        row = self.database.execute(query, parameters).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.database.execute("COMMIT")
        except BaseException:
            if self.database.in_transaction:
                self.database.execute("ROLLBACK")
            raise

    def _write(self, batch: CommitBatch) -> tuple[Record, ...]:
        """Write a batch with one fsync; return the events that were new."""
        added = DeadLetterCount(0, 0)
        changes = batch.changes
        with self._transaction():
            first = self.next_seq
            self.next_seq += len(batch.events)
            records = event_table.insert_events(self.database, batch.events, first=first)
            if batch.has_changes:
                state_tables.write_changes(self.database, changes, room_bytes=self.room_bytes)
                added = dead_letter_table.write_dead_letters(
                    self.database,
                    changes.dead_letters,
                    removed=changes.removed_dead_letters,
                    room_bytes=max(0, min(self._max_bytes // _COPIES_SHARE, self.room_bytes)),
                )
                event_table.free_single_bodies(self.database, batch.damaged)
                write_cursors(self.database, batch.cursors)
        self._values_through = max(self._values_through, changes.values_through)
        before = self._dead_letters
        self._dead_letters = DeadLetterCount(
            before.number + added.number, before.copies_bytes + added.copies_bytes
        )
        self._limit_dead_letters()
        if changes.assets is not None:
            state_tables.write_assets(self.database, changes.assets, room_bytes=self.room_bytes)
        return records

    def _limit_dead_letters(self) -> None:
        """Prune dead letters beyond their limits; below them, so that it is not done at each commit."""
        most_bytes = self._max_bytes // _COPIES_SHARE
        number, copies_bytes = self._dead_letters
        if number <= MOST_DEAD_LETTERS + _DEAD_LETTERS_MARGIN and copies_bytes <= most_bytes:
            return
        with suppress(sqlite3.Error), self._transaction():  # the commit is done, and pruning comes again
            self._dead_letters = dead_letter_table.prune_dead_letters(
                self.database, copies_bytes=most_bytes - most_bytes // 8
            )

    def _repair(self, table: str, damaged: int, intact: StateChanges) -> None:
        """Count damaged rows of a table, and replace its content by the intact ones."""
        if damaged:
            self.damaged_values += damaged
            with self._transaction():
                self.database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
                state_tables.write_changes(self.database, intact, room_bytes=0)

    # Room: within `max_bytes`, and on the disk.

    def _find_room(self, events: Sequence[Event], *, freeable_through: int) -> JournalError | None:
        """Return why events must be refused, None if there is room for them.

        Room is measured again only after some bytes were written, or while events are refused.
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

    def _make_room_for_changes(self, changes: StateChanges, *, freeable_through: int) -> None:
        """Make room for changes that may be large; all others have room of their own."""
        if changes.dead_letters or changes.gaps or changes.assets is not None:
            needed_bytes = min(_LARGE_CHANGES_BYTES, self._max_bytes // _COPIES_SHARE)
            self._make_room(needed_bytes, freeable_through=freeable_through)

    def _make_room(self, needed_bytes: int, *, freeable_through: int) -> None:
        """Measure the room, and free what every sink has and the last values include until it is enough."""
        through = min(freeable_through, self._values_through)
        self._measure_room()
        while self.room_bytes < needed_bytes and (self._free_bodies(through) or self._forget_ids()):
            self._measure_room()

    def _measure_room(self) -> None:
        """Measure how many bytes of events there is room for.

        Free pages are in the file already. On the disk, everything is written to the write-ahead log first
        and to the file later, also what is only in the log so far; and a reserve stays free.
        """
        pages, free_pages = self._number("PRAGMA page_count"), self._number("PRAGMA freelist_count")
        self.used_bytes = (pages - free_pages) * self._page_bytes
        self.room_bytes, self._full = self._max_bytes - self.used_bytes, "journal"
        disk = self._disk_usage(self.path.parent)
        if disk.total:
            to_come_bytes = max(0, pages * self._page_bytes - self.path.stat().st_size)
            free_bytes = disk.free - disk_reserve(disk.total) - to_come_bytes + free_pages * self._page_bytes
            if free_bytes // 2 < self.room_bytes:
                self.room_bytes, self._full = free_bytes // 2, "disk of the journal"

    def _free_bodies(self, through: int) -> bool:
        """Free the oldest bodies up to `through`; return whether there were any."""
        with self._transaction():
            last = event_table.free_bodies(
                self.database, after=self._freed_through, through=through, limit=_STEP_ROWS
            )
        self._freed_through = max(self._freed_through, last)
        return bool(last)

    def _forget_ids(self) -> bool:
        """Forget the oldest ids of freed events if they have more than their share of the room."""
        ids = 1 + self._freed_through - self._number("SELECT min(seq) FROM events")
        most = (self.used_bytes + self.room_bytes) // (_IDS_SHARE * _ID_BYTES)
        return ids > most and bool(self._forget(self._freed_through, limit=min(_STEP_ROWS, ids - most)))

    def _forget(self, through: int, *, limit: int, before_ms: int | None = None) -> int:
        """Forget the oldest events up to `through`, ids too; return how many."""
        with self._transaction():
            forgotten = event_table.forget_events(
                self.database, through=through, limit=limit, before_ms=before_ms
            )
            if forgotten:
                write_cursors(self.database, {NUMBERS_CURSOR: self.next_seq - 1})
        return forgotten


def _check_schema(database: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if the description of the tables is damaged."""
    with closing(sqlite3.connect(":memory:")) as new:
        create_tables(new)
        query = (
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        if database.execute(query).fetchall() != new.execute(query).fetchall():
            raise sqlite3.DatabaseError("the description of the tables is damaged")
