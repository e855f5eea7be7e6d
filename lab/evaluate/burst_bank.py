"""The test on bursts alone, fed day by day with minutes of which the truth is known."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.burst_kernels import BURST_GROUP
from detectors.core.contract import HEADROOM, Findings, Fixed
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peer_stage import UNIT_STEP
from detectors.core.registry import build_detector
from detectors.core.tallies import WINDOW
from detectors.core.windows import ACTIONS_BEFORE, SIZES, WINDOW_SECONDS
from lab.conformance.kit import DAY_NS, START_NS, rule_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MINUTES: Final = 240  # of a trading day
_OPEN_NS: Final = 9 * 3_600 * 10**9
_MINUTE_NS: Final = 60 * 10**9
_LENGTHS: Final = tuple(seconds // 60 for seconds in WINDOW_SECONDS)


class Minutes(NamedTuple):
    """What accounts did on a day.

    Attributes
    ----------
    means, actions
        Shape (accounts, ``MINUTES``): what was to be expected in each minute, and what was done.
    """

    means: NDArray[np.float32]
    actions: NDArray[np.int32]


class Looked(NamedTuple):
    """Windows of a day that are looked at, in order of time; shape (n,) each.

    Attributes
    ----------
    sizes, ends
        Number of the length, and the minute of the day at which it ends.
    means
        What was to be expected in it.
    """

    accounts: Ints
    sizes: Ints
    ends: Ints
    actions: Ints
    means: Floats


class BurstBank:
    """``certified_burst`` with a budget of its own.

    Parameters
    ----------
    accounts
        How many there are, numbered from 0.
    alarms_a_day
        Granted to this test alone, a tenth more accounts being granted for.
    """

    def __init__(self, accounts: int, alarms_a_day: float) -> None:
        parameters = {"alarms_a_day": alarms_a_day, "tests": 1, "actions_min": 2.0}
        self.detector = build_detector(rule_of("certified_burst", parameters), 0)
        self.state = SubjectState.of(self.detector.state_dtype, self.detector.recent, BURST_GROUP)
        self.state.shared = np.zeros(1, BURST_GROUP)
        self.accounts = accounts
        self.granted = np.zeros(accounts)
        self.fixed: list[Fixed] = []
        self._day = 0
        self._since = np.zeros((SIZES, accounts), np.int64)
        self._is_looked_at = np.zeros((SIZES, accounts), np.bool_)

    def look(self, day: Minutes) -> Looked:
        """Return the day's windows that are looked at, as the account stage decides on them."""
        parts = []
        for size, length in enumerate(_LENGTHS):
            actions = day.actions.reshape(self.accounts, -1, length).sum(axis=2)
            means = day.means.reshape(self.accounts, -1, length).sum(axis=2)
            for slot in range(actions.shape[1]):
                own = np.flatnonzero(self._is_looked_at[size])
                ends = np.full(len(own), (slot + 1) * length)
                sizes = np.full(len(own), size)
                parts.append((own, sizes, ends, actions[own, slot], means[own, slot]))
                self._go_on(size, actions[:, slot])
        whole = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        order = np.lexsort((whole[1], whole[2]))
        return Looked(*(column[order] for column in whole))

    def _go_on(self, size: int, actions: NDArray[np.int32]) -> None:
        """Decide whom to look at in the next slot."""
        since = np.where(self._is_looked_at[size], 0, self._since[size]) + actions
        self._is_looked_at[size] = since >= ACTIONS_BEFORE
        self._since[size] = np.where(since >= ACTIONS_BEFORE, 0, since)

    def take(self, looked: Looked) -> Findings:
        """Feed a day's windows, end it, and return its alarms; ``row`` is the window of each."""
        count = len(looked.accounts)
        units = np.zeros(count, UNIT_STEP)
        begin_ns = START_NS + self._day * DAY_NS
        units["time_ns"] = begin_ns + _OPEN_NS + looked.ends * _MINUTE_NS - 1
        lengths = np.array(_LENGTHS)[looked.sizes]
        units["begin_ns"] = begin_ns + _OPEN_NS + (looked.ends - lengths) * _MINUTE_NS
        units["day"], units["day_end_ns"] = self._day, begin_ns + DAY_NS
        units["account"], units["kind"] = looked.accounts, WINDOW
        units["size"], units["actions"] = looked.sizes, looked.actions
        self.state.reserve(self.accounts, count, uses_pool=False)
        out = FindingBuffer.of(2 * count)
        before, budget, size = self._granted_ns(), self.budget, self.size
        self.detector.update(units, self.state, out)
        firsts = np.full(self.accounts, np.iinfo(np.int64).max)
        bet_on = looked.sizes == size
        np.minimum.at(firsts, looked.accounts[bet_on], units["time_ns"][bet_on])
        passed = self._granted_ns() - np.where(before > 0, before, firsts)
        self.granted += budget * np.maximum(passed, 0) / DAY_NS
        self._day += 1
        self.fixed = self.detector.fix(self.state, START_NS + self._day * DAY_NS)
        found = out.take()
        alarms: Findings = found[found["phase"] != HEADROOM]
        return alarms

    @property
    def size(self) -> int:
        """Number of the length that is bet on now; -1 where no bound is claimed."""
        return int(self.state.shared["size"][0]) - 1

    @property
    def minutes(self) -> int:
        """Of a window that is bet on now; 0 where no bound is claimed."""
        return _LENGTHS[self.size] if self.size >= 0 else 0

    @property
    def budget(self) -> float:
        """What one account is granted in 24 hours now, in alarms."""
        return float(self.state.shared["budget"][0])

    def nulls(self) -> Floats:
        """Return each account's null until the next close, 0 where it is not tested."""
        return self._of_accounts("null")

    def means(self) -> Floats:
        """Return what is usual of each account by length, shape (SIZES, accounts); 0: unknown."""
        found = np.zeros((SIZES, self.accounts))
        rows = self.state.rows[: self.state.used]
        found[:, rows["subject"]] = rows["mean"].T
        return found

    def staked(self) -> Floats:
        """Return what each account's bets amount to now, in alarms."""
        return self._of_accounts("scores")

    def _of_accounts(self, name: str) -> Floats:
        found = np.zeros(self.accounts)
        rows = self.state.rows[: self.state.used]
        values = rows[name]
        found[rows["subject"]] = values.sum(axis=1) if values.ndim > 1 else values
        return found

    def _granted_ns(self) -> Ints:
        granted = np.zeros(self.accounts, np.int64)
        rows = self.state.rows[: self.state.used]
        granted[rows["subject"]] = rows["granted_ns"]
        return granted
