"""The arrival log: in which order blocks of several lanes met in a shard, written down.

Within a lane the order is given. Between lanes nothing is: it is chance whose block comes first,
and where an account has events on two lanes that may decide what comes out. So before anything
leaves that rests on such an order, the order is written down; a run that goes on after a crash
takes its blocks in it again.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

_BUSY_SECONDS: Final = 30.0
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS arrivals (
    shard INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    next_number INTEGER NOT NULL,
    PRIMARY KEY (shard, ordinal)
) STRICT, WITHOUT ROWID
"""


class Arrival(NamedTuple):
    """One block that a shard took.

    Attributes
    ----------
    ordinal
        Counts the blocks with rows that the shard took, from 0.
    lane
        Where the block came from.
    next_number
        The block's rows are those of the lane before this position that were not taken earlier.
    """

    ordinal: int
    lane: int
    next_number: int


class ArrivalLog:
    """The log as a table in SQLite; one writer, readers at the start of a run."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # written down before it is used
        self._connection.execute(_TABLE)

    def append(self, arrivals: Sequence[tuple[int, Arrival]]) -> None:
        """Write (shard, arrival) pairs; durable on return. What is there already stays."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(
                "INSERT INTO arrivals VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(shard, *arrival) for shard, arrival in arrivals],
            )
            cursor.execute("COMMIT")

    def read(self, shard: int, first: int) -> list[Arrival]:
        """Return a shard's arrivals from ordinal ``first`` on, in order."""
        rows = self._connection.execute(
            "SELECT ordinal, lane, next_number FROM arrivals"
            " WHERE shard = ? AND ordinal >= ? ORDER BY ordinal",
            (shard, first),
        )
        return [Arrival(*row) for row in rows]

    def forget(self, before: Sequence[tuple[int, int]]) -> None:
        """Delete what no resume can need: by (shard, ordinal), the shard's below that ordinal."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany("DELETE FROM arrivals WHERE shard = ? AND ordinal < ?", before)
            cursor.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
