"""Align releases what a plain sort gives, however rows come, and goes on so after any crash."""

import pickle
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.core.sent_rows import SENT, SentColumns, join
from flows.align import Align, Mark, rows_in_order
from flows.lanes import NEVER_NS
from flows.steps import END_OF_TIME_NS
from schemas.columns import KIND

SHARDS = 3
LATENESS = 4
Row = tuple[int, int, int, int]  # shard, time, instrument (0: a file on an account), account

rows_of_shards = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), st.integers(0, 30), st.integers(0, 2), st.integers(1, 3)),
    max_size=40,
)
cuts = st.lists(st.integers(0, SHARDS - 1), max_size=60)


def accepted(rows: list[Row]) -> list[Row]:
    """Leave out rows that their shard finds late: its time is the highest it has seen."""
    high, kept = [0] * SHARDS, []
    for row in rows:
        shard, time = row[:2]
        if time >= high[shard] - LATENESS:
            kept.append(row)
            high[shard] = max(high[shard], time)
    return kept


def columns_of(rows: list[tuple[int, Row]]) -> SentColumns:
    """Make columns of (number, row) pairs; a row's number is its event id, backwards."""
    lines = []
    sent = np.zeros(len(rows), SENT)
    for i, (number, (_, time, instrument, account)) in enumerate(rows):
        names = {"source": "s", "event_id": f"{999 - number}", "account_id": f"A{account}"}
        lines.append(orjson.dumps(names))
        sent[i]["kind"] = KIND["fill"] if instrument else KIND["ref.account"]
        sent[i]["event_time_ns"] = time
        sent[i]["instrument_1"] = instrument
        sent[i]["account_1"] = account
        sent[i]["position"] = number
        sent[i]["line_length"] = len(lines[-1])
        sent[i]["line_start"] = sum(map(len, lines[:-1]))
    raw = np.frombuffer(b"".join(lines), np.uint8)
    return SentColumns(sent, raw).own_lines()


def plain_order(rows: list[Row]) -> list[int]:
    """Sort by time, files first, then what they are about, then event id as it is written."""
    numbered = [
        (time, instrument != 0, instrument or account, f"{999 - number}", number)
        for number, (_, time, instrument, account) in enumerate(rows)
    ]
    return [one[-1] for one in sorted(numbered)]


def deliver(rows: list[Row], turns: list[int], crash_at: int) -> list[int]:
    """Deal rows in order to their shards, one row a turn, and return what is released.

    After turn ``crash_at`` the state is thrown away and taken up from what was pickled.
    """
    queues: list[list[tuple[int, Row]]] = [[] for _ in range(SHARDS)]
    for number, row in enumerate(rows):
        queues[row[0]].append((number, row))
    align, released, high, numbers = Align(SHARDS), [], [0] * SHARDS, [0] * SHARDS
    for turn, shard in enumerate([*turns, *(s for s in range(SHARDS) for _ in range(len(rows)))]):
        now, queues[shard] = queues[shard][:1], queues[shard][1:]
        high[shard] = max([high[shard], *(row[1] for _, row in now)])
        mark = Mark(shard, numbers[shard], high[shard] - LATENESS)
        numbers[shard] += 1
        align.add(columns_of(now), [mark])
        released += numbers_of(align)
        if turn == crash_at:
            align = Align.load(SHARDS, pickle.loads(pickle.dumps(align.dump())))
    ends = [Mark(shard, numbers[shard], END_OF_TIME_NS) for shard in range(SHARDS)]
    align.add(columns_of([]), ends)
    released += numbers_of(align)
    assert (align.held, align.behind) == (0, 0)
    return released


def numbers_of(align: Align) -> list[int]:
    columns = align.release()
    for index, number in enumerate(columns.rows["position"].tolist()):
        assert orjson.loads(columns.line(index))["event_id"] == f"{999 - number}"
    return columns.rows["position"].tolist()


@settings(max_examples=150, deadline=None)
@given(rows_of_shards, cuts, st.integers(0, 60))
def test_any_interleaving_gives_the_plain_order(
    rows: list[Row], turns: list[int], crash_at: int
) -> None:
    rows = accepted(rows)
    assert deliver(rows, turns, crash_at) == plain_order(rows)


@settings(max_examples=100, deadline=None)
@given(rows_of_shards)
def test_one_batch_stands_in_the_plain_order(rows: list[Row]) -> None:
    columns = rows_in_order(columns_of(list(enumerate(rows))))
    assert columns.rows["position"].tolist() == plain_order(rows)


def test_nothing_leaves_before_every_shard_was_heard_of() -> None:
    align = Align(2)
    align.add(columns_of([(0, (0, 5, 1, 1))]), [Mark(0, 0, END_OF_TIME_NS)])
    assert len(align.release()) == 0
    assert align.watermark_ns == NEVER_NS
    align.add(join([]), [Mark(1, 0, 5)])
    assert len(align.release()) == 0, "at the watermark a row may still come"
    align.add(join([]), [Mark(1, 1, 6)])
    assert len(align.release()) == 1


def test_a_mark_that_comes_again_stops_the_process() -> None:
    align = Align(1)
    align.add(join([]), [Mark(0, 3, 1)])
    with pytest.raises(AssertionError, match="sent block 3 again"):
        align.add(join([]), [Mark(0, 3, 2)])


def test_rows_behind_what_was_released_are_counted_and_left_out() -> None:
    align = Align(1)
    align.add(columns_of([(0, (0, 9, 1, 1))]), [Mark(0, 0, 10)])
    assert len(align.release()) == 1
    align.add(columns_of([(1, (0, 8, 1, 1)), (2, (0, 12, 1, 1))]), [Mark(0, 1, 20)])
    assert align.release().rows["position"].tolist() == [2]
    assert (align.behind, align.held, align.held_most) == (1, 0, 1)


def test_the_reading_time_waits_with_its_rows_but_no_dump_keeps_it() -> None:
    align = Align(1)
    align.add(columns_of([(0, (0, 3, 1, 1)), (1, (0, 8, 1, 1))]), [Mark(0, 0, 5)], 70)
    align.add(columns_of([(2, (0, 4, 1, 1))]), [], 80)
    align.release()
    assert [align.read_ns_of([time]) for time in (3, 4, 5, 8)] == [70, 80, 0, 0]
    assert align.read_ns_of([3, 4]) == 70
    again = Align.load(1, pickle.loads(pickle.dumps(align.dump())))
    for one in (align, again):
        one.add(join([]), [Mark(0, 1, 10)])
        one.release()
    assert (align.read_ns_of([8]), again.read_ns_of([8])) == (70, 0)


def told(columns: SentColumns) -> list[Any]:
    return [columns.line(index) for index in range(len(columns))]


def test_columns_travel_with_their_own_lines_only() -> None:
    whole = columns_of([(n, (0, n, 1, 1)) for n in range(50)])
    some = SentColumns(whole.rows[10:12], whole.raw)
    again = pickle.loads(pickle.dumps(some))
    assert again == some
    assert told(again) == told(some)
    assert len(again.raw) == sum(len(line) for line in told(some)) < len(whole.raw)
    assert some != whole
    assert some != "columns"
