"""The control log: whatever reaches state from outside the event streams, in one total order.

An idle lane's heartbeat, a changed setting, an answered notice: each is written down here before
it is used, with the event time from which it counts. A run reads the log again after a crash and
so comes to the same state.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from msgspec import Struct, structs

ControlKind: TypeAlias = Literal[
    "heartbeat",
    "lane.started",
    "config",
    "notice.answered",
    "silence",
    "hold",
    "disposition",
    "grant",
    "calendar",
    "peer_quantiles",
    "budget",
    "review",
]
KINDS: Final = frozenset(get_args(ControlKind))
_BUSY_SECONDS: Final = 30.0
_TRIES, _TRY_SECONDS = 50, 0.1
_PAGE_SIZE: Final = 1_000
_TABLES: Final = (
    """
CREATE TABLE IF NOT EXISTS control (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    lane TEXT,
    effective_ns INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS settled (
    sequence INTEGER PRIMARY KEY,
    effective_ns INTEGER NOT NULL
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS followed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    topic TEXT NOT NULL,
    next_offset INTEGER NOT NULL
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS horizon (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    reached_ns INTEGER NOT NULL
) STRICT
""",
)


class ControlError(RuntimeError):
    """The control log cannot take or give a record; the sentence says why."""


class ControlRecord(Struct, frozen=True, kw_only=True):
    """One record.

    Attributes
    ----------
    sequence
        Its place in the total order, from 1, without gaps.
    lane
        The lane it speaks of; None for all.
    effective_ns
        Event time from which it is meant to count; see ``ControlLog.settle``.
    key
        What makes it one act, however often it is appended.
    """

    sequence: int
    kind: ControlKind
    lane: str | None
    effective_ns: int
    key: str
    body: dict[str, Any]


class ControlLog:
    """The log as a table in SQLite; any number of processes may append and read.

    Parameters
    ----------
    path
        Of the SQLite file, created where there is none.
    topic
        Of which the table is a copy; empty where the table is the log itself.

    Raises
    ------
    ControlError
        If the file cannot be used, or the log began somewhere else.
    """

    def __init__(self, path: Path, *, topic: str = "") -> None:
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare()
            self._settle_on(topic)
        except sqlite3.DatabaseError as error:
            raise ControlError(f"Cannot open the control log {path}: {error}.") from error

    def _prepare(self) -> None:
        """Have the tables; SQLite waits for nobody while the file changes its journal's mode."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")  # written before it is used
                for table in _TABLES:
                    self._connection.execute(table)
            except sqlite3.OperationalError as error:
                if tries_left == 0 or "locked" not in str(error):
                    raise
                Event().wait(_TRY_SECONDS)
            else:
                return

    def _settle_on(self, topic: str) -> None:
        """Note of which topic the table is a copy; a log that began elsewhere is refused."""
        began = self._began_in()
        if began is None and topic and self.last_sequence() == 0:
            self._connection.execute(
                "INSERT INTO followed VALUES (1, ?, 0) ON CONFLICT DO NOTHING", (topic,)
            )
            began = self._began_in()
        if (began or "") != topic:
            self._connection.close()
            old, new = (f"topic {n}" if n else "the data folder itself" for n in (began, topic))
            raise ControlError(
                f"The control log of this data folder began in {old}, and control.log now means "
                f"{new}. Set it back, or start with another --data."
            )

    def _began_in(self) -> str | None:
        row = self._connection.execute("SELECT topic FROM followed").fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Let go of the file."""
        self.close()

    def append(
        self,
        kind: ControlKind,
        effective_ns: int,
        body: dict[str, Any],
        key: str,
        *,
        lane: str | None = None,
        applied_ns: int = 0,
    ) -> int:
        """Append one record and return its sequence; durable on return.

        Appending the same key again returns the first record's sequence and writes nothing.

        Parameters
        ----------
        effective_ns
            From when it should count. It is moved past ``applied_ns``: what was already decided
            must come out the same on replay.
        applied_ns
            The highest event time that anything was applied at.

        Raises
        ------
        ControlError
            If the key stands in the log with another kind, lane or body.
        ValueError
            If the kind is not one of ``KINDS``.
        """
        wanted = content(kind, lane, body)
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")  # other writers wait here, so keys cannot race
            try:
                sequence = existing(cursor, key, wanted)
                if sequence is None:
                    effective = max(effective_ns, applied_ns + 1)
                    sequence = insert(cursor, (kind, lane, effective, key, wanted[2]))
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
        return sequence

    def read(self, after_sequence: int = 0) -> Iterator[ControlRecord]:
        """Yield every record after ``after_sequence``, in order, those appended meanwhile too."""
        while page := self._page(after_sequence):
            yield from page
            after_sequence = page[-1].sequence

    def raise_horizon(self, reached_ns: int) -> None:
        """Write down, before it happens, up to which event time something may be decided."""
        self._connection.execute(
            "INSERT INTO horizon VALUES (1, ?) ON CONFLICT (only)"
            " DO UPDATE SET reached_ns = max(reached_ns, excluded.reached_ns)",
            (reached_ns,),
        )

    def horizon_ns(self) -> int | None:
        """Return what ``raise_horizon`` wrote; None before anything was decided."""
        row = self._connection.execute("SELECT reached_ns FROM horizon").fetchone()
        return None if row is None else int(row[0])

    def settle(self, record: ControlRecord) -> ControlRecord:
        """Return the record with the time from which it really counts, fixed from now on.

        That is its own, but past the horizon: a record that comes while a run is under way must
        not change what was already decided, neither now nor when a crash makes the run decide it
        again. Durable on return; only the one writer may call it.
        """
        horizon_ns = self.horizon_ns()
        wanted = record.effective_ns
        if horizon_ns is not None:
            wanted = max(wanted, horizon_ns + 1)
        self._connection.execute(
            "INSERT INTO settled VALUES (?, ?) ON CONFLICT DO NOTHING", (record.sequence, wanted)
        )
        found = self._connection.execute(
            "SELECT effective_ns FROM settled WHERE sequence = ?", (record.sequence,)
        ).fetchone()
        return structs.replace(record, effective_ns=int(found[0]))

    def last_sequence(self) -> int:
        """Return the sequence of the newest record; 0 for an empty log."""
        row = self._connection.execute("SELECT max(sequence) FROM control").fetchone()
        return int(row[0] or 0)

    def _page(self, after_sequence: int) -> list[ControlRecord]:
        rows = self._connection.execute(
            "SELECT sequence, kind, lane, effective_ns, key, body FROM control"
            " WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after_sequence, _PAGE_SIZE),
        ).fetchall()
        return [
            ControlRecord(
                sequence=sequence,
                kind=kind,
                lane=lane,
                effective_ns=effective_ns,
                key=key,
                body=json.loads(body),
            )
            for sequence, kind, lane, effective_ns, key, body in rows
        ]


def content(kind: str, lane: str | None, body: dict[str, Any]) -> tuple[str, str | None, str]:
    """Return what two records of one key must have in common; refuse an unknown kind."""
    if kind not in KINDS:
        raise ValueError(f"{kind} is no kind of control record")
    return kind, lane, json.dumps(body, sort_keys=True, allow_nan=False)


def existing(cursor: sqlite3.Cursor, key: str, wanted: tuple[str, str | None, str]) -> int | None:
    """Return the sequence of the record that has a key; None if none has it.

    Raises
    ------
    ControlError
        If its kind, lane or body are others than those wanted.
    """
    row = cursor.execute(
        "SELECT sequence, kind, lane, body FROM control WHERE key = ?", (key,)
    ).fetchone()
    if row is None:
        return None
    if tuple(row[1:]) != wanted:
        raise ControlError(
            f"The control log has '{key}' as record {row[0]} with other content; an act that "
            "differs needs a key of its own."
        )
    return int(row[0])


def insert(cursor: sqlite3.Cursor, values: tuple[str, str | None, int, str, str]) -> int:
    """Put kind, lane, effective time, key and body behind all others; return the sequence."""
    cursor.execute(
        "INSERT INTO control (kind, lane, effective_ns, key, body) VALUES (?, ?, ?, ?, ?)", values
    )
    return int(cursor.lastrowid or 0)
