"""A test on shares of orders alone, fed day by day with units of which the truth is known."""

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import HEADROOM, Findings, Fixed
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peer_stage import UNIT_STEP
from detectors.core.registry import build_detector
from detectors.core.share_kernels import GROUP
from detectors.core.tallies import UNIT, UNIT_ORDERS
from lab.conformance.kit import DAY_NS, START_NS, rule_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_OPEN_NS: Final = 9 * 3_600 * 10**9  # a trading day of seven hours
_SESSION_NS: Final = 7 * 3_600 * 10**9


class Day(Struct, frozen=True):
    """What accounts did on a day, in order of time.

    Attributes
    ----------
    accounts
        Shape (n,): who has each unit.
    truths
        Shape (n,): with what probability each of its orders was cancelled.
    hits
        Shape (n,): how many of its ten were.
    """

    accounts: Ints
    truths: Floats
    hits: Ints


class ShareBank:
    """``certified_cancels`` with a budget of its own.

    Parameters
    ----------
    accounts
        How many there are, numbered from 0.
    alarms_a_day
        Granted to this test alone, a tenth more accounts being granted for.
    """

    def __init__(self, accounts: int, alarms_a_day: float) -> None:
        parameters = {"alarms_a_day": alarms_a_day, "tests": 1}
        self.detector = build_detector(rule_of("certified_cancels", parameters), 0)
        self.state = SubjectState.of(self.detector.state_dtype, self.detector.recent, GROUP)
        self.state.shared = np.zeros(1, GROUP)
        self.accounts = accounts
        self.granted = 0.0
        self.fixed: list[Fixed] = []
        self._day = 0

    def take(self, day: Day) -> Findings:
        """Feed a day's units, end it, and return its alarms; ``row`` is a unit that brought one."""
        count = len(day.hits)
        units = np.zeros(count, UNIT_STEP)
        begin_ns = START_NS + self._day * DAY_NS
        units["time_ns"] = begin_ns + times_of(count)
        units["begin_ns"] = units["time_ns"] - 1
        units["day"], units["day_end_ns"] = self._day, begin_ns + DAY_NS
        units["account"], units["kind"] = day.accounts, UNIT
        units["orders"], units["canceled"] = UNIT_ORDERS, day.hits
        self.state.reserve(self.accounts, count, uses_pool=False)
        out = FindingBuffer.of(2 * count)
        before = self._granted_ns()
        firsts_ns = self._firsts_ns(units)
        self.detector.update(units, self.state, out)
        self._count_granted(np.where(before > 0, before, firsts_ns))
        self._day += 1
        self.fixed = self.detector.fix(self.state, START_NS + self._day * DAY_NS)
        found = out.take()
        alarms: Findings = found[found["phase"] != HEADROOM]
        return alarms

    def nulls(self) -> Floats:
        """Return each account's null until the next close, 0 where it is not tested."""
        nulls = np.zeros(self.accounts)
        rows = self.state.rows[: self.state.used]
        nulls[rows["subject"]] = rows["null_next"]
        return nulls

    @property
    def size(self) -> int:
        """Units of a bucket now; 0 where no bound is claimed."""
        return int(self.state.shared["size"][0])

    @property
    def budget(self) -> float:
        """What one account is granted in 24 hours now, in alarms."""
        return float(self.state.shared["budget"][0])

    @property
    def staked(self) -> float:
        """What all accounts' bets amount to now, in alarms."""
        return float(self.state.rows["scores"][: self.state.used].sum())

    def _granted_ns(self) -> Any:
        granted = np.zeros(self.accounts, np.int64)
        rows = self.state.rows[: self.state.used]
        granted[rows["subject"]] = rows["granted_ns"]
        return granted

    def _firsts_ns(self, units: NDArray[np.void]) -> Ints:
        """Return when each account's first bucket of a day ends, from which on it is granted."""
        order = np.argsort(units["account"], kind="stable")
        accounts = units["account"][order]
        turns = np.arange(len(order)) - np.searchsorted(accounts, accounts)
        ends = order[turns == max(self.size, 1) - 1]
        firsts = np.zeros(self.accounts, np.int64)
        firsts[units["account"][ends]] = units["time_ns"][ends]
        return firsts

    def _count_granted(self, since: Ints) -> None:
        """Add up what was granted since.

        Of accounts with units on most days no time is lost to the limit of a day between two.
        """
        passed = np.where(since > 0, self._granted_ns() - since, 0)
        self.granted += self.budget * float(np.maximum(passed, 0).sum()) / DAY_NS


def times_of(count: int) -> Ints:
    """Return when so many units of a day come, in ns since midnight."""
    places = (np.arange(count) + 1.0) / (count + 1)
    times: Ints = _OPEN_NS + (places * _SESSION_NS).astype(np.int64)
    return times
