"""Lines of rows that came in Arrow columns, written when somebody asks for them.

The message stays in memory as long as its rows do; for a snapshot or another process the rows take
their lines along instead.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import _arrow_table as tables
from schemas._arrow_lines import measure_lines, write_lines
from schemas.columns import Bytes, Rows
from schemas.whole_rows import copied


class Part(NamedTuple):
    """One batch, whose rows have the numbers from ``first`` on."""

    first: int
    table: tables.Batch
    prefixes: Bytes


class WrittenLines:
    """The lines of several batches.

    A row's ``line_start`` is its number among all rows, refused ones included, and its
    ``line_length`` 0; but where the referee took a row, they say where its line stands among those
    that were written for the referee.
    """

    def __init__(self, parts: list[Part], spelled: bytes, spec_of: NDArray[np.int16]) -> None:
        self._parts = parts
        self._firsts = [part.first for part in parts]
        self._spelled = spelled
        self._spec_of = spec_of

    def __len__(self) -> int:
        """See ``schemas.columns.Lines``."""
        return sum({id(part.table.data): len(part.table.data) for part in self._parts}.values())

    def write(self, rows: Rows) -> tuple[Rows, Bytes]:
        """See ``schemas.columns.Lines``."""
        own = copied(rows)
        pieces: list[Bytes] = [np.frombuffer(self._spelled, np.uint8)]
        size = len(self._spelled)
        is_plain = rows["line_length"] == 0
        part_of = np.searchsorted(self._firsts, rows["line_start"], side="right") - 1
        for index in np.unique(part_of[is_plain]).tolist():
            picked = np.flatnonzero(is_plain & (part_of == index))
            lines, ends = self._write_part(self._parts[index], rows.take(picked))
            own["line_start"][picked] = size + np.concatenate([[0], ends[:-1]])
            own["line_length"][picked] = np.diff(ends, prepend=0)
            pieces.append(lines)
            size += len(lines)
        return own, np.concatenate(pieces)

    def _write_part(self, part: Part, rows: Rows) -> tuple[Bytes, NDArray[np.int64]]:
        """Write the lines of rows of one batch; return them and where each ends."""
        numbers = rows["line_start"] - part.first
        kinds = np.ascontiguousarray(rows["kind"])
        room = measure_lines(part.table, numbers, kinds, self._spec_of)
        lines, ends = np.empty(room, np.uint8), np.empty(len(rows), np.int64)
        with np.errstate(over="ignore"):  # only uncompiled kernels warn
            write_lines(part.table, numbers, kinds, part.prefixes, lines, ends, self._spec_of)
        return lines[: ends[-1]], ends
