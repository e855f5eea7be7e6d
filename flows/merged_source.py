"""Several bounded files as one stream, by event time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

import numpy as np

from flows.lanes import NEVER_NS, BlockTimes, LaneBlock, LaneTime
from flows.merge import MergedBatch, merge_rows
from flows.sources import AdaptedSource, FileSource, LaneItem, ScanOptions, in_order, with_last
from schemas.columns import EventColumns, Rejected

# The end of merged input: refused lines behind the last good row still need a block to travel in.
_NO_ROWS: Final = MergedBatch(EventColumns.empty(), np.zeros(0, np.int16))


class MergedItem:
    """A block of several lanes' rows, merged by event time and already scanned."""

    def __init__(self, block: LaneBlock) -> None:
        self.number = block.number
        self.size = len(block.columns.raw)
        self._block = block

    def scan(self) -> LaneBlock:
        """See ``LaneItem``."""
        return self._block


class MergedSource:
    """Several bounded files as one stream, by event time."""

    def __init__(self, sources: Sequence[FileSource | AdaptedSource], options: ScanOptions) -> None:
        self._sources = sources
        self._options = options
        names = [source.lane_names[0] for source in sources]
        self.lane_names: tuple[str, ...] = tuple(
            name if names.count(name) == 1 else f"{name}#{index}"
            for index, name in enumerate(names)
        )
        self.parts = 1
        self.total_bytes: int | None = None
        self.notes: tuple[str, ...] = tuple(note for source in sources for note in source.notes)

    def items(self, part: int, first: int) -> Iterator[LaneItem]:
        """See ``Source``."""
        assert part == 0
        lanes = [_MergedLane(source) for source in self._sources]
        times = _MergedTimes(lanes)
        batches = chain(
            merge_rows([lane.columns() for lane in lanes], self._options.batch_rows), [_NO_ROWS]
        )
        for number, (batch, is_last) in enumerate(with_last(batches)):
            batch.columns.rows["lane"] = batch.lane_of_row
            block = LaneBlock(
                number=number,
                columns=batch.columns,
                rejected=[(k, r) for k, lane in enumerate(lanes) for r in lane.take_refused()],
                times=BlockTimes(
                    high_ns=times.pass_batch(batch),
                    ahead=sum(lane.take_ahead() for lane in lanes),
                ),
                is_absolute=True,
                is_last=is_last,
                skipped_fields=_taken_sum(lanes),
            )
            if number >= first:
                yield MergedItem(block)


class _MergedLane:
    """One lane of several: its rows with its own time and lines in them, and what was refused."""

    def __init__(self, source: FileSource | AdaptedSource) -> None:
        self._source = source
        self._refused: list[Rejected] = []
        self._skipped: Counter[str] = Counter()
        self._ahead = 0
        self.row_count = 0
        self.is_read = False

    def columns(self) -> Iterator[EventColumns]:
        """Yield the lane's rows."""
        time = LaneTime()
        for item in in_order(self._source):
            block = item.scan()
            carry = time.carry(block.times)
            rows = block.columns.rows
            rows["high_before_ns"] = np.maximum(rows["high_before_ns"], carry[0])
            rows["line_number"] += carry[2]
            lines = int(carry[2])
            self._refused += [
                replace(r, line_number=r.line_number + lines) for _, r in block.rejected
            ]
            self._skipped.update(block.skipped_fields)
            self.row_count += len(rows)
            before = time.ahead
            time.advance(block.times)
            self._ahead += time.ahead - before
            yield block.columns
        self.is_read = True

    def take_refused(self) -> list[Rejected]:
        """Return what was refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    def take_ahead(self) -> int:
        """Return how many rows stood ahead of their neighbours since the last call."""
        ahead, self._ahead = self._ahead, 0
        return ahead

    def take_skipped(self) -> Counter[str]:
        """Return which fields were left out since the last call."""
        skipped, self._skipped = self._skipped, Counter()
        return skipped


class _MergedTimes:
    """How far several lanes have come together."""

    def __init__(self, lanes: Sequence[_MergedLane]) -> None:
        self._lanes = lanes
        self._high_ns = np.full(len(lanes), NEVER_NS, np.int64)
        self._row_counts = np.zeros(len(lanes), np.int64)
        self._clock_ns = NEVER_NS

    def pass_batch(self, batch: MergedBatch) -> int:
        """Set the rows' merged clock; return the time that every lane with rows to come reached.

        The clock is that of the lane furthest ahead and serves the duplicate windows. What is over
        is told by the lane furthest behind: its rows may still come, and are not late.
        """
        rows, lane_of_row = batch.columns.rows, batch.lane_of_row
        rows["clock_ns"] = np.maximum.accumulate(np.maximum(rows["high_before_ns"], self._clock_ns))
        if len(rows):
            self._clock_ns = int(rows["clock_ns"][-1])
        np.maximum.at(self._high_ns, lane_of_row, rows["high_before_ns"])
        self._row_counts += np.bincount(lane_of_row, minlength=len(self._lanes))
        waited_for = [
            int(high_ns)
            for lane, high_ns, count in zip(
                self._lanes, self._high_ns, self._row_counts, strict=True
            )
            if not lane.is_read or lane.row_count > count
        ]
        return min(waited_for, default=self._clock_ns)


def _taken_sum(lanes: Sequence[_MergedLane]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for lane in lanes:
        total.update(lane.take_skipped())
    return dict(total)
