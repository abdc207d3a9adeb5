"""The journal's open SQLite file: commits, events, room, pruning. Blocking; for the writer thread.

An event's id is stored as a hash. It recognises a duplicate, is short however long the id is, and stays when
the body, which has the id itself, is freed.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from shutil import disk_usage
from typing import TYPE_CHECKING

import orjson
import structlog

from gateway.errors import EventError, GatewayError, JournalError
from gateway.events import keep_apart, parse_event
from gateway.journal import state_tables
from gateway.journal.database import (
    DAMAGED_ADVICE,
    NUMBERS_CURSOR,
    SINK_CURSORS,
    VALUES_CURSOR,
    connect,
    is_corrupt,
    lock_journal,
    open_database,
)
from gateway.journal.state_tables import MOST_DEAD_LETTERS, READ_BYTES, origin_of, write_cursors
from gateway.model import Record
from gateway.records import DeadLetter, StateChanges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.model import Event

log = structlog.get_logger()

FULL_RETRY_AFTER_S = 60
COMMIT_RETRY_AFTER_S = 10

_HASH_BYTES = 16
_CHECK_EVERY_BYTES = 64 << 10
_MOST_REFUSED_BYTES = 1 << 20  # that there must be room for before it is reported that there is
_ROW_OVERHEAD_BYTES = 150
_ID_BYTES = 80  # of an event without its body
_IDS_SHARE = 4  # ids of freed events get at most a fourth of the room that events need
_STEP_ROWS = 1_000  # each changes a page of the ids' index, which the disk's reserve must have room for
_COPIES_SHARE = 4  # bodies of dead letters get at most a fourth of the journal
_LETTERS_MARGIN = 1_000  # so many more before all dead letters are counted and limited again
_COPIES_MARGIN = 8  # likewise an eighth of the copies' share
_LARGE_CHANGES_BYTES = 4 << 20  # room to make before dead letters, gaps or assets are written
_FULL_BYTES = 64 << 10  # less is not enough to open the file
_RESERVE_BYTES = 16 << 20
_RESERVE_SHARE = 4  # of a small disk, the reserve is a fourth
_EVER_MS = 1 << 62
_NO_ORIGIN = (None, None)
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]+)"')  # in a damaged body

# Each statement releases the interpreter lock and must get it back from the busy event loop. So rows are
# inserted many to a statement; powers of two keep the number of statements small.
_INSERTS = tuple(
    (size, f"INSERT OR IGNORE INTO events VALUES {','.join(['(?,?,?,?,?,?)'] * size)}")  # noqa: S608 - placeholders only
    for size in (64, 32, 16, 8, 4, 2, 1)
)
_READ = """SELECT seq, id_hash, received_ms, body, origin, origin_ms FROM events
  WHERE seq > ? AND body IS NOT NULL ORDER BY seq"""
_LAST_TO_FREE = """SELECT max(seq) FROM (
  SELECT seq FROM events WHERE seq > ? AND seq <= ? AND body IS NOT NULL ORDER BY seq LIMIT ?)"""
# Deleted and inserted again: rows that shrink in place leave their pages half empty.
_FREE = (
    """CREATE TEMP TABLE slim AS SELECT seq, id_hash, received_ms, NULL, origin, origin_ms
      FROM events WHERE seq > :after AND seq <= :last""",
    "DELETE FROM events WHERE seq > :after AND seq <= :last",
    "INSERT INTO events SELECT * FROM slim",
    "DROP TABLE slim",
)
_FREE_SINGLE = "UPDATE events SET body = NULL WHERE seq IN (SELECT value FROM json_each(?))"
_FORGET = """DELETE FROM events WHERE seq IN (SELECT seq FROM (
  SELECT seq, received_ms FROM events WHERE seq <= ? ORDER BY seq LIMIT ?) WHERE received_ms < ?)"""
_FIRST_BODY = "SELECT seq FROM events WHERE body IS NOT NULL ORDER BY seq LIMIT 1"


def disk_reserve(total_bytes: int) -> int:
    """Return how much of a disk stays free of events, so that cursors and values can always be written."""
    return min(_RESERVE_BYTES, total_bytes // _RESERVE_SHARE)


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

    def replace_changes(self, other: CommitBatch) -> None:
        """Write what the other batch has, but for its events."""
        self.changes, self.cursors, self.damaged = other.changes, other.cursors, other.damaged


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The events of a commit that were new; why events were refused, if they were; `failed`: all of it."""

    records: tuple[Record, ...] = ()
    error: JournalError | None = None
    failed: bool = False


