"""Write the store: one transaction a batch, every row by its key."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects.sqlite import insert

from flows.store import schema, tables
from flows.store.reader import StoreReader
from flows.store.rows import DeadLetterRow, StoreBatch
from schemas import settings

DEAD_LETTERS_KEPT_MAX: Final = int(settings.BY_NAME["dead_letters.kept_max"].default)
_LOOKUP_SIZE: Final = 500  # keys in one IN list; SQLite allows 32,766
_PLAIN_TABLES: Final = (
    "alert_updates",
    "episodes",
    "notices",
    "headroom",
    "lane_counts",
    "run_summary",
)


class Store(StoreReader):
    """The store for its one writer; it can read too.

    Parameters
    ----------
    path
        Of the SQLite file; created where there is none, migrated where it is older.
    dead_letters_kept_max
        Refused lines kept whole; further ones are not written (their counts come as totals).
    on_point
        Called with ``store.before_commit`` and ``store.after_commit``, for crash tests.

    Raises
    ------
    StoreError
        If a newer Tapewatch wrote the file.
    """

    def __init__(
        self,
        path: Path,
        dead_letters_kept_max: int = DEAD_LETTERS_KEPT_MAX,
        on_point: Callable[[str], None] | None = None,
    ) -> None:
        self._writer = schema.open_to_write(path)
        super().__init__(path)
        self._dead_letters_kept_max = dead_letters_kept_max
        self._on_point = on_point

    def close(self) -> None:
        """Let go of the file."""
        super().close()
        self._writer.dispose()

    def write(self, batch: StoreBatch) -> None:
        """Write everything or nothing; durable on return."""
        with self._writer.begin() as connection:
            self._write(connection, batch)
            self._at("store.before_commit")
        self._at("store.after_commit")

    def _write(self, connection: Connection, batch: StoreBatch) -> None:
        _write_alerts(connection, batch.alerts)
        for name in _PLAIN_TABLES:
            _upsert(connection, tables.metadata.tables[name], getattr(batch, name))
        self._write_dead_letters(connection, batch.dead_letters)
        if batch.meta:
            facts = [{"key": key, "value": value} for key, value in batch.meta.items()]
            connection.execute(_upsert_statement(tables.meta), facts)

    def _write_dead_letters(self, connection: Connection, letters: Sequence[DeadLetterRow]) -> None:
        """Keep letters up to the limit; those already there are written again, as after a crash."""
        if not letters:
            return
        table = tables.dead_letters
        by_id = {letter.id: letter for letter in letters}
        known = _known(connection, table, list(by_id))
        kept = connection.execute(select(func.count()).select_from(table)).scalar_one()
        room = max(0, self._dead_letters_kept_max - kept)
        new = [letter for letter in by_id.values() if letter.id not in known][:room]
        _upsert(connection, table, [by_id[key] for key in known] + new)

    def _at(self, point: str) -> None:
        if self._on_point is not None:
            self._on_point(point)


def _write_alerts(connection: Connection, alerts: Sequence[Struct]) -> None:
    """Upsert alerts, never back to an earlier state.

    After a crash the same alerts are written again from the snapshot on; until that has caught
    up, readers keep seeing the newer state.
    """
    if not alerts:
        return
    table = tables.alerts
    statement = insert(table)
    statement = statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=_all_but_key(table, statement.excluded),
        where=statement.excluded.update_count >= table.c.update_count,
    )
    connection.execute(statement, [_plain(row) for row in alerts])


def _upsert(connection: Connection, table: Table, rows: Sequence[Struct]) -> None:
    if rows:
        connection.execute(_upsert_statement(table), [_plain(row) for row in rows])


def _upsert_statement(table: Table) -> Any:
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_=_all_but_key(table, statement.excluded),
    )


def _all_but_key(table: Table, excluded: Any) -> dict[str, Any]:
    return {column.name: excluded[column.name] for column in table.c if not column.primary_key}


def _known(connection: Connection, table: Table, ids: list[str]) -> list[str]:
    known: list[str] = []
    for start in range(0, len(ids), _LOOKUP_SIZE):
        chunk = ids[start : start + _LOOKUP_SIZE]
        known += connection.execute(select(table.c.id).where(table.c.id.in_(chunk))).scalars()
    return known


def _plain(row: Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(bytes,))
    return plain
