"""Small kernels agree with Python: wide numbers, tables, duplicate sets, registrations."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.core import tables, wide
from detectors.core.duplicates import SEEN_CURRENT, SEEN_FORCED, Seen, is_duplicate
from detectors.core.registrations import Registrations, registered
from schemas.columns import ROW

INT64 = st.one_of(
    st.integers(0, 2**63 - 1), st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1])
)
SIGNED = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from([-(2**63) + 1, -1, 0]))
WIDE = st.integers(-(2**126), 2**126 - 1)  # the sum of two still fits
INT64_MAX = 2**63 - 1
TIMELESS = settings(deadline=None)  # the first call loads compiled code


@pytest.fixture(autouse=True, scope="module")
def _words_wrap_around() -> Iterator[None]:
    """Only uncompiled kernels warn of it (NUMBA_DISABLE_JIT=1)."""
    with np.errstate(over="ignore"):
        yield


def pair(number: int) -> tuple[np.int64, np.uint64]:
    low = number & (2**64 - 1)
    return np.int64((number - low) >> 64), np.uint64(low)


def number_of(high: int, low: int) -> int:
    return (int(high) << 64) + int(low)


@given(INT64, INT64)
@TIMELESS
def test_products_are_exact(left: int, right: int) -> None:
    assert number_of(*wide.multiply(left, right)) == left * right


@given(WIDE, WIDE)
@TIMELESS
def test_sums_and_differences_are_exact(left: int, right: int) -> None:
    assert number_of(*wide.add(*pair(left), *pair(right))) == left + right
    assert number_of(*wide.subtract(*pair(left), *pair(right))) == left - right


@given(WIDE)
@TIMELESS
def test_the_sign_and_the_cut_to_e8_are_those_of_the_number(number: int) -> None:
    assert wide.sign(*pair(number)) == (number > 0) - (number < 0)
    cut = abs(number) // 10**8 * (1 if number > 0 else -1)
    assert wide.to_e8(*pair(number)) == max(-INT64_MAX, min(INT64_MAX, cut))


@given(SIGNED, SIGNED)
@TIMELESS
def test_sums_are_held_at_the_ends(left: int, right: int) -> None:
    got = wide.add_held(np.int64(left), np.int64(right))
    assert got == max(-INT64_MAX, min(INT64_MAX, left + right))


KEYED = np.dtype([("key_1", "<u8"), ("key_2", "<u8"), ("next", "<i4"), ("value", "<i4")])
KEYS = st.tuples(st.sampled_from([1, 2, 65, 129, 2**63]), st.integers(1, 6))


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_table_is_a_dict(acts: list[tuple[bool, tuple[int, int]]]) -> None:
    table, twin = tables.Table.of(KEYED, 4), {}
    for number, (adds, (key_1, key_2)) in enumerate(acts):
        table.reserve(1)
        parts = table.heads, table.rows
        key = np.uint64(key_1), np.uint64(key_2)
        index = tables.find(*parts, *key)
        assert (index >= 0) == ((key_1, key_2) in twin)
        if adds and index < 0:
            index = tables.insert(*parts, table.counters, *key)
            table.rows["value"][index] = twin[key_1, key_2] = number
        elif not adds and index >= 0:
            tables.remove(*parts, table.counters, index)
            del twin[key_1, key_2]
        elif index >= 0:
            assert table.rows["value"][index] == twin[key_1, key_2]
    assert len(table) == len(twin) <= len(table.rows)
    again = tables.Table.load(KEYED, table.dump())
    for (key_1, key_2), value in twin.items():
        index = tables.find(again.heads, again.rows, np.uint64(key_1), np.uint64(key_2))
        assert again.rows["value"][index] == value
    assert again.counters.tolist() == table.counters.tolist()


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.integers(1, 9)), max_size=120),
    st.sampled_from([3, 100]),
)
@settings(max_examples=80, deadline=None)
def test_duplicates_are_those_of_this_window_and_the_one_before(
    seen: list[tuple[int, int]], count_max: int
) -> None:
    kept = Seen()
    row = np.zeros(1, ROW)
    window, forced = 0, 0
    current: list[int] = []
    before: list[int] = []
    for step, key in seen:
        window += step
        if step:
            current, before = [], current if step == 1 else []
        elif len(current) >= count_max:
            current, before, forced = [], current, forced + 1
        row["event_1"], row["event_2"] = key * 256, key
        window_now, most = np.int64(window), np.int64(count_max)
        got = is_duplicate(kept.slots, kept.keys, kept.meta, row[0], window_now, most)
        assert got == (key in current or key in before)
        if not got:
            current.append(key)
        if step == 2:
            kept = Seen.load(kept.dump())
    assert kept.meta[SEEN_FORCED] == forced
    side = kept.meta[SEEN_CURRENT]
    assert [kept.held[k][:, 1].tolist() for k in (side, 1 - side)] == [current, before]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=600, max_size=700, unique=True))
@settings(max_examples=10, deadline=None)
def test_sets_that_grow_forget_nothing(events: list[int]) -> None:
    kept = Seen()
    rows = np.zeros(len(events), ROW)
    rows["event_1"], rows["event_2"] = [event % 7 << 32 for event in events], events
    for _ in range(2):
        found = []
        for row in rows:
            kept.reserve(1, 10_000)
            found.append(is_duplicate(kept.slots, kept.keys, kept.meta, row, 0, 10_000))
        assert sum(found) in (0, len(rows))
    assert all(found)
    assert kept.held[kept.meta[SEEN_CURRENT]][:, 1].tolist() == events
    assert kept.keys.shape[1] >= len(events)


ENTRY = st.tuples(st.sampled_from([0, 5, 6]), st.integers(0, 9), st.integers(0, 9), st.just(1))


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(ENTRY, max_size=5)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_latest_list_on_file_is_what_counts(files: list[tuple[int, list]]) -> None:
    kept, links, twin = Registrations(), defaultdict(int), defaultdict(list)
    for account, listed in files:
        links[account] = kept.replace(links[account], listed)
        twin[account] = listed
    for account, listed in twin.items():
        for time_ns in range(10):
            wanted = any(i in (0, 5) and start <= time_ns < end for i, start, end, _ in listed)
            link = np.int64(links[account])
            got = registered(kept.entries, link, np.uint64(5), time_ns)
            assert got == wanted
    assert len(kept.entries) <= max(64, 4 * sum(map(len, twin.values())))