@contextmanager
def open_journal_file(
    path: Path, *, sinks: Sequence[str], max_bytes: int, now_ms: int
) -> Iterator[JournalFile]:
    """Yield the file for the only gateway that uses it; what is corrupt was replaced, see `open_database`."""
    with lock_journal(path), ExitStack() as connections:
        try:
            opened = open_database(path, sinks=sinks, now_ms=now_ms)
            database, damage = connections.enter_context(opened)
            reader = connections.enter_context(closing(connect(path)))
            file = JournalFile(path, database, reader, damage=damage, max_bytes=max_bytes)
            file.choose_cursors(sinks)
        except sqlite3.Error as error:
            is_full = disk_usage(path.parent).free < _FULL_BYTES
            advice = "; its disk is full, make room there" if is_full else ""
            raise GatewayError(f"{path}: the journal can't be opened: {error}{advice}") from error
        yield file


class JournalFile:
    """Commits batches, makes room for them and forgets what is old.

    `stored` is the state as of now, `damage` what of it is lost, in words for the user (None: nothing).
    `reader` is a second connection, to read at the same time.
    """

    def __init__(
        self,
        path: Path,
        database: sqlite3.Connection,
        reader: sqlite3.Connection,
        *,
        damage: str | None,
        max_bytes: int,
    ) -> None:
        """Find out what is stored in a checked database."""
        self._path = path
        self._database = database
        self.reader = reader
        self._max_bytes = max_bytes
        self._granted_bytes = 0  # of events that may be written before room is measured again
        self._refused_bytes = 0  # of the events that found no room
        self._failure: JournalError | None = None  # of the last commit of events
        self._full = ""  # what is full if there is no room
        self.stored, lost = state_tables.read_state(database)
        self.damage = damage
        if lost and not damage:
            self.damage = (
                f"{lost} of its last values cannot be read; the newest events were read again instead."
                f" {DAMAGED_ADVICE}"
            )
        newest = self._number("SELECT max(seq) FROM events")
        self.next_seq = 1 + max(newest, self._number("SELECT max(seq) FROM cursors"))
        self._freed_through = (self._number(_FIRST_BODY) or newest + 1) - 1
        self._values_through = self._number("SELECT seq FROM cursors WHERE sink = ?", VALUES_CURSOR)
        self.dead_letters = state_tables.count_dead_letters(database)
        self._new_copies_bytes = 0  # of dead letters, since they were limited last
        self._measure_room()

    def choose_cursors(self, sinks: Sequence[str]) -> None:
        """Set `cursors`, durable from now on: a new sink gets everything that comes after it.

        A sink that is gone holds no events back.
        """
        known = dict(self._database.execute(SINK_CURSORS))
        for gone in known.keys() - set(sinks):
            reason = "it is no longer configured"
            log.info("journal.sink_forgotten", sink=gone, cursor=known[gone], reason=reason)
        self.cursors: dict[str, int] = {sink: known.get(sink, self.next_seq - 1) for sink in sinks}
        if self.cursors != known:
            with self._transaction():
                self._database.execute("DELETE FROM cursors WHERE sink NOT LIKE '$%'")
                write_cursors(self._database, self.cursors)

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
        changes = batch.changes
        if changes.dead_letters or changes.gaps or changes.assets is not None:  # may be large
            needed_bytes = min(_LARGE_CHANGES_BYTES, self._max_bytes // _COPIES_SHARE)
            self._make_room(needed_bytes, freeable_through=delivered_through)
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
        return CommitResult(error=error or self._failure)

    def prune(self, *, before_ms: int, delivered_through: int) -> bool:
        """Forget events that are older than the retention, delivered everywhere and in the last values.

        After a long time without power, the others are all that is known of the last readings. Return whether
        there may be more to forget: steps of limited size delay no commit for long.
        """
        through = min(delivered_through, self._values_through)
        if self._forget(through, limit=_STEP_ROWS, before_ms=before_ms) == _STEP_ROWS:
            return True
        with self._transaction():
            state_tables.prune_state(self._database, before_ms=before_ms)
        self._limit_dead_letters()
        self._measure_room()
        self._failure = None
        return False

    def _number(self, query: str, *parameters: str | int) -> int:
        row = self._database.execute(query, parameters).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._database:  # commits, or rolls back
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def _write(self, batch: CommitBatch) -> tuple[Record, ...]:
        """Write a batch with one fsync; return the events that were new."""
        changes = batch.changes
        more = more_bytes = 0
        with self._transaction():
            first = self.next_seq
            self.next_seq += len(batch.events)
            records = _insert_events(self._database, batch.events, first=first)
            if changes:
                state_tables.write_changes(self._database, changes, room_bytes=self.room_bytes)
                if changes.dead_letters or changes.removed_dead_letters:
                    more, more_bytes = state_tables.write_dead_letters(
                        self._database,
                        changes.dead_letters,
                        removed=changes.removed_dead_letters,
                        room_bytes=min(self.room_bytes, self._max_bytes // _COPIES_SHARE),
                    )
            if batch.damaged:
                self._database.execute(_FREE_SINGLE, (orjson.dumps(batch.damaged).decode(),))
            if batch.cursors:
                write_cursors(self._database, batch.cursors)
        self._values_through = max(self._values_through, changes.values_through)
        self.dead_letters += more
        self._new_copies_bytes += more_bytes
        most_bytes = self._max_bytes // _COPIES_SHARE // _COPIES_MARGIN
        if self.dead_letters > MOST_DEAD_LETTERS + _LETTERS_MARGIN or self._new_copies_bytes > most_bytes:
            with suppress(sqlite3.Error):  # the commit is done, and pruning limits them again
                self._limit_dead_letters()
        if changes.assets is not None:
            state_tables.write_assets(self._database, changes.assets, room_bytes=self.room_bytes)
        return records

    def _limit_dead_letters(self) -> None:
        with self._transaction():
            self.dead_letters = state_tables.limit_dead_letters(
                self._database, most_bytes=self._max_bytes // _COPIES_SHARE
            )
        self._new_copies_bytes = 0

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

    def _make_room(self, needed_bytes: int, *, freeable_through: int) -> None:
        """Measure the room, and free what every sink has and the last values include until it is enough."""
        through = min(freeable_through, self._values_through)
        self._measure_room()
        while self.room_bytes < needed_bytes and (self._free_bodies(through) or self._forget_ids()):
            self._measure_room()

    def _measure_room(self) -> None:
        """Measure `used_bytes`, the file without its free pages, and `room_bytes`, the room for events.

        Free pages are in the file already. On the disk, everything is written to the write-ahead log first
        and to the file later, also what is only in the log so far; and a reserve stays free.
        """
        page_bytes, pages = self._number("PRAGMA page_size"), self._number("PRAGMA page_count")
        free_pages = self._number("PRAGMA freelist_count")
        self.used_bytes = (pages - free_pages) * page_bytes
        self.room_bytes, self._full = self._max_bytes - self.used_bytes, "journal"
        disk = disk_usage(self._path.parent)
        if disk.total:
            to_come_bytes = max(0, pages * page_bytes - self._path.stat().st_size)
            free_bytes = disk.free - disk_reserve(disk.total) - to_come_bytes + free_pages * page_bytes
            if free_bytes // 2 < self.room_bytes:
                self.room_bytes, self._full = free_bytes // 2, "disk of the journal"

    def _free_bodies(self, through: int) -> bool:
        """Free the oldest bodies up to `through`, but not their ids; return whether there were any."""
        after = self._freed_through
        with self._transaction():
            last = self._number(_LAST_TO_FREE, after, through, _STEP_ROWS)
            for statement in _FREE if last else ():
                self._database.execute(statement, {"after": after, "last": last})
        self._freed_through = max(after, last)
        return bool(last)

    def _forget_ids(self) -> bool:
        """Forget the oldest ids of freed events if they have more than their share of the room."""
        ids = 1 + self._freed_through - self._number("SELECT min(seq) FROM events")
        most = (self.used_bytes + self.room_bytes) // (_IDS_SHARE * _ID_BYTES)
        return ids > most and bool(self._forget(self._freed_through, limit=min(_STEP_ROWS, ids - most)))

    def _forget(self, through: int, *, limit: int, before_ms: int = _EVER_MS) -> int:
        """Forget the oldest events up to `through`, ids too; return how many."""
        with self._transaction():
            forgotten = self._database.execute(_FORGET, (through, limit, before_ms)).rowcount
            if forgotten:
                write_cursors(self._database, {NUMBERS_CURSOR: self.next_seq - 1})
        return forgotten


def id_hash(event_id: str) -> bytes:
    """Return what is stored of an event's id."""
    return blake2b(event_id.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


def read_events(
    database: sqlite3.Connection, after: int, limit: int
) -> tuple[list[Record], list[DeadLetter]]:
    """Return the next events, and dead letters for damaged ones; limited in number and bytes."""
    records: list[Record] = []
    damaged: list[DeadLetter] = []
    size_bytes = 0
    for seq, stored_hash, received_ms, body, *origin in database.execute(_READ, (after,)):
        try:
            records.append(Record(seq, decode_event(stored_hash, received_ms, body, *origin)))
        except EventError as error:
            reason = f"damaged in the journal: {error}"
            ids = [found.decode(errors="replace") for found in _ID.findall(body)]
            event_id = next((found for found in ids if id_hash(found) == stored_hash), "")
            damaged.append(DeadLetter("", seq, event_id, "", reason, received_ms, body))
        size_bytes += len(body)
        if len(records) == limit or (records and size_bytes > READ_BYTES):
            break
    return records, damaged


def decode_event(
    stored_hash: bytes, received_ms: int, body: bytes, origin: str | None, origin_ms: int | None
) -> Event:
    """Return the event of a row; raise EventError if the row is damaged."""
    event = parse_event(body, received_ms=received_ms, origin=origin_of(origin, origin_ms))
    if id_hash(event.event_id) != stored_hash:
        keep_apart(event)
        if id_hash(event.event_id) != stored_hash:
            raise EventError("its id is not the one that was received")
    return event


def _insert_events(
    database: sqlite3.Connection, events: Sequence[Event], *, first: int
) -> tuple[Record, ...]:
    """Insert events under the numbers from `first` on; return the new ones, without duplicates."""
    before = database.total_changes
    done = 0
    for size, statement in _INSERTS:
        while len(events) - done >= size:
            rows = (
                (seq, id_hash(event.event_id), event.received_ms, event.body, *(event.origin or _NO_ORIGIN))
                for seq, event in enumerate(events[done : done + size], first + done)
            )
            database.execute(statement, tuple(chain.from_iterable(rows)))
            done += size
    records = enumerate(events, first)
    if database.total_changes - before == len(events):
        return tuple(Record(seq, event) for seq, event in records)
    new = {row[0] for row in database.execute("SELECT seq FROM events WHERE seq >= ?", (first,))}
    return tuple(Record(seq, event) for seq, event in records if seq in new)
