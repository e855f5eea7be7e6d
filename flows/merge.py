"""Several bounded lanes as one, by event time; the same however the lanes come in batches.

Rows are ordered by (highest event time so far in their lane, lane index, position in the lane). The
running maximum keeps every lane in its own order, which is given, while lanes meet by time.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.columns import ROW, Bytes, EventColumns, Rows

ROWS_PER_BATCH: Final = 65_536
LANES_MAX: Final = 2**15
_TIME_MIN: Final = np.iinfo(np.int64).min
_LINE_FEED: Final = np.uint8(ord("\n"))


@dataclass(frozen=True, slots=True)
class MergedBatch:
    """Rows of several lanes, in merged order.

    Attributes
    ----------
    columns
        ``raw`` holds the rows' lines and nothing else, each with a line feed.
    lane_of_row
        Shape (n,) int16: the index of the lane each row came from.
    """

    columns: EventColumns
    lane_of_row: NDArray[np.int16]


def merge_rows(
    lanes: Sequence[Iterable[EventColumns]], rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[MergedBatch]:
    """Yield all lanes' rows in merged order, in batches of ``rows_per_batch`` but for the last.

    Memory holds one batch of every lane and one batch of output. A lane is asked for its next batch
    only when its last is used up.

    Parameters
    ----------
    lanes
        Each lane's batches in lane order; empty batches are allowed. At most 32,768 lanes.
    """
    assert len(lanes) <= LANES_MAX
    assert rows_per_batch > 0
    cursors = [_Cursor(index, batches) for index, batches in enumerate(lanes)]
    waiting = _Parts()
    while cursors := [cursor for cursor in cursors if cursor.fill()]:  # all need a row to compare
        waiting.add(_take_ready(cursors))
        while len(waiting) >= rows_per_batch:
            yield waiting.take(rows_per_batch)
    if len(waiting):
        yield waiting.take(len(waiting))


class _Cursor:
    """Where one lane stands."""

    def __init__(self, lane: int, batches: Iterable[EventColumns]) -> None:
        self.lane = lane
        self._batches = iter(batches)
        self._columns = EventColumns.empty()
        self._keys = np.zeros(0, np.int64)
        self._next = 0
        self._high = _TIME_MIN

    @property
    def last_key(self) -> int:
        """No later row of the lane has a smaller key."""
        return int(self._keys[-1])

    def fill(self) -> bool:
        """Fetch a batch if the last is used up; say whether there is a row."""
        while self._next == len(self._keys):
            columns = next(self._batches, None)
            if columns is None:
                return False
            times = columns.rows["event_time_ns"]
            self._keys = np.maximum.accumulate(np.maximum(times, self._high))
            self._columns = columns
            self._next = 0
            self._high = self.last_key if len(times) else self._high
        return True

    def take(self, key: int, lane: int) -> "_Part":
        """Take the rows up to (key, lane)."""
        side: Literal["left", "right"] = "right" if self.lane <= lane else "left"
        first = self._next
        self._next = max(first, int(np.searchsorted(self._keys, key, side=side)))
        rows = self._columns.rows[first : self._next]
        lanes = np.full(len(rows), self.lane, np.int16)
        return _tight(_Part(rows, self._columns.raw, lanes, self._keys[first : self._next]))


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows in order, with a ``raw`` of their own lines in some order."""

    rows: Rows
    raw: Bytes
    lanes: NDArray[np.int16]
    keys: NDArray[np.int64]

    def slice(self, first: int, end: int) -> "_Part":
        """Return some of the rows, over the same ``raw``."""
        return _Part(self.rows[first:end], self.raw, self.lanes[first:end], self.keys[first:end])


def _take_ready(cursors: list[_Cursor]) -> _Part:
    """Take all rows that nothing still to come can precede; at least one lane's batch is used up.

    A lane's coming rows are at or beyond (its last key, its index), so the smallest of these pairs
    is a bound for all lanes.
    """
    key, lane = min((cursor.last_key, cursor.lane) for cursor in cursors)
    part = _join([cursor.take(key, lane) for cursor in cursors])
    order = np.argsort(part.keys, kind="stable")  # joined by lane, so equal keys stay so
    return _Part(part.rows[order], part.raw, part.lanes[order], part.keys[order])


def _join(parts: Sequence[_Part]) -> _Part:
    rows = np.concatenate([np.zeros(0, ROW), *(part.rows for part in parts)])
    sizes = np.array([len(part.raw) for part in parts], np.int64)
    shifts = np.cumsum(sizes) - sizes
    rows["line_start"] += np.repeat(shifts, [len(part.rows) for part in parts])
    return _Part(
        rows,
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.lanes for part in parts]),
        np.concatenate([part.keys for part in parts]),
    )


class _Parts:
    """Rows waiting to fill a batch."""

    def __init__(self) -> None:
        self._parts: deque[_Part] = deque()
        self._first = 0  # rows of the first part that are gone
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, part: _Part) -> None:
        self._parts.append(part)
        self._count += len(part.rows)

    def take(self, count: int) -> MergedBatch:
        """Return the first ``count`` rows; each row is copied once, however small the batches."""
        self._count -= count
        taken = []
        while count:
            part = self._parts[0]
            end = min(len(part.rows), self._first + count)
            taken.append(_tight(part.slice(self._first, end)))
            count -= end - self._first
            self._first = end
            if end == len(part.rows):
                self._parts.popleft()
                self._first = 0
        whole = _join(taken)
        return MergedBatch(EventColumns(whole.rows, whole.raw), whole.lanes)


def _tight(part: _Part) -> _Part:
    """Return a copy whose ``raw`` is the rows' lines in order, each with a line feed."""
    rows = part.rows.copy()
    length = rows["line_length"].astype(np.int64)
    lines = np.empty(int(length.sum()) + len(rows), np.uint8)
    copy_lines(part.raw, rows["line_start"].astype(np.int64), length, lines)
    rows["line_start"] = np.cumsum(length + 1) - length - 1
    return _Part(rows, lines, part.lanes, part.keys)


@njit(cache=True)
def copy_lines(raw: Bytes, start: NDArray[np.int64], length: NDArray[np.int64], out: Bytes) -> None:
    """Write raw[start[i] : start[i] + length[i]] and a line feed for each i, one after another.

    ``start`` and ``length`` have shape (n,); ``out`` has shape (sum of length + n,).
    """
    at = 0
    for index in range(len(start)):
        for place in range(start[index], start[index] + length[index]):
            out[at] = raw[place]
            at += 1
        out[at] = _LINE_FEED
        at += 1
