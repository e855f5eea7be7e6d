"""Several bounded lanes as one, by event time; the same however the lanes come in batches.

Rows are ordered by (highest event time so far in their lane, lane index, position in the lane). The
running maximum keeps every lane in its own order, which is given, while lanes meet by time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.columns import ROW, Bytes, EventColumns
from schemas.whole_rows import put

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
        ``raw`` holds the rows' lines and nothing else, in row order,
        each with a line feed.
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
    output = _Output(rows_per_batch)
    while cursors := [cursor for cursor in cursors if cursor.fill()]:  # all need a row to compare
        turns = _turns(cursors)
        while len(turns):
            taken, turns = np.split(turns, [output.room])
            output.put(cursors, taken)
            if output.room == 0:
                yield output.finish()
                output = _Output(rows_per_batch, output.raw_used)
    if output.count:
        yield output.finish()


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

    def keys_up_to(self, key: int, lane: int) -> NDArray[np.int64]:
        """Return the keys of the rows not yet taken up to (key, lane)."""
        side: Literal["left", "right"] = "right" if self.lane <= lane else "left"
        end = int(np.searchsorted(self._keys, key, side=side))
        return self._keys[self._next : max(self._next, end)]

    def take(self, count: int) -> EventColumns:
        """Take the next rows."""
        first = self._next
        self._next += count
        return EventColumns(self._columns.rows[first : self._next], self._columns.raw)


def _turns(cursors: list[_Cursor]) -> NDArray[np.intp]:
    """Return whose row comes next, as indices into ``cursors``, as far as it can be told.

    A lane's coming rows are at or beyond (its last key, its index), so the smallest of these pairs
    bounds what can be told; at least one lane's batch is used up.
    """
    key, lane = min((cursor.last_key, cursor.lane) for cursor in cursors)
    keys = [cursor.keys_up_to(key, lane) for cursor in cursors]
    owner = np.repeat(np.arange(len(cursors)), [len(one) for one in keys])
    # Joined by lane, so a stable sort keeps equal keys by lane and position.
    return owner[np.argsort(np.concatenate(keys), kind="stable")]


class _Output:
    """One batch being filled: every row and every line is copied into it once."""

    def __init__(self, row_count: int, raw_size_guess: int = 0) -> None:
        self.count = 0
        self.raw_used = 0
        self._rows = np.empty(row_count, ROW)
        self._lanes = np.empty(row_count, np.int16)
        self._raw = np.empty(raw_size_guess, np.uint8)

    @property
    def room(self) -> int:
        return len(self._rows) - self.count

    def put(self, cursors: list[_Cursor], turns: NDArray[np.intp]) -> None:
        """Take a row for each turn from the lane whose turn it is."""
        places = [np.flatnonzero(turns == turn) for turn in range(len(cursors))]
        taken = [cursor.take(len(at)).lines() for cursor, at in zip(cursors, places, strict=True)]
        length = np.empty(len(turns), np.int64)
        for at, (rows, _) in zip(places, taken, strict=True):
            length[at] = rows["line_length"]
        self._reserve(int(length.sum()) + len(length))
        line_end = self.raw_used + np.cumsum(length + 1)
        for cursor, at, (rows, raw) in zip(cursors, places, taken, strict=True):
            start = rows["line_start"].astype(np.int64)
            starts = line_end[at] - length[at] - 1
            copy_lines(raw, start, length[at], self._raw, starts)
            put(self._rows, rows, self.count + at)
            self._rows["line_start"][self.count + at] = starts
            self._lanes[self.count + at] = cursor.lane
        self.count += len(turns)
        self.raw_used = int(line_end[-1])

    def _reserve(self, size: int) -> None:
        if self.raw_used + size > len(self._raw):
            larger = np.empty(2 * (self.raw_used + size), np.uint8)
            larger[: self.raw_used] = self._raw[: self.raw_used]
            self._raw = larger

    def finish(self) -> MergedBatch:
        """Return the batch."""
        columns = EventColumns(self._rows[: self.count], self._raw[: self.raw_used])
        return MergedBatch(columns, self._lanes[: self.count])


@njit(cache=True)
def copy_lines(
    raw: Bytes,
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    out: Bytes,
    out_start: NDArray[np.int64],
) -> None:
    """Copy raw[start[i] : start[i] + length[i]] and a line feed to out[out_start[i] :] for each i.

    ``start``, ``length`` and ``out_start`` have shape (n,).
    """
    for index in range(len(start)):
        at = out_start[index]
        end = at + length[index]
        out[at:end] = raw[start[index] : start[index] + length[index]]
        out[end] = _LINE_FEED
