"""The journal's SQLite database: its tables, how it is opened, and what is copied out of a corrupt one.

Blocking. A copy goes row by row, since SQLite reads past a broken page only when asked for what comes after
it: from both ends of a table, and where rows have numbers, from ever higher numbers on.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import structlog

from gateway.config.private_files import sync_folder
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = structlog.get_logger()

LAYOUT = 2
# AUTOINCREMENT: the number of a dead letter is never used again, so that nobody who asks for it gets a newer
# one.
_EVENTS = "seq INTEGER PRIMARY KEY, id_hash BLOB NOT NULL UNIQUE, received_ms INTEGER NOT NULL, body BLOB"
_ORIGIN = "origin TEXT", "origin_ms INTEGER"  # since layout 2; NULL: received by the gateway's own intake
_SCHEMA = f"""
CREATE TABLE events(
  {_EVENTS}, {", ".join(_ORIGIN)}) STRICT;
CREATE TABLE cursors(sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE last_values(
  point TEXT PRIMARY KEY, asset TEXT NOT NULL, source TEXT NOT NULL, raw TEXT NOT NULL,
  last_good TEXT NOT NULL, time_ms INTEGER NOT NULL, seq INTEGER NOT NULL, event_id TEXT,
  raw_unit TEXT, last_good_unit TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE overrides(
  point TEXT PRIMARY KEY, value TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE online(
  asset TEXT PRIMARY KEY, online INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE retained(
  sink TEXT NOT NULL, topic TEXT NOT NULL, has_value INTEGER NOT NULL, PRIMARY KEY(sink, topic))
  STRICT, WITHOUT ROWID;
CREATE TABLE unmapped_assets(
  asset TEXT PRIMARY KEY, events INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  keys TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE assets(
  id INTEGER PRIMARY KEY CHECK (id = 1), at_ms INTEGER NOT NULL, snapshot TEXT NOT NULL) STRICT;
CREATE TABLE gaps(
  asset TEXT NOT NULL, key TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER,
  known_s TEXT NOT NULL, PRIMARY KEY(asset, key, since_ms)) STRICT, WITHOUT ROWID;
CREATE TABLE alarms(
  name TEXT NOT NULL, reason TEXT NOT NULL, since_ms INTEGER NOT NULL, latched INTEGER NOT NULL,
  cleared_ms INTEGER, acknowledged_ms INTEGER, acknowledged_by TEXT, PRIMARY KEY(name, since_ms))
  STRICT, WITHOUT ROWID;
CREATE TABLE dead_letters(
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, sink TEXT NOT NULL, seq INTEGER NOT NULL,
  event_id TEXT NOT NULL, point TEXT NOT NULL, reason TEXT NOT NULL, body BLOB) STRICT;
"""
# Names in `cursors` that no sink can have.
VALUES_CURSOR = "$values"  # the event up to which last values are saved
NUMBERS_CURSOR = "$numbers"  # the last number used, after its event was forgotten
SINK_CURSORS = "SELECT sink, seq FROM cursors WHERE sink NOT LIKE '$%'"

MAPPED_AGAIN = 100_000
"""So many events, a few seconds' work, are mapped again if last values may be damaged."""
DAMAGED_ADVICE = "Check the disk; `A damaged journal` in docs/operations.md says what is lost"

_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes
_PAGE_BYTES = 2048
_MOST_WAL_BYTES = 4 << 20  # of the write-ahead log, once it is in the file
_SUFFIXES = ("-wal", "-shm", "")  # the file itself last: where it is, the others are
_TEXT_KEYED = ("last_values", "overrides", "online", "retained", "alarms", "gaps", "unmapped_assets")
_HIGHEST_NUMBER = 1 << 62
_DAMAGED_TEXT = "\ufffd"  # in place of bytes that are no text


def lock_journal(path: Path) -> Any:
    """Return the open lock file; refuse a second gateway on the same journal."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_path.open("w")
    except OSError as error:
        raise GatewayError(
            f"{lock_path}: {error.strerror}; journal.url must name a file in a folder in which the gateway's"
            " user may write"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise GatewayError(f"{path}: another gateway is running on this journal") from error
    return lock


@contextmanager
def open_database(
    path: Path, *, sinks: Iterable[str], now_ms: int
) -> Iterator[tuple[sqlite3.Connection, str | None]]:
    """Yield the checked database, and what was damaged in words for the user (None: nothing).

    A corrupt file is moved aside, never deleted, once what can be read of it is in a new one. However the
    gateway ends meanwhile, the next start does it again.
    """
    new_path = path.with_name(f"{path.name}.new")
    if not path.exists() and new_path.exists():
        _rename(new_path, path)  # the last step of a replacement
    with closing(connect(path)) as database:
        reason = _why_corrupt(database, path)
        if reason is None:
            yield database, None
            return
        copied = _copy_readable(database, new_path, sinks=sinks)
        # While it is open: SQLite folds the log into a file that it closes, but not into a moved one.
        aside = _free_name(path, now_ms)
        _rename(path, aside)
    _rename(new_path, path)
    corruption_marker(path).unlink(missing_ok=True)
    sync_folder(path.parent)
    log.critical("journal.corrupt", reason=reason, file=str(path), moved_to=str(aside), taken_over=copied)
    with closing(connect(path)) as database:
        _prepare(database, path)
        damage = f"its file was corrupt ({reason}) and is now {aside}; taken over into a new one: {copied}."
        yield database, f"{damage} {DAMAGED_ADVICE}"


def connect(address: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    """Open a database in which damaged text does not end a query; nothing is read yet."""
    database = sqlite3.connect(address, isolation_level=None, check_same_thread=False, uri=uri)
    database.text_factory = lambda stored: stored.decode(errors="replace")
    return database


def create_tables(database: sqlite3.Connection) -> None:
    """Create the tables in an empty database, all or none."""
    database.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={LAYOUT};COMMIT;")


def read_layout(database: sqlite3.Connection, path: Path) -> int:
    """Return the number of the layout, 0 in an empty file; refuse that of a newer gateway."""
    layout = _layout_number(database)
    if layout > LAYOUT:
        raise GatewayError(
            f"{path}: written by a newer gateway (layout {layout}, this one knows {LAYOUT}); install that"
            " version again"
        )
    return layout


def show_origins(database: sqlite3.Connection, *, layout: int) -> None:
    """Let queries see a journal of layout 1, which stays as it is, in the present layout."""
    if layout == 1:
        database.execute(
            "CREATE TEMP VIEW events AS SELECT *, NULL AS origin, NULL AS origin_ms FROM main.events"
        )


def is_corrupt(error: Exception) -> bool:
    """Return whether SQLite found that its file is corrupt or no database."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def primary_code(error: Exception) -> int:
    """Return SQLite's code of an error without what extends it."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)) & _PRIMARY_CODE


def is_intact(row: Iterable[Any]) -> bool:
    """Return whether no text of a row shows damage."""
    return not any(isinstance(column, str) and _DAMAGED_TEXT in column for column in row)


def corruption_marker(path: Path) -> Path:
    """Return the file that says why the journal is corrupt, if that was found while it was in use."""
    return path.with_name(path.name + ".corrupt")


def corrupt_files(path: Path) -> list[Path]:
    """Return the corrupt files that were moved aside and still exist, oldest first."""
    files = path.parent.glob(f"{path.name}.corrupt-*")
    return sorted(file for file in files if not file.name.endswith(("-wal", "-shm")))


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    """Check the file, or create it; raise sqlite3.DatabaseError if it is corrupt."""
    execute = database.execute
    # Ids are random: each one changes another page of their index, and every changed page is logged whole.
    # Pages of half the usual size make commits cheaper, and spare flash memory.
    execute(f"PRAGMA page_size={_PAGE_BYTES}")
    execute("PRAGMA journal_mode=WAL")
    execute(f"PRAGMA journal_size_limit={_MOST_WAL_BYTES}")
    execute("PRAGMA synchronous=FULL")
    # If it is on, as in Debian's SQLite, freed bodies are logged as zeros: megabytes, for which a full disk
    # has no room.
    execute("PRAGMA secure_delete=OFF")
    execute("PRAGMA mmap_size=0")
    execute("PRAGMA temp_store=MEMORY")
    found = execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)
    layout = read_layout(database, path)
    if not layout:
        create_tables(database)
    elif layout < LAYOUT:
        _add_origins(database)
        log.info("journal.upgraded", file=str(path), layout=LAYOUT, was=layout)
    with closing(sqlite3.connect(":memory:")) as new:
        create_tables(new)
        query = "SELECT sql FROM sqlite_schema WHERE sql NOTNULL AND name NOT LIKE 'sqlite_%' ORDER BY name"
        if database.execute(query).fetchall() != new.execute(query).fetchall():
            raise sqlite3.DatabaseError("the description of the tables is damaged")


def _layout_number(database: sqlite3.Connection) -> int:
    number: int = database.execute("PRAGMA user_version").fetchone()[0]
    return number


def _add_origins(database: sqlite3.Connection) -> None:
    """Bring a journal of layout 1 to the present one. Takes no time: SQLite rewrites no rows."""
    steps = "".join(f"ALTER TABLE events ADD COLUMN {column};" for column in _ORIGIN)
    database.executescript(f"BEGIN IMMEDIATE;{steps}PRAGMA user_version={LAYOUT};COMMIT;")


def _why_corrupt(database: sqlite3.Connection, path: Path) -> str | None:
    """Prepare the file; return why it is corrupt, None if it is not."""
    marker = corruption_marker(path)
    try:
        _prepare(database, path)
    except sqlite3.OperationalError:  # not the file's fault
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return (marker.read_text(errors="replace") or "as its use has shown") if marker.exists() else None


def _free_name(path: Path, now_ms: int) -> Path:
    """Return a new name for a corrupt file, also with a clock that starts at the same time at every start."""
    names = (path.with_name(f"{path.name}.corrupt-{number}") for number in count(now_ms))
    return next(name for name in names if not name.exists())


def _rename(path: Path, other: Path) -> None:
    """Rename a journal and its side files, so that they stay together."""
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(other.with_name(other.name + suffix))


def _copy_readable(damaged: sqlite3.Connection, new_path: Path, *, sinks: Iterable[str]) -> str:
    """Copy what can be read into a new file; return how much that is, in words.

    Sinks whose cursor cannot be read get every event that is there. The newest events are mapped again, in
    case last values cannot be read. Raise sqlite3.Error if the new file cannot be written.
    """
    for suffix in _SUFFIXES:  # of a start that was cut off
        new_path.with_name(new_path.name + suffix).unlink(missing_ok=True)
    with closing(connect(new_path)) as new:
        _prepare(new, new_path)
        layout = LAYOUT
        with suppress(sqlite3.Error):
            damaged.execute("PRAGMA writable_schema=ON")  # so that SQLite also opens a file that was cut off
            layout = _layout_number(damaged)
            show_origins(damaged, layout=layout)
        if not 0 < layout <= LAYOUT:
            return "nothing, since its layout cannot be read"
        return _copy_tables(damaged, new, sinks=sinks)


def _copy_tables(damaged: sqlite3.Connection, new: sqlite3.Connection, *, sinks: Iterable[str]) -> str:
    cursors = dict.fromkeys(sinks, 0) | dict(_both_ways(damaged, "cursors"))
    delivered = min((seq for name, seq in cursors.items() if not name.startswith("$")), default=0)
    after = max(0, delivered - MAPPED_AGAIN)
    body = f"CASE WHEN seq > {after} THEN body END"
    copied = {table: _insert(new, table, _both_ways(damaged, table)) for table in _TEXT_KEYED}
    for table, query in (
        ("assets", "SELECT * FROM assets WHERE id > ?"),
        ("dead_letters", "SELECT * FROM dead_letters WHERE id > ?"),
        ("events", f"SELECT seq, id_hash, received_ms, {body}, origin, origin_ms FROM events WHERE seq > ?"),  # noqa: S608 - our own words
    ):
        copied[table] = _insert(new, table, _numbered(damaged, query))
    newest = new.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    cursors[NUMBERS_CURSOR] = max([newest, *cursors.values()])
    cursors[VALUES_CURSOR] = min(cursors.get(VALUES_CURSOR, 0), after)
    _insert(new, "cursors", cursors.items())
    query = "SELECT count(*) FROM events WHERE seq > ? AND body IS NOT NULL"
    undelivered = new.execute(query, (delivered,)).fetchone()[0]
    return (
        f"{undelivered} events that a sink may not have got, last values of {copied['last_values']} points,"
        f" {copied['dead_letters']} dead letters"
    )


def _both_ways(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield a table's rows from its beginning up to a broken page, and from its end down to one."""
    for order in ("ASC", "DESC"):
        try:
            yield from database.execute(f"SELECT * FROM {table} ORDER BY 1 {order}")  # noqa: S608 - our own names
        except sqlite3.Error:
            continue
        return


def _numbered(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query by number, from behind each broken page on.

    Each try begins at a higher number than the one before, so that it ends: pages that changed places bring
    lower numbers again.
    """
    after, step = -1, 1
    while after < _HIGHEST_NUMBER:
        last = after
        try:
            for row in database.execute(f"{query} ORDER BY 1", (after,)):
                yield row
                last = row[0]
        except sqlite3.Error:
            after, step = (last, 1) if last > after else (after + step, step * 2)
        else:
            return


def _insert(database: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert the rows that are intact and that the table accepts; return how many."""
    inserted = 0
    database.execute("BEGIN IMMEDIATE")
    for row in filter(is_intact, rows):
        with suppress(sqlite3.IntegrityError):  # of another type, or there already
            places = ",".join("?" * len(row))
            inserted += database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row).rowcount  # noqa: S608 - our own names
    database.execute("COMMIT")
    return inserted
