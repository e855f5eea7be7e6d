"""The detector alone, fed with round trips of which is known who won when."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import HEADROOM, RECENT, STEP, TRIP, Findings
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.registry import build_detector
from lab.conformance.kit import DAY_NS, START_NS, rule_of

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_ALL: Final = {"tests": 1, "accounts_planned": 1, "simulated_only": False}


class WinRateBank:
    """``certified_win_rate`` with a budget of its own.

    Parameters
    ----------
    null_rate
        Share of units that may be won.
    budget
        What one account is granted in 24 hours, in alarms.
    """

    def __init__(self, null_rate: float, budget: float) -> None:
        # The detector grants a tenth more accounts than it is told of their share.
        parameters = {"null_rate": null_rate, "alarms_a_day": budget * 1.1, **_ALL}
        self.detector = build_detector(rule_of("certified_win_rate", parameters), 0)
        self.forget()

    def forget(self) -> None:
        """Begin anew, with no account known."""
        self.state = SubjectState.of(self.detector.state_dtype, RECENT)

    def take(self, accounts: Any, days: Any, wins: Any, profits: Any = 1) -> Findings:
        """Feed units: account, time in days since the start, won or not; return the alarms.

        ``profits`` is what each won or lost, in 10^-8 units of money.
        """
        steps = np.zeros(len(wins), STEP)
        steps["rules"] = 1
        steps["what"] = TRIP
        steps["account"] = accounts
        steps["day"] = np.floor(days)
        steps["time_ns"] = START_NS + np.round(days * DAY_NS)
        steps["day_end_ns"] = START_NS + (steps["day"].astype(np.int64) + 1) * DAY_NS
        steps["trip_pnl_e8"] = np.where(wins, 1, -1) * profits
        self.state.reserve(int(np.max(accounts)) + 1, len(steps), uses_pool=False)
        out = FindingBuffer.of(2 * len(steps))
        self.detector.update(steps, self.state, out)
        found = out.take()
        alarms: Findings = found[found["phase"] != HEADROOM]
        return alarms

    @property
    def scores(self) -> float:
        """What all accounts' bets amount to now, in alarms."""
        return float(self.state.rows["scores"][: self.state.used].sum())


def in_turns(units: int, accounts: int, units_a_day: int, first: int = 0) -> tuple[Ints, Floats]:
    """Return who has each unit, all accounts in turns, and when, in days since the start."""
    owners = np.tile(np.arange(accounts), units)
    days = np.repeat((first + np.arange(units) + 1) / units_a_day, accounts)
    return owners, days


def first_alarms(found: Findings, accounts: int, units: int) -> Ints:
    """Return after how many units each account was named first; ``units`` + 1 where never."""
    first = np.full(accounts, units + 1)
    np.minimum.at(first, found["subject"], found["row"] // accounts + 1)
    return first
