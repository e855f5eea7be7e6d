"""Several lanes merged one row at a time: the twin of ``flows.merge``."""

import heapq
from collections.abc import Iterator, Sequence

Row = tuple[int, int, int]  # running maximum of event time, lane, position in the lane


def _keyed(lane: int, times: Sequence[int]) -> Iterator[Row]:
    high = None
    for position, time in enumerate(times):
        high = time if high is None else max(high, time)
        yield high, lane, position


def merge(lanes: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return (lane, position) of every row in merged order."""
    streams = [_keyed(lane, times) for lane, times in enumerate(lanes)]
    return [(lane, position) for _, lane, position in heapq.merge(*streams)]
