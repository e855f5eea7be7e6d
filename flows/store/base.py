"""What every list of the store shares: pages that new rows do not shift, and ids cut short."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import Select, Table, select, tuple_
from sqlalchemy.engine import Engine, Row

from flows.store.schema import StoreError

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1_000
RowType = TypeVar("RowType", bound=Struct)
AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Page(Generic[RowType]):
    """Some rows, and the key to pass as ``after`` for the next ones (None: these were the last)."""

    rows: list[RowType]
    after: str | None


class Lists:
    """An open store and the ways to read lists from it."""

    _engine: Engine

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Let go of the file."""
        self.close()

    def _fetch(self, query: AnySelect) -> Sequence[AnyRow]:
        with self._engine.connect() as connection:
            return connection.execute(query).all()

    def _all(self, query: AnySelect, row_type: type[RowType]) -> list[RowType]:
        return [msgspec.convert(_mapping(row), row_type) for row in self._fetch(query)]

    def _page(
        self,
        query: AnySelect,
        table: Table,
        row_type: type[RowType],
        limit: int,
        after: str | None,
    ) -> Page[RowType]:
        """Cut one page; ``after`` is the id of the last row seen, so new rows shift nothing."""
        key = _ORDER[table.name]
        columns = [table.c[name] for name in key.columns]
        if after is not None:
            edge = self._edge(table, columns, after)
            query = query.where(
                tuple_(*columns) < edge if key.newest_first else tuple_(*columns) > edge
            )
        order = [column.desc() if key.newest_first else column.asc() for column in columns]
        size = page_size(limit)
        found = self._all(query.order_by(*order).limit(size + 1), row_type)
        more = len(found) > size
        last = getattr(found[size - 1], _id_column(table)) if more else None
        return Page(found[:size], last)

    def _edge(self, table: Table, columns: list[Any], after: str) -> Any:
        row = self._fetch(select(*columns).where(table.c[_id_column(table)] == after))
        if not row:
            raise StoreError(f"There is no row {after} to go on from; list again from the start.")
        return tuple_(*row[0])

    def _by_prefix(
        self, table: Table, row_type: type[RowType], beginning: str, noun: str
    ) -> RowType:
        column = table.c[_id_column(table)]
        text = beginning.strip().lower()
        # "g" follows every hex digit: an index range, and nothing for LIKE to misread
        query = select(table).where(column >= text, column < text + "g").order_by(column).limit(2)
        found = self._all(query, row_type) if text else []
        if not found:
            raise StoreError(f"There is no {noun} whose id begins with '{beginning}'.")
        if len(found) > 1:
            raise StoreError(f"More than one {noun} begins with '{beginning}': give more digits.")
        return found[0]


@dataclass(frozen=True, slots=True)
class _Order:
    columns: tuple[str, str]
    newest_first: bool


_ORDER: Final[Mapping[str, _Order]] = {
    "alerts": _Order(("event_time_ns", "alert_id"), newest_first=True),
    "notices": _Order(("sent_ns", "notice_id"), newest_first=True),
    "dead_letters": _Order(("lane", "byte_offset"), newest_first=False),
}


def _id_column(table: Table) -> str:
    return next(iter(table.primary_key.columns)).name


def _mapping(row: AnyRow) -> dict[str, Any]:
    # keys are of a subclass of str, which msgspec does not take
    return {str(key): value for key, value in row._mapping.items()}  # noqa: SLF001  its public name


def page_size(limit: int) -> int:
    """Return ``limit``, or raise ``StoreError`` where no page is that long."""
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise StoreError(f"A page holds 1 to {PAGE_SIZE_MAX} rows, not {limit}.")
    return limit
