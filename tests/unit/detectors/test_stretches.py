"""Where stretches of lane time begin."""

from typing import Any

import numpy as np

from detectors.core.stretches import Stretches, cut

NEVER = -(2**62)


def clocks(*times_ns: int) -> Any:
    return np.array(times_ns, np.int64)


def passed_at(stretches: Stretches, clocks_ns: Any, carried_ns: int) -> list[tuple[int, int]]:
    """Return the rows before each of which another stretch begins, and where that begins."""
    found = []
    for part, passed in cut(clocks_ns, carried_ns, [stretches]):
        if passed is None:
            assert part.stop == len(clocks_ns)
        else:
            found.append((part.stop, passed.start_ns))
    return found


def test_stretches_begin_where_the_clock_passes_them() -> None:
    stretches = Stretches(40, rows_bring_clock=True)  # of ten each
    assert passed_at(stretches, clocks(), 25) == []
    assert passed_at(stretches, clocks(3, 8), NEVER) == []
    assert passed_at(stretches, clocks(9, 9, 10, 31), NEVER) == [(2, 10), (3, 30)]
    assert passed_at(stretches, clocks(31), NEVER) == []
    assert passed_at(stretches, clocks(31), 47) == [(0, 40)]


def test_with_lanes_as_they_please_only_the_slowest_lane_s_clock_counts() -> None:
    stretches = Stretches(40, rows_bring_clock=False)
    assert passed_at(stretches, clocks(90), 5) == []
    assert passed_at(stretches, clocks(90), 5) == []
    assert passed_at(stretches, clocks(90), 12) == [(0, 10)]
    assert passed_at(Stretches(0, rows_bring_clock=True), clocks(90), 90) == []


def test_stretches_of_another_length_go_on_from_where_one_began() -> None:
    before, after = Stretches(40, rows_bring_clock=True), Stretches(80, rows_bring_clock=True)
    assert before.start_ns == NEVER
    after.go_on(before.start_ns)
    assert passed_at(after, clocks(45), NEVER) == []
    assert passed_at(before, clocks(45, 78), NEVER) == [(1, 70)]
    after.go_on(before.start_ns)
    assert passed_at(after, clocks(79, 81), NEVER) == [(1, 80)]


def test_two_sorts_of_stretches_begin_each_in_its_turn() -> None:
    sorts = [Stretches(40, rows_bring_clock=True), Stretches(120, rows_bring_clock=True)]
    parts = [
        (part.stop, None if passed is None else (sorts.index(passed), passed.start_ns))
        for part, passed in cut(clocks(5, 11, 31, 62), NEVER, sorts)
    ]
    assert parts == [
        (1, (0, 10)),
        (2, (0, 30)),
        (2, (1, 30)),
        (3, (0, 60)),
        (3, (1, 60)),
        (4, None),
    ]
