"""Bytes of one lane in, columns out: the way every JSON line enters.

Plain lines are read by kernels; every other line goes alone to ``schemas.referee``, which takes
it or names the reason. Both give the same row for the same event.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas import _scan_kernels, referee, wire
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
_LINE_SIZE_GUESS: Final = 96  # shorter than most lines, so that one allocation is mostly enough


class Scanner:
    """Turns blocks of lines into rows. Keeps nothing from one block to the next.

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
        self._keys = (key.as_array(), np.uint64(tenant_hash))

    def scan(self, raw: Bytes | bytes) -> Scanned:
        """Read whole lines.

        Parameters
        ----------
        raw
            Lines separated by line feeds; the last one may lack its own. A carriage return
            before a line feed is white space.

        Returns
        -------
        Scanned
            A row for every accepted line and a ``Rejected`` for every other, in line order.
        """
        buffer = _pad(raw)
        size = len(buffer) - LOAD_PADDING
        work = _scan_kernels.make_work(len(wire.KEYS))
        rows, odd = self._run_kernel(buffer, size, work)
        scanned = Scanned(EventColumns(rows, buffer[:size]), [], len(rows))
        _count_unknown(scanned.unknown_fields, work, buffer)
        if len(odd):
            self._judge_odd(scanned, odd)
        ints = _scan_kernels.view_rows(scanned.columns.rows).ints
        _scan_kernels.fill_high_before(ints)
        return scanned

    def _run_kernel(self, buffer: Bytes, size: int, work: Any) -> tuple[Rows, NDArray[np.int64]]:
        """Scan the whole block, making room for rows as needed."""
        parts: list[Rows] = []
        odd_parts: list[NDArray[np.int64]] = []
        at = line_count = 0
        while at < size:
            rows = np.zeros((size - at) // _LINE_SIZE_GUESS + 16, ROW)
            odd = np.empty(len(rows), np.int64)
            with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
                count, odd_count, at = _scan_kernels.scan_lines(
                    buffer,
                    (at, size, line_count),
                    _scan_kernels.view_rows(rows),
                    odd,
                    work,
                    self._tables,
                    self._keys,
                )
            parts.append(rows[:count])
            odd_parts.append(odd[:odd_count] + line_count)
            line_count += count
        if len(parts) == 1:
            return parts[0], odd_parts[0]
        return (
            np.concatenate([np.zeros(0, ROW), *parts]),
            np.concatenate([np.zeros(0, np.int64), *odd_parts]),
        )

    def _judge_odd(self, scanned: Scanned, odd: NDArray[np.int64]) -> None:
        """Let the referee decide the lines the kernel left."""
        rows = scanned.columns.rows
        kept = np.ones(len(rows), np.bool_)
        for row_index in odd.tolist():
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


UNKNOWN_NAMES_MAX: Final = 1_024
OTHER_NAMES: Final = "(other)"


def _count_name(counts: dict[str, int], name: str, count: int) -> None:
    """Count an unknown field; a sender who invents names without end fills one last bucket."""
    if name not in counts and len(counts) >= UNKNOWN_NAMES_MAX:
        name = OTHER_NAMES
    counts[name] = counts.get(name, 0) + count


def _count_unknown(counts: dict[str, int], work: Any, buffer: Bytes) -> None:
    """Name what the kernel counted."""
    for index in np.flatnonzero(work.counts).tolist():
        if index < len(wire.KEYS):
            name = wire.KEYS[index]
        else:
            start, length = work.unknown[index - len(wire.KEYS)].tolist()
            name = bytes(buffer[start : start + length]).decode("ascii")
        _count_name(counts, name, int(work.counts[index]))


def _pad(raw: Bytes | bytes) -> Bytes:
    """Copy the block behind which ``LOAD_PADDING`` zero bytes stand."""
    size = len(raw)
    buffer = np.empty(size + LOAD_PADDING, np.uint8)
    buffer[:size] = np.frombuffer(raw, np.uint8) if isinstance(raw, bytes) else raw
    buffer[size:] = 0
    return buffer


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
