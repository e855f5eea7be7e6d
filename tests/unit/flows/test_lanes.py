import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.lanes import (
    NEVER_NS,
    BlockTimes,
    LaneBlock,
    LaneTime,
    ShardBlock,
    deal,
    shard_of,
    stamp,
)
from schemas.columns import KIND, ROW, EventColumns, Rejected, Rows
from schemas.events import SECOND_NS
from schemas.hashing import murmur2_bytes

times = st.integers(-20, 20)
beats = st.booleans()


def rows_of(moments: list[tuple[int, bool]]) -> Rows:
    rows = np.zeros(len(moments), ROW)
    for row, (time_s, is_heartbeat) in zip(rows, moments, strict=True):
        row["event_time_ns"] = time_s * SECOND_NS
        row["kind"] = KIND["heartbeat" if is_heartbeat else "order.new"]
    return rows


def naive_high(moments: list[tuple[int, bool]]) -> list[int]:
    """Return the lane's time at each row: reached by two neighbours, or stated."""
    high, highs = NEVER_NS, []
    for k, (time_s, is_heartbeat) in enumerate(moments):
        if k:
            high = max(high, min(time_s, moments[k - 1][0]) * SECOND_NS)
        if is_heartbeat:
            high = max(high, time_s * SECOND_NS)
        highs.append(high)
    return highs


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(times, beats), max_size=30), st.sets(st.integers(0, 30)))
def test_lane_time_is_the_same_however_the_lane_is_cut(
    moments: list[tuple[int, bool]], cuts: set[int]
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(moments)), len(moments)]
    lane, found = LaneTime(), []
    for start, stop in pairwise(edges):
        rows = rows_of(moments[start:stop])
        block = stamp(rows, stop - start)
        carry = lane.carry(block)
        assert carry[2] == start
        found += [max(int(carry[0]), int(row["high_before_ns"])) for row in rows]
        lane.advance(block)
    assert found == naive_high(moments)
    assert lane.high_ns == (found[-1] if found else NEVER_NS)
    assert lane.lines == len(moments)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(times, st.just(False)), max_size=30))
def test_a_row_never_makes_itself_late(moments: list[tuple[int, bool]]) -> None:
    rows = rows_of(moments)
    stamp(rows, len(rows))
    alone = naive_high(moments[:0]) + [
        naive_high([*moments[:k], (-99, False)])[-1] for k in range(len(moments))
    ]
    late = [int(r["event_time_ns"]) < int(r["high_before_ns"]) for r in rows]
    late_before = [t * SECOND_NS < high for (t, _), high in zip(moments, alone, strict=True)]
    assert late == late_before


def test_one_wrong_clock_moves_nothing_and_two_in_a_row_do() -> None:
    ordinary = [(k, False) for k in range(5)]
    one = [*ordinary, (9_000, False), (5, False), (6, False)]
    two = [*ordinary, (9_000, False), (9_000, False), (6, False)]
    assert stamp(rows_of(one), 8).high_ns == 5 * SECOND_NS
    assert stamp(rows_of(two), 8).high_ns == 9_000 * SECOND_NS


def test_rows_far_ahead_of_both_neighbours_are_counted() -> None:
    block = stamp(rows_of([(0, False), (6, False), (0, False), (5, False), (0, False)]), 5)
    assert block.ahead == 1


def test_an_empty_block_moves_lines_only() -> None:
    lane = LaneTime(5, 6, 7)
    lane.advance(stamp(rows_of([]), 3))
    assert lane == LaneTime(5, 6, 10)
    assert BlockTimes() == stamp(rows_of([]), 0)


def block_of(accounts: list[str]) -> LaneBlock:
    raw = b"".join(f"line of {name}\n".encode() for name in accounts)
    rows = rows_of([(k, False) for k in range(len(accounts))])
    place = 0
    for row, name in zip(rows, accounts, strict=True):
        row["account_murmur2"] = murmur2_bytes(name.encode())
        row["account_1"] = 1 if name else 0
        row["line_start"], row["line_length"] = place, len(f"line of {name}".encode())
        place += row["line_length"] + 1
    rejected = Rejected("blank_line", "scan", "", "a", "b", 0, 0, b"")
    return LaneBlock(
        number=3,
        columns=EventColumns(rows, np.frombuffer(raw, np.uint8)),
        rejected=[(0, rejected)],
        times=stamp(rows, len(rows)),
        is_last=True,
        skipped_fields={"fee": 2},
    )


accounts = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "", "账户"]), max_size=40)


@settings(deadline=None)  # the first call compiles
@given(accounts, st.sampled_from((1, 2, 8, 32)))
def test_every_row_goes_to_its_accounts_shard_in_order(names: list[str], shards: int) -> None:
    block = block_of(names)
    parts = deal(block, shards)
    assert [part.shard for part in parts] == list(range(shards))
    for part in parts:
        wanted = [
            k
            for k, name in enumerate(names)
            if (murmur2_bytes(name.encode()) & (shards - 1) if name else 0) == part.shard
        ]
        lines = [part.columns.line(k) for k in range(len(part.columns))]
        assert lines == [f"line of {names[k]}".encode() for k in wanted]
        assert part.columns.rows["event_time_ns"].tolist() == [k * SECOND_NS for k in wanted]
        assert (part.number, part.times, part.is_last) == (3, block.times, True)


def test_refused_lines_and_counts_travel_with_shard_0_only() -> None:
    parts = deal(block_of(["a", "b", "c"]), 4)
    assert [len(part.rejected) for part in parts] == [1, 0, 0, 0]
    assert [part.skipped_fields for part in parts] == [{"fee": 2}, {}, {}, {}]


@pytest.mark.parametrize("shards", [1, 4])
def test_a_part_sent_to_another_process_holds_its_own_lines(shards: int) -> None:
    for part in deal(block_of(["a", "b", "c", "d", "a"]), shards):
        there: ShardBlock = pickle.loads(pickle.dumps(part))
        assert [there.columns.line(k) for k in range(len(there.columns))] == [
            part.columns.line(k) for k in range(len(part.columns))
        ]
        assert (there.shard, there.times, there.rejected) == (part.shard, part.times, part.rejected)


def test_more_shards_split_a_shard_and_mix_none() -> None:
    rows = block_of(["a", "b", "c", "d", "e", "账户"]).columns.rows
    assert (shard_of(rows, 32) % 8 == shard_of(rows, 8)).all()
