"""What was committed: one consistent look into the log's SQLite file, writing nothing."""

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .chain import WIDTH
from .entries import ENTRY_SIZE_MAX
from .fault import AuditError

DATABASE: Final = "ledger.sqlite"
SQLITE_VALUE_MAX: Final = 1_000_000  # bytes; hostile files cannot make us hold more
FORMAT: Final = 1
TRIES_MAX: Final = 10
TABLES: Final = frozenset(
    {
        (
            b"CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, "
            b"size INTEGER NOT NULL, root BLOB NOT NULL, applied INTEGER NOT NULL, "
            b"generation INTEGER NOT NULL)"
        ),
        b"CREATE TABLE stage (i INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
        b"CREATE TABLE eid (eid BLOB PRIMARY KEY, i INTEGER NOT NULL) WITHOUT ROWID",
    }
)
_ORIGIN: Final = re.compile(rb"[!-*,-~]+")
_BESIDE: Final = "mode=ro&readonly_shm=1"


@dataclass(frozen=True)
class Committed:
    """One consistent look into the database."""

    origin: str
    size: int
    root: bytes
    applied: int
    stage: list[bytes]
    eids: dict[bytes, int]

    @property
    def staged_from(self) -> int:
        """Index of the first entry of the stage."""
        return self.applied - self.applied % WIDTH


def look(folder: Path) -> Committed:
    """Read the committed state in one snapshot; SQLite's files are not written."""
    if not (folder / DATABASE).is_file():
        raise AuditError(str(folder), f"holds no {DATABASE}: this is not the folder of a log.")
    failure: Exception | None = None
    is_index_stale = False
    for _ in range(TRIES_MAX):
        try:
            with _connect(folder, is_index_stale=is_index_stale) as (database, is_true):
                committed = _read_committed(database)
                if is_true():
                    return committed
        except (sqlite3.OperationalError, FileNotFoundError) as error:
            failure = error  # a writer may be starting or stopping at this moment
            code = getattr(error, "sqlite_errorcode", None)  # others have none
            is_index_stale = code == sqlite3.SQLITE_PROTOCOL
    raise AuditError(DATABASE, f"cannot be read ({failure or 'writers come and go'}).")


@contextmanager
def _connect(
    folder: Path, *, is_index_stale: bool
) -> Iterator[tuple[sqlite3.Connection, Callable[[], bool]]]:
    """Yield a connection and what tells whether nobody disturbed the look.

    With the WAL index there, a writer lives or was killed: SQLite reads beside either, and
    `readonly_shm` keeps it from touching the index. Without it the file is at rest. If a
    write-ahead log lies there without an index, or with one of another time (as a lost power
    supply leaves it, SQLite then reports its locking protocol broken), both are read from a copy.
    """
    path = folder / DATABASE
    wal = folder / f"{DATABASE}-wal"
    has_index = _wal_index(folder).exists()
    stamps = _stamps(path, wal)
    with tempfile.TemporaryDirectory() as aside:
        if has_index and not is_index_stale:
            options = _BESIDE
        elif stamps[1][1]:
            shutil.copyfile(wal, Path(aside, wal.name))
            path = Path(shutil.copyfile(path, Path(aside, DATABASE)))
            options = "mode=rw"
        else:
            options = "mode=ro&immutable=1"

        def is_true() -> bool:
            undisturbed = _stamps(folder / DATABASE, wal) == stamps
            return options == _BESIDE or (undisturbed and has_index == _wal_index(folder).exists())

        uri = f"{path.absolute().as_uri()}?{options}"
        database = sqlite3.connect(uri, uri=True, isolation_level=None)
        try:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, SQLITE_VALUE_MAX)
            database.text_factory = bytes
            yield database, is_true
        finally:
            database.close()


def _stamps(*paths: Path) -> list[tuple[int, int]]:
    """Return (time of change, size) of each file, zeros where there is none."""
    found = [path.stat() if path.exists() else None for path in paths]
    return [(one.st_mtime_ns, one.st_size) if one else (0, 0) for one in found]


def _wal_index(folder: Path) -> Path:
    return folder / f"{DATABASE}-shm"


def _read_committed(database: sqlite3.Connection) -> Committed:
    database.execute("BEGIN")
    _require_tables(database)
    heads = database.execute("SELECT origin, size, root, applied FROM head").fetchall()
    if [tuple(map(type, head)) for head in heads] != [(bytes, int, bytes, int)]:
        raise AuditError(DATABASE, "its head is not one row of name, size, root and files.")
    origin, size, root, applied = heads[0]
    if not _ORIGIN.fullmatch(origin) or not 0 <= applied <= size:
        raise AuditError(DATABASE, "its head names no log, or more files than entries.")
    rows = database.execute("SELECT i, entry FROM stage ORDER BY i").fetchall()
    if [index for index, _ in rows] != list(range(applied - applied % WIDTH, size)):
        raise AuditError(DATABASE, "its stage does not hold the entries that are not in files.")
    if any(type(entry) is not bytes or len(entry) > ENTRY_SIZE_MAX for _, entry in rows):
        raise AuditError(DATABASE, "its stage holds what cannot be an entry.")
    return Committed(
        origin.decode(), size, root, applied, [entry for _, entry in rows], _read_eids(database)
    )


def _read_eids(database: sqlite3.Connection) -> dict[bytes, int]:
    """Read the index in its own order: ascending without a repeat, a look-up finds each row."""
    eids: dict[bytes, int] = dict(database.execute("SELECT eid, i FROM eid"))
    keys = list(eids)
    if not set(map(type, keys)) <= {bytes} or not set(map(type, eids.values())) <= {int}:
        raise AuditError("eid index", "it holds what is no eid or no index.")
    if database.execute("SELECT count(*) FROM eid").fetchone() != (len(keys),):
        raise AuditError("eid index", "it holds an eid twice.")
    if keys != sorted(keys):
        raise AuditError("eid index", "it is out of order, so that look-ups miss.")
    return eids


def _require_tables(database: sqlite3.Connection) -> None:
    """Hostile files could name a view `head` that never ends; so the tables come first."""
    tables = database.execute("SELECT type, sql FROM sqlite_master").fetchall()
    if len(tables) != len(TABLES) or set(tables) != {(b"table", sql) for sql in TABLES}:
        raise AuditError(DATABASE, "its tables are not those of a log.")
    if database.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        raise AuditError(DATABASE, f"its format is not {FORMAT}, the one this verifier knows.")
