"""Bytes of one lane in, columns out: the way every JSON line enters.

Plain lines are read by kernels; every other line goes alone to ``schemas.referee``, which takes
it or names the reason. Both give the same row for the same event.
"""

from typing import Any, Final, NamedTuple

import numpy as np

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

STAGE: Final = "scan"
UNKNOWN_NAMES_MAX: Final = 1_024  # different names counted apart in one block
OTHER_NAMES: Final = "(other)"
_LINE_SIZE_GUESS: Final = 200  # room for rows is made by it; wrong only costs another round
_LINE_SIZE_MIN: Final = 16
_SPARE_SHARE: Final = 16
_ROWS_SPARE: Final = 16
_TAIL_STEP: Final = 4_096
_LINE_FEED: Final = 10


class _Segment(NamedTuple):
    """What one run over a part of the block gave."""

    rows: Rows
    odd: list[int]
    unknown: list[tuple[str, int]]


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
        first = self._scan_segment(block, cut, 0)
        last = self._scan_segment(_pad(block[cut:]), len(block) - cut, len(first.rows))
        last.rows["line_start"] += cut
        rows = np.concatenate([first.rows, last.rows]) if len(last.rows) else first.rows
        scanned = Scanned(EventColumns(rows, block), [], len(rows))
        for name, count in (*first.unknown, *last.unknown):
            _count_name(scanned.unknown_fields, name, count)
        self._judge_odd(scanned, [*first.odd, *last.odd])
        _scan_kernels.fill_high_before(_scan_fields.view_rows(scanned.columns.rows).ints)
        return scanned

    def _scan_segment(self, buffer: Bytes, size: int, line_count: int) -> "_Segment":
        """Scan ``buffer[:size]``, behind which padding stands, making room for rows as needed."""
        work = _scan_fields.make_work(len(wire.KEYS))
        parts: list[Rows] = []
        odd_lines: list[int] = []
        at = 0
        while at < size:
            rows = np.zeros((size - at) // self._line_size + _ROWS_SPARE, ROW)
            odd = np.empty(len(rows), np.int64)
            views = _scan_fields.view_rows(rows)
            span = (at, size, line_count)
            with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
                count, odd_count, end = _scan_kernels.scan_lines(
                    buffer, span, views, odd, work, self._tables, self._keys
                )
            odd_lines.extend((odd[:odd_count] + line_count).tolist())
            parts.append(rows[:count])
            line_count += count
            mean = (end - at) // count
            self._line_size = max(_LINE_SIZE_MIN, mean - mean // _SPARE_SHARE)
            at = end
        joined = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, ROW), *parts])
        return _Segment(joined, odd_lines, _name_unknown(work, buffer))

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
                scanned.rejected.append(_reject(verdict, line, row_index, start))
                continue
            row, unknown = verdict
            for name in ("line_start", "line_length", "line_number"):
                row[name] = rows[name][row_index]
            rows[row_index] = row
            for field_name in unknown:
                _count_name(scanned.unknown_fields, field_name, 1)
        if scanned.rejected:
            scanned.columns = EventColumns(rows[kept], scanned.columns.raw)


def _count_name(counts: dict[str, int], name: str, count: int) -> None:
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


def _reject(verdict: "referee.Verdict", line: bytes, line_number: int, start: int) -> Rejected:
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
