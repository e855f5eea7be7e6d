"""Windows: which are looked at, and what is counted in them."""

from typing import Any

import numpy as np

from detectors.core.account_state import ACCOUNT
from detectors.core.contract import CANCEL, KILL_SWITCH, NEW, SIMULATED, STEP
from detectors.core.tallies import NAME, WINDOW
from detectors.core.windows import Windows
from schemas.events import SECOND_NS

DAY_NS = 86_400 * SECOND_NS
START_NS = 20_516 * DAY_NS
NO_GROUPS = np.zeros(0, np.int32)
ACCOUNTS = np.zeros(2, ACCOUNT)


def steps_of(*seconds: float, what: int = NEW, account: int = 0) -> Any:
    steps = np.zeros(len(seconds), STEP)
    steps["what"], steps["account"] = what, account
    steps["time_ns"] = [START_NS + round(second * SECOND_NS) for second in seconds]
    steps["day"], steps["day_end_ns"] = 20_516, START_NS + DAY_NS
    return steps


def over(windows: Windows, seconds: float, size: int = 0) -> list[tuple[int, int]]:
    """Return when the windows of a length began that are over by then, and what was done."""
    tallies = windows.close(START_NS + round(seconds * SECOND_NS), ACCOUNTS)
    return [
        ((int(t["begin_ns"]) - START_NS) // SECOND_NS, int(t["actions"]))
        for t in tallies
        if t["kind"] == WINDOW and t["size"] == size
    ]


def test_the_tenth_action_has_the_next_window_looked_at_and_its_ten_the_one_after() -> None:
    windows = Windows()
    (named,) = windows.take(steps_of(*range(1, 11)), NO_GROUPS, ACCOUNTS)
    assert named["kind"] == NAME
    windows.take(steps_of(59.0, 60.0, *range(70, 79), 119.0), NO_GROUPS, ACCOUNTS)
    assert over(windows, 119.9) == []
    assert over(windows, 180.0) == [(60, 11), (120, 0)]
    assert over(windows, 1_000.0, size=1) == [(300, 0)]


def test_nine_actions_decide_nothing_and_wait_for_the_tenth() -> None:
    windows = Windows()
    windows.take(steps_of(*range(1, 10)), NO_GROUPS, ACCOUNTS)
    assert over(windows, 7_200.0) == []
    windows.take(steps_of(7_200.0), NO_GROUPS, ACCOUNTS)
    assert over(windows, 7_320.0) == [(7_260, 0)]


def test_an_emergency_stop_and_other_money_count_for_nothing() -> None:
    windows = Windows()
    windows.take(steps_of(*range(1, 11)), NO_GROUPS, ACCOUNTS)
    windows.take(steps_of(*range(61, 81), what=CANCEL | KILL_SWITCH), NO_GROUPS, ACCOUNTS)
    windows.take(steps_of(81.0, 82.0, what=NEW | SIMULATED), NO_GROUPS, ACCOUNTS)
    windows.take(steps_of(83.0, what=CANCEL), NO_GROUPS, ACCOUNTS)
    assert over(windows, 120.0) == [(60, 1)]


def test_a_wild_clock_hides_nobody_for_a_year() -> None:
    windows = Windows()
    year = 365 * 86_400.0
    windows.take(steps_of(*range(1, 10), year), NO_GROUPS, ACCOUNTS)
    windows.take(steps_of(*range(11, 21), 65.0, 66.0), NO_GROUPS, ACCOUNTS)
    assert over(windows, 120.0) == [(60, 2)]


def test_whose_row_goes_to_another_leaves_nothing_behind() -> None:
    windows = Windows()
    windows.take(steps_of(*range(1, 11)), NO_GROUPS, ACCOUNTS)
    windows.take(steps_of(*range(1, 11), account=1), NO_GROUPS, ACCOUNTS)
    assert windows.needs(2).tolist() == [True, True]
    windows.let_go(np.array([0]))
    again = Windows.load(windows.dump())
    for held in (windows, again):
        assert held.needs(2).tolist() == [False, True]
        assert over(held, 120.0) == [(60, 0)]
