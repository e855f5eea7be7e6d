"""The engine's own recovery store, and the one thing it leaves to us.

A run that dies leaves snapshots of epochs that never completed. Bytewax loads, for each key, the
newest snapshot older than the epoch it resumes from; but the rows of unfinished epochs stay, and a
later run that reaches the same epoch numbers would take them for its own. So before every start,
under the data folder's lock, the resume epoch is computed and rows of that epoch or later go.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final

from bytewax.recovery import RecoveryConfig, init_db_dir

PARTITIONS: Final = 2
FIRST_EPOCH: Final = 1
_FILES: Final = "part-*.sqlite3"
_ASIDE: Final = "making"


def open_recovery(folder: Path) -> RecoveryConfig:
    """Return the engine's recovery configuration, its store made and cleaned."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(folder.glob(_FILES))
    if len(files) < PARTITIONS:
        _make(folder, files)
    else:
        purge(files)
    return RecoveryConfig(folder)  # type: ignore[no-untyped-call]


def _make(folder: Path, rest: list[Path]) -> None:
    """Make the store; ``rest`` is what a start left that died here: nothing was snapshotted yet.

    It is made aside, for the engine's own making can die between a file and the tables in it.
    """
    for file in rest:
        file.unlink()
    aside = folder / _ASIDE
    rmtree(aside, ignore_errors=True)
    aside.mkdir()
    init_db_dir(aside, PARTITIONS)  # type: ignore[no-untyped-call]
    made = sorted(aside.glob(_FILES))
    for file in made:
        # On a full disk the engine leaves all of it in the write-ahead log, and says nothing.
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in made:
        file.replace(folder / file.name)
    aside.rmdir()


def purge(files: list[Path]) -> int:
    """Delete what unfinished epochs left; return how many rows."""
    epoch = resume_epoch(files)
    removed = 0
    for file in files:
        with _transaction(file) as cursor:
            cursor.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,))
            removed += cursor.rowcount
    return removed


def resume_epoch(files: list[Path]) -> int:
    """Return the epoch the engine will resume from, by its own rule.

    Of the newest execution: the least of its workers' frontiers; a worker that reported none
    stands where the execution began.
    """
    executions: dict[int, tuple[int, int]] = {}
    fronts: dict[tuple[int, int], int] = {}
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            for number, workers, epoch in connection.execute(
                "SELECT ex_num, worker_count, resume_epoch FROM exs"
            ):
                executions[number] = (workers, epoch)
            for number, worker, frontier in connection.execute(
                "SELECT ex_num, worker_index, worker_frontier FROM fronts"
            ):
                key = (number, worker)
                fronts[key] = max(frontier, fronts.get(key, frontier))
    if not executions:
        return FIRST_EPOCH
    newest = max(executions)
    workers, began = executions[newest]
    return min(max(began, fronts.get((newest, w), began)) for w in range(workers))


@contextmanager
def _transaction(file: Path) -> Iterator[sqlite3.Cursor]:
    with closing(sqlite3.connect(file)) as connection, connection:
        yield connection.cursor()
