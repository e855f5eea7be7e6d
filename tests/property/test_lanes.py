"""A lane's time is a matter of its rows alone: blocks may be cut anywhere."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.lanes import (
    AHEAD_NS,
    NEVER_NS,
    BlockTimes,
    LaneBlock,
    LaneTime,
    ShardBlock,
    deal,
    shard_of,
    stamp,
)
from schemas.columns import KIND, ROW, EventColumns, Rows
from schemas.events import SECOND_NS

START_NS = 1_772_582_400_000_000_000
# A row: steps of time from the start, back and forth; and whether it is a heartbeat.
LANE = st.lists(st.tuples(st.integers(-20, 60), st.booleans()), max_size=40)
CUTS = st.lists(st.integers(0, 40), max_size=8)


def rows_of(lane: list[tuple[int, bool]]) -> Rows:
    rows = np.zeros(len(lane), ROW)
    for row, (seconds, is_beat) in zip(rows, lane, strict=True):
        row["event_time_ns"] = START_NS + seconds * SECOND_NS
        row["kind"] = KIND["heartbeat"] if is_beat else KIND["order.new"]
    return rows


def naive(rows: Rows) -> tuple[list[int], int]:
    """Return the lane's time at each row, and how many rows stand ahead of both neighbours."""
    times = [int(t) for t in rows["event_time_ns"]]
    high, highs, ahead = NEVER_NS, [], 0
    for i, time in enumerate(times):
        if rows["kind"][i] == KIND["heartbeat"]:
            high = max(high, time)
        elif i > 0:
            high = max(high, min(times[i - 1], time))
        highs.append(high)
        if 0 < i < len(times) - 1:
            ahead += time > max(times[i - 1], times[i + 1]) + AHEAD_NS
    return highs, ahead


@settings(deadline=None)
@given(LANE, CUTS)
def test_any_cut_into_blocks_gives_the_time_of_the_whole(
    lane: list[tuple[int, bool]], cuts: list[int]
) -> None:
    rows = rows_of(lane)
    highs, ahead = naive(rows)
    time, found = LaneTime(), []
    for part in np.split(rows, sorted(min(cut, len(rows)) for cut in cuts)):
        block = part.copy()
        times = stamp(block, line_count=len(block))
        carry = time.carry(times)
        found += [max(int(carry[0]), int(high)) for high in block["high_before_ns"]]
        time.advance(times)

    assert found == highs
    assert time.high_ns == max(highs, default=NEVER_NS)
    assert time.lines == len(rows)
    assert time.ahead == ahead


def columns(rows: int, seed: int) -> EventColumns:
    rng = np.random.default_rng(seed)
    made = np.zeros(rows, ROW)
    lines = [f"line {i} {'x' * int(rng.integers(0, 9))}".encode() for i in range(rows)]
    made["line_length"] = [len(line) for line in lines]
    made["line_start"] = np.cumsum([0, *(len(line) + 1 for line in lines)])[:-1]
    made["line_number"] = np.arange(rows)
    made["account_murmur2"] = rng.integers(0, 2**32, rows)
    made["account_1"] = rng.integers(0, 3, rows)  # now and then none
    return EventColumns(made, np.frombuffer(b"\n".join([*lines, b""]), np.uint8))


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**32), st.sampled_from([1, 2, 16, 32]))
def test_dealing_keeps_every_row_once_with_its_line_and_in_order(
    rows: int, seed: int, shards: int
) -> None:
    whole = columns(rows, seed)
    parts = deal(LaneBlock(number=7, columns=whole), shards)

    assert [part.shard for part in parts] == list(range(shards))
    dealt = [
        (int(row["line_number"]), part.columns.line(i), part.shard)
        for part in parts
        for i, row in enumerate(part.columns.rows)
    ]
    home = shard_of(whole.rows, shards)
    assert sorted(dealt) == [(i, whole.line(i), home[i]) for i in range(rows)]
    for part in parts:
        assert (np.diff(part.columns.rows["line_number"]) > 0).all()


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**32))
def test_a_pickled_part_has_the_same_lines_and_no_others(rows: int, seed: int) -> None:
    for part in deal(LaneBlock(number=7, columns=columns(rows, seed)), 4):
        copied: ShardBlock = pickle.loads(pickle.dumps(part))

        lines = [part.columns.line(i) for i in range(len(part.columns))]
        assert [copied.columns.line(i) for i in range(len(copied.columns))] == lines
        assert len(copied.columns.raw) == sum(len(line) for line in lines)
        assert (copied.shard, copied.number, copied.times) == (part.shard, 7, BlockTimes())
        names = [name for name in ROW.names or () if name != "line_start"]
        assert (copied.columns.rows[names] == part.columns.rows[names]).all()
