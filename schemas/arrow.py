"""Arrow IPC messages of one lane in, columns out: the way events come that are columns already.

A row is what it would be as a line of JSON: kernels take plain rows, and every other row is spelled
as a line and goes alone to ``schemas.referee``. So both formats give the same row, or the same
reason, for the same event.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import _arrow_kernels as kernels
from schemas import _scan_fields, _scan_kernels, referee, wire
from schemas._arrow_frame import broken
from schemas._arrow_message import ROWS_MAX, MessageReader, ReadBatch
from schemas._arrow_spell import spell_row
from schemas._arrow_table import Work, make_work
from schemas._arrow_written import Part, WrittenLines
from schemas.columns import (
    ROW,
    EventColumns,
    HashKey,
    Rejected,
    Rows,
    Scanned,
)
from schemas.hashing import hash_bytes
from schemas.scan import count_name, reject
from schemas.strict_json import Fault
from schemas.whole_rows import joined

__all__ = ["ROWS_MAX", "ArrowScanner"]

_NO_ROWS: Final = np.zeros(0, ROW)


class ArrowScanner:
    """Turns messages of record batches into rows. No message's result depends on another's.

    Parameters
    ----------
    key
        Of the identifier hashes.
    anonymous
        Whether account kinds may leave out their account.
    tenant
        The one of every account whose event names none.
    """

    def __init__(self, key: HashKey, *, anonymous: bool = False, tenant: str | None = None) -> None:
        self._anonymous = anonymous
        self._tables = wire.build_tables(anonymous=anonymous)
        tenant_hash = hash_bytes(tenant.encode(), 0, key)[0] if tenant is not None else 0
        self._judge_key = referee.RowKey(key, tenant_hash)
        self._keys = (key.as_array(), np.uint64(tenant_hash))
        self._reader = MessageReader()

    def scan(self, messages: Sequence[bytes]) -> Scanned:
        """Read messages, each an Arrow IPC stream.

        Returns
        -------
        Scanned
            A row for every accepted event and a ``Rejected`` for every other, in order. Their
            ``line_number`` is the message's index times ``ROWS_MAX`` plus the row's in it. A
            message of which nothing can be taken is one ``Rejected`` at its first row.
        """
        run = _Run()
        with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
            for index, value in enumerate(messages):
                self._scan_message(run, value, index * ROWS_MAX)
        rows = run.rows[0] if len(run.rows) == 1 else joined([_NO_ROWS, *run.rows])
        lines = WrittenLines(run.parts, b"".join(run.spelled), self._tables.spec_of)
        columns = EventColumns(rows, lines)
        _scan_kernels.fill_high_before(_scan_fields.view_rows(columns.rows).ints)
        return Scanned(columns, run.rejected, run.row_count, run.unknown)

    def _scan_message(self, run: "_Run", value: bytes, number: int) -> None:
        """Read one message whose first row has this number."""
        part, first = _Run(run.row_count, run.spelled_size), number
        try:
            for batch in self._reader.read(value):
                self._scan_batch(part, batch, number)
                number += batch.row_count
        except Fault as fault:
            part = _Run(run.row_count, run.spelled_size)
            part.row_count += 1
            verdict = referee.Verdict(fault.reason, fault.path, fault.expected, fault.got)
            part.rejected.append(reject(verdict, value, first, 0))
        run.add(part)

    def _scan_batch(self, run: "_Run", batch: ReadBatch, number: int) -> None:
        """Read one batch whose first row has this number."""
        rows = np.zeros(batch.row_count, ROW)
        rows["line_number"] = np.arange(number, number + len(rows))
        rows["line_start"] = np.arange(run.row_count, run.row_count + len(rows))
        work = make_work(len(rows), len(wire.KEYS))
        self._check(batch, _scan_fields.view_rows(rows), work)
        run.parts.append(Part(run.row_count, batch.table, batch.plan.prefixes))
        run.row_count += len(rows)
        for key in np.flatnonzero(work.counts[:-1]).tolist():
            count_name(run.unknown, wire.KEYS[key], int(work.counts[key]))
        is_kept = work.odd == 0
        self._judge_odd(run, batch, rows, is_kept)
        for name, has_value in batch.unknown:
            if count := int(np.count_nonzero(has_value & is_kept)):
                count_name(run.unknown, name, count)
        run.rows.append(rows if is_kept.all() else rows[is_kept])

    def _check(self, batch: ReadBatch, views: _scan_fields.RowViews, work: Work) -> None:
        """Let the kernels take every plain row, and count what their kinds do not know."""
        table, tables, keys = batch.table, self._tables, self._keys
        is_sound = all(
            kernels.read_names(table, column, names, tables, keys)
            for column, names in batch.dictionaries.items()
        )
        is_sound = is_sound and kernels.read_kinds(table, batch.kind_column, views, work, tables)
        if not (is_sound and kernels.check_rows(table, views, work, tables, keys)):
            raise broken("texts or indexes that point outside it")
        kernels.count_foreign(table, views, work, tables)

    def _judge_odd(
        self, run: "_Run", batch: ReadBatch, rows: Rows, is_kept: NDArray[np.bool_]
    ) -> None:
        """Let the referee decide the rows the kernels left."""
        if is_kept.all():
            return
        values = batch.values()
        for index in np.flatnonzero(~is_kept).tolist():
            line = spell_row(batch, index, np.flatnonzero(values[:, index]).tolist())
            number = int(rows["line_number"][index])
            verdict = referee.judge_row(line, self._judge_key, anonymous=self._anonymous)
            if isinstance(verdict, referee.Verdict):
                run.rejected.append(reject(verdict, line, number, 0))
                continue
            row, unknown = verdict
            row["line_start"], row["line_length"] = run.spelled_size, len(line)
            row["line_number"] = number
            rows[index] = row
            is_kept[index] = True
            run.spell(line)
            for name in unknown:
                count_name(run.unknown, name, 1)


class _Run:
    """What some messages gave so far.

    Parameters
    ----------
    row_count
        Rows before those of this run.
    spelled_size
        Bytes of lines that were spelled for the referee before those of this run.
    """

    def __init__(self, row_count: int = 0, spelled_size: int = 0) -> None:
        self.row_count = row_count
        self.spelled_size = spelled_size
        self.spelled: list[bytes] = []
        self.parts: list[Part] = []
        self.rows: list[Rows] = []
        self.rejected: list[Rejected] = []
        self.unknown: dict[str, int] = {}

    def spell(self, line: bytes) -> None:
        """Keep the line of a row that the referee took."""
        self.spelled.append(line)
        self.spelled_size += len(line)

    def add(self, other: "_Run") -> None:
        """Put what a later message gave behind what is there."""
        self.row_count, self.spelled_size = other.row_count, other.spelled_size
        self.spelled += other.spelled
        self.parts += other.parts
        self.rows += other.rows
        self.rejected += other.rejected
        for name, count in other.unknown.items():
            count_name(self.unknown, name, count)
