"""Bytes of one lane in, columns out: the way every JSON line enters.

Plain lines are read by kernels; every other line goes alone to ``schemas.referee``, which takes
it or names the reason. Both give the same row for the same event.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas import _scan_fields, _scan_kernels, referee, wire
from schemas.columns import (
    RAW_SIZE_MAX,
    ROW,
    Bytes,
    EventColumns,
    HashKey,
    Rejected,
    Rows,
    Scanned,
)
from schemas.hashing import LOAD_PADDING, hash_bytes
from schemas.whole_rows import joined

STAGE: Final = "scan"
UNKNOWN_NAMES_MAX: Final = 1_024  # different names counted apart in one block
OTHER_NAMES: Final = "(other)"
_LINE_SIZE_GUESS: Final = 200  # room for rows is made by it; wrong only costs another round
_LINE_SIZE_MIN: Final = 16
_SPARE_SHARE: Final = 16
_ROWS_SPARE: Final = 16
_TAIL_STEP: Final = 4_096
_LINE_FEED: Final = 10


class _Run:
    """One block's rows and findings while it is scanned.

    Parameters
    ----------
    line_size
        Guess of a line's size, from which room for rows is made.
    """

    def __init__(self, line_size: int) -> None:
        self.odd: list[int] = []
        self.unknown: dict[str, int] = {}
        self.line_count = 0
        self._line_size = line_size
        self._parts: list[Rows] = []
        self._used = 0  # rows of the last part

    def room(self, size: int) -> Rows:
        """Return zeroed rows for the next ``size`` bytes; perhaps not enough of them."""
        if not self._parts or self._used == len(self._parts[-1]):
            self._parts.append(np.zeros(size // self._line_size + _ROWS_SPARE, ROW))
            self._used = 0
        return self._parts[-1][self._used :]

    def use(self, row_count: int, odd: NDArray[np.int64]) -> None:
        """Note that so many rows were written, and which of them are not plain."""
        self.odd.extend((odd + self.line_count).tolist())
        self.line_count += row_count
        self._used += row_count
        if self._used == len(self._parts[-1]):  # lines are shorter than guessed
            self._line_size = max(_LINE_SIZE_MIN, self._line_size // 2)

    def rows(self) -> Rows:
        """Return all rows written."""
        parts = [*self._parts[:-1], *(part[: self._used] for part in self._parts[-1:])]
        return parts[0] if len(parts) == 1 else joined([np.zeros(0, ROW), *parts])


class Scanner:
    """Turns blocks of lines into rows. No block's result depends on another's.

    Parameters
    ----------
    key
        Of the identifier hashes.
    anonymous
        Whether account kinds may leave out their account, as exchange tapes do.
    tenant
        The connection's tenant: the one of every account whose event names none.
    """

    def __init__(self, key: HashKey, *, anonymous: bool = False, tenant: str | None = None) -> None:
        self._anonymous = anonymous
        self._tables = wire.build_tables(anonymous=anonymous)
        tenant_hash = hash_bytes(tenant.encode(), 0, key)[0] if tenant is not None else 0
        self._judge_key = referee.RowKey(key, tenant_hash)
        self._line_size = _LINE_SIZE_GUESS  # of the last block; only a guess for the next
        self._keys = (key.as_array(), np.uint64(tenant_hash))

    def scan(self, raw: Bytes | bytes) -> Scanned:
        """Read whole lines.

        Parameters
        ----------
        raw
            Lines separated by line feeds; the last one may lack its own. A carriage return
            before a line feed is white space. A writable array is read in place and becomes the
            columns' ``raw``: leave it alone afterwards. Anything else is copied.

        Returns
        -------
        Scanned
            A row for every accepted line and a ``Rejected`` for every other, in line order.
        """
        block = _own(raw)
        cut = _padded_size(block)
        run = _Run(self._line_size)
        self._scan_lines(run, block, cut, 0)
        self._scan_lines(run, _pad(block[cut:]), len(block) - cut, cut)
        scanned = Scanned(EventColumns(run.rows(), block), [], run.line_count, run.unknown)
        self._judge_odd(scanned, run.odd)
        _scan_kernels.fill_high_before(_scan_fields.view_rows(scanned.columns.rows).ints)
        mean = len(block) // max(run.line_count, 1)
        self._line_size = max(_LINE_SIZE_MIN, mean - mean // _SPARE_SHARE)
        return scanned

    def _scan_lines(self, run: _Run, buffer: Bytes, size: int, offset: int) -> None:
        """Scan ``buffer[:size]``, which stands ``offset`` bytes into the block, padding behind."""
        work = _scan_fields.make_work(len(wire.KEYS))
        at = 0
        while at < size:
            rows = run.room(size - at)
            odd = np.empty(len(rows), np.int64)
            views = _scan_fields.view_rows(rows)
            span = (at, size, run.line_count)
            with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
                count, odd_count, at = _scan_kernels.scan_lines(
                    buffer, span, views, odd, work, self._tables, self._keys
                )
            if offset:
                rows["line_start"][:count] += offset
            run.use(count, odd[:odd_count])
        for name, count in _name_unknown(work, buffer):
            count_name(run.unknown, name, count)

    def _judge_odd(self, scanned: Scanned, odd: list[int]) -> None:
        """Let the referee decide the lines the kernel left."""
        rows = scanned.columns.rows
        kept = np.ones(len(rows), np.bool_)
        for row_index in odd:
            line = scanned.columns.line(row_index)
            verdict = referee.judge_row(line, self._judge_key, anonymous=self._anonymous)
            if isinstance(verdict, referee.Verdict):
                kept[row_index] = False
                start = int(rows["line_start"][row_index])
                scanned.rejected.append(reject(verdict, line, row_index, start))
                continue
            row, unknown = verdict
            for name in ("line_start", "line_length", "line_number"):
                row[name] = rows[name][row_index]
            rows[row_index] = row
            for field_name in unknown:
                count_name(scanned.unknown_fields, field_name, 1)
        if scanned.rejected:
            scanned.columns = EventColumns(rows.take(np.flatnonzero(kept)), scanned.columns.raw)


def count_name(counts: dict[str, int], name: str, count: int) -> None:
    """Count an unknown field; a sender who invents names without end fills one last bucket."""
    if name not in counts and len(counts) >= UNKNOWN_NAMES_MAX:
        name = OTHER_NAMES
    counts[name] = counts.get(name, 0) + count


def _name_unknown(work: Any, buffer: Bytes) -> list[tuple[str, int]]:
    """Name and count what the kernel counted."""
    named = []
    for index in np.flatnonzero(work.counts).tolist():
        if index < len(wire.KEYS):
            name = wire.KEYS[index]
        else:
            start, length = work.unknown[index - len(wire.KEYS)].tolist()
            name = bytes(buffer[start : start + length]).decode("ascii")
        named.append((name, int(work.counts[index])))
    return named


def _own(raw: Bytes | bytes) -> Bytes:
    """Return the block as a writable array: numba compiles anew for read-only ones."""
    if isinstance(raw, np.ndarray) and raw.flags.writeable and raw.flags.c_contiguous:
        return raw
    return np.frombuffer(bytearray(raw), np.uint8)


def _padded_size(block: Bytes) -> int:
    """Return the size of those whole lines behind which ``LOAD_PADDING`` bytes stand."""
    end = len(block) - LOAD_PADDING
    while end > 0:
        start = max(0, end - _TAIL_STEP)
        line_feeds = np.flatnonzero(block[start:end] == _LINE_FEED)
        if len(line_feeds):
            return start + int(line_feeds[-1]) + 1
        end = start
    return 0


def _pad(tail: Bytes) -> Bytes:
    """Copy the block's last lines and put ``LOAD_PADDING`` zero bytes behind them."""
    return np.concatenate([tail, np.zeros(LOAD_PADDING, np.uint8)])


def reject(verdict: "referee.Verdict", line: bytes, line_number: int, start: int) -> Rejected:
    """Keep a refused line as data."""
    return Rejected(
        reason=verdict.reason,
        stage=STAGE,
        path=verdict.path,
        expected=verdict.expected,
        got=verdict.got,
        line_number=line_number,
        byte_offset=start,
        raw=line[:RAW_SIZE_MAX],
    )
