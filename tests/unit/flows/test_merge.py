"""Facts about merging several lanes by event time."""

from collections.abc import Iterator

import naive_merge
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.merge import MergedBatch, copy_lines, merge_rows
from schemas.columns import ROW, EventColumns

Lanes = list[list[int]]


def lane_batches(lane: int, times: list[int], sizes: list[int]) -> Iterator[EventColumns]:
    """Yield a lane's rows in batches of the given sizes, in turn; zero is an empty batch."""
    first = turn = 0
    while first < len(times):
        size = sizes[turn % len(sizes)]
        turn += 1
        part = times[first : first + size]
        lines = [b"lane %d row %d" % (lane, first + i) for i in range(len(part))]
        rows = np.zeros(len(part), ROW)
        rows["event_time_ns"] = part
        rows["line_number"] = np.arange(first, first + len(part))
        rows["line_length"] = [len(line) for line in lines]
        rows["line_start"] = 3 + np.cumsum([0, *(len(line) + 2 for line in lines)])[:-1]
        raw = b"???" + b"\r\n".join(lines) + b"\r\n"
        yield EventColumns(rows, np.frombuffer(raw, np.uint8))
        first += size


def merged(lanes: Lanes, sizes: list[int], rows_per_batch: int) -> list[MergedBatch]:
    streams = [lane_batches(lane, times, sizes) for lane, times in enumerate(lanes)]
    return list(merge_rows(streams, rows_per_batch))


def places(batches: list[MergedBatch]) -> list[tuple[int, int]]:
    return [
        (int(lane), int(row["line_number"]))
        for batch in batches
        for lane, row in zip(batch.lane_of_row, batch.columns.rows, strict=True)
    ]


@settings(max_examples=150, deadline=None)
@given(
    lanes=st.lists(st.lists(st.integers(0, 12), max_size=25), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    rows_per_batch=st.integers(1, 12),
)
def test_merged_rows_are_those_of_the_naive_merge(
    lanes: Lanes, sizes: list[int], rows_per_batch: int
) -> None:
    batches = merged(lanes, sizes, rows_per_batch)
    assert places(batches) == naive_merge.merge(lanes)
    assert all(len(b.columns) == rows_per_batch for b in batches[:-1])
    for batch in batches:
        expected = b""
        for index, (lane, number) in enumerate(places([batch])):
            line = b"lane %d row %d" % (lane, number)
            assert batch.columns.line(index) == line
            expected += line + b"\n"
        assert bytes(batch.columns.raw) == expected


def test_an_out_of_order_row_stays_in_its_lanes_order() -> None:
    assert places(merged([[5, 1, 6], [2, 5, 7]], [10], 10)) == [
        (1, 0),
        (0, 0),
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 2),
    ]


def test_times_before_the_epoch_and_at_the_ends_of_int64_are_ordered() -> None:
    low, high = -(2**63), 2**63 - 1
    assert places(merged([[low, 0, high], [low, high]], [1], 2)) == [
        (0, 0),
        (1, 0),
        (0, 1),
        (0, 2),
        (1, 1),
    ]


def test_no_lanes_and_empty_lanes_give_nothing() -> None:
    assert list(merge_rows([])) == []
    assert merged([[], []], [1], 4) == []


def test_a_lane_is_asked_for_its_next_batch_only_when_its_last_is_used_up() -> None:
    pulled = [0, 0]

    def counted(lane: int, times: list[int]) -> Iterator[EventColumns]:
        for batch in lane_batches(lane, times, [10]):
            pulled[lane] += 1
            yield batch

    early, late = list(range(100)), list(range(1000, 1100))
    stream = merge_rows([counted(0, early), counted(1, late)], 10)
    for taken in range(1, 10):
        next(stream)
        assert pulled == [taken, 1]


def test_many_small_outputs_of_one_large_batch_are_cheap_in_memory() -> None:
    lanes = [[1] * 5000]
    batches = merged(lanes, [5000], 1)
    assert len(batches) == 5000
    assert all(len(b.columns.raw) < 20 for b in batches)


@pytest.mark.parametrize("text", [b"", b"a\nbb\n\nccc"])
def test_copy_lines_is_its_slices(text: bytes) -> None:
    raw = np.frombuffer(text, np.uint8)
    bounds = [(0, len(text)), (len(text), 0), (len(text) // 2, len(text) // 3)]
    start = np.array([b[0] for b in bounds], np.int64)
    length = np.array([b[1] for b in bounds], np.int64)
    out = np.zeros(int(length.sum()) + 2 * len(bounds), np.uint8)
    copy_lines(raw, start, length, out, np.cumsum(length + 2) - length - 2)
    assert bytes(out) == b"".join(text[s : s + n] + b"\n\0" for s, n in bounds)
