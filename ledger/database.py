"""The commit point: one SQLite file per log, and how to look at it without disturbing anyone."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from ledger.errors import LedgerDamaged
from ledger.tree import BUNDLE_WIDTH, EMPTY_ROOT

DATABASE: Final = "ledger.sqlite"
FORMAT: Final = 1  # PRAGMA user_version
TRIES_MAX: Final = 10  # a writer starting or stopping under a reader's hands
EID_TABLE: Final = "CREATE TABLE eid (eid BLOB PRIMARY KEY, i INTEGER NOT NULL) WITHOUT ROWID"
SCHEMA: Final = (
    (
        "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, "
        "size INTEGER NOT NULL, root BLOB NOT NULL, applied INTEGER NOT NULL, "
        "generation INTEGER NOT NULL)"
    ),
    "CREATE TABLE stage (i INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
    EID_TABLE,
)
# eids are random, so each touches a page of its own: small pages, a cache that holds them, and
# few checkpoints (16 MiB of write-ahead log) cost least
_WRITER_SETTINGS: Final = (
    "page_size = 2048",
    "journal_mode = WAL",
    "synchronous = FULL",
    "cache_size = -65536",
    "wal_autocheckpoint = 8192",
)
_BESIDE: Final = "mode=ro&readonly_shm=1"
_Answer = TypeVar("_Answer")


class Head(Struct, frozen=True):
    """The state of a log as committed.

    `applied` entries are in bundle files; the rest, and all of an unfinished bundle, are staged.
    `generation` counts the writers there have been: a commit by an older one is refused.
    """

    origin: str
    size: int
    root: bytes
    applied: int
    generation: int

    @property
    def staged_from(self) -> int:
        """Index of the first entry that is still in the stage."""
        return self.applied - self.applied % BUNDLE_WIDTH


def connect_writer(folder: Path) -> sqlite3.Connection:
    """Open the log's database for its one writer; `prepare_writer` is to follow."""
    # One thread at a time uses it, but not always the one that opened it: engines run their
    # workers in threads of their own and close from the main one.
    return sqlite3.connect(
        folder / DATABASE, isolation_level=None, timeout=10, check_same_thread=False
    )


def prepare_writer(database: sqlite3.Connection) -> bool:
    """Have each commit synced to disk, and tell whether the log was ever begun."""
    for setting in _WRITER_SETTINGS:
        database.execute(f"PRAGMA {setting}")
    return database.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


def create_tables(database: sqlite3.Connection, origin: str) -> None:
    """Lay out an empty log, inside the caller's transaction."""
    for statement in SCHEMA:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {FORMAT}")
    row = (origin, EMPTY_ROOT)
    database.execute("INSERT INTO head VALUES (1, ?, 0, ?, 0, 0)", row)


def load_head(database: sqlite3.Connection) -> Head:
    """Read the committed state.

    Raises
    ------
    LedgerDamaged
        If the tables are not ours, or of another version.
    """
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise LedgerDamaged(
            f"This ledger database has format {version}, and this version of tapewatch reads"
            f" format {FORMAT}: use the version that wrote it."
        )
    row = database.execute("SELECT origin, size, root, applied, generation FROM head").fetchone()
    if row is None:
        raise LedgerDamaged("The ledger database has lost its head: restore it from a copy.")
    return Head(*row)


def load_stage(database: sqlite3.Connection, head: Head) -> list[bytes]:
    """Return the staged entries, from `head.staged_from` to the size without a gap.

    Raises
    ------
    LedgerDamaged
        If there is a gap.
    """
    rows = database.execute("SELECT i, entry FROM stage ORDER BY i").fetchall()
    if [index for index, _ in rows] != list(range(head.staged_from, head.size)):
        raise LedgerDamaged(
            f"The stage of {head.origin} does not hold entries {head.staged_from} to"
            f" {head.size - 1}: restore the ledger database from a copy."
        )
    return [entry for _, entry in rows]


def look(folder: Path, ask: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
    """Answer a question from one consistent snapshot; write nothing, lock nobody out.

    Raises
    ------
    LedgerDamaged
        If there is no database, or SQLite cannot read it.
    """
    if not (folder / DATABASE).is_file():
        raise LedgerDamaged(f"{folder} holds no {DATABASE}: name the folder of a log.")
    failure: Exception | None = None
    is_index_stale = False
    for _ in range(TRIES_MAX):
        try:
            with _connect_reader(folder, is_index_stale=is_index_stale) as (database, is_true):
                database.execute("BEGIN")
                answer = ask(database)
                if is_true():
                    return answer
        except (sqlite3.Error, FileNotFoundError) as error:
            failure = error  # its files may be coming or going at this moment
            code = getattr(error, "sqlite_errorcode", None)  # others have none
            is_index_stale = code == sqlite3.SQLITE_PROTOCOL
    raise LedgerDamaged(
        f"{folder / DATABASE} cannot be read ({failure or 'writers come and go'}):"
        " try again, or restore it from a copy."
    ) from failure


@contextmanager
def _connect_reader(
    folder: Path, *, is_index_stale: bool
) -> Iterator[tuple[sqlite3.Connection, Callable[[], bool]]]:
    """Yield a read-only connection, and what tells whether nobody disturbed the look.

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
        database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
        try:
            yield database, is_true
        finally:
            database.close()


def _stamps(*paths: Path) -> list[tuple[int, int]]:
    """Return (time of change, size) of each file, zeros where there is none."""
    found = [path.stat() if path.exists() else None for path in paths]
    return [(one.st_mtime_ns, one.st_size) if one else (0, 0) for one in found]


def _wal_index(folder: Path) -> Path:
    return folder / f"{DATABASE}-shm"
