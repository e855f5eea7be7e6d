"""Certified win rate: a share of round trips won that luck cannot explain, with a bound on error.

Each round trip is a bet against the null that, whatever happened before, the next one is won with
at most the null's probability. An alert comes when the bets have made of the account's budget more
than luck does; of all accounts for which the null holds, no more are named a day than the budget
says, on average, however they depend on each other. That is the difference to `win_rate`, which is
policy and names ten lucky round trips. A true 95 % against a null of 90 % takes some hundred round
trips to certify; until then there is no conclusion, and near the end headroom says how many wins
are missing. Who takes small gains and rare large losses wins often and earns nothing, so the null
is at least the share at which the account's own earlier gains and losses break even, from its first
loss on. Losses that were never closed are not known here: the alert says so where none ever lost.

The bound holds while a tenth more accounts trade than were planned for, and none beyond: see
`accounts_planned`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct

from detectors.core.betting import (
    SCORES,
    budget_of,
    clear,
    grant,
    judge,
    missing_wins,
    most_of,
    settle,
    shares,
)
from detectors.core.contract import (
    HEADROOM,
    RECENT,
    SIMULATED,
    TRIP,
    TRIPS_RESTART,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import COMMON_STATE, begin_day, emit_step, remember
from detectors.core.memory import FindingBuffer, SubjectState, admit
from detectors.core.payoff import PAYOFF, break_even, forget_payoff, note_payoff
from detectors.core.won_units import (
    COUNTS,
    MONEY,
    PNL_E8,
    PPM,
    count_units,
    forget_units,
    units_evidence,
    units_of,
    write_units,
)
from detectors.core.wording import count_of, standing
from schemas.jit import kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("alarms", "<u2"),
        *PAYOFF,
        *SCORES,
        *MONEY,
        *COUNTS,
    ]
)
MISSING, ALARMS, NULL_PPM, BREAK_EVEN_PPM, LOSSES = range(4, 9)  # behind those of the units


# What the wins of a run are worth, for people: it annotates, and decides nothing.
_EDGES: Final = {
    "money": "The run has money to show for it.",
    "payoff": "Its losses outweigh its wins, so its payoffs explain it.",
    "open losers": "No round trip ever lost: losers that are still open would explain it.",
}


def _edge_of(finding: np.void) -> str:
    """Return the label of ``_EDGES`` that fits a finding."""
    if int(finding["numbers"][LOSSES]) == 0:
        return "open losers"
    return "money" if int(finding["numbers"][PNL_E8]) > 0 else "payoff"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    null_rate
        The share of round trips that may be won without an alert, in (0, 1): the policy's figure.
    alarms_a_day
        Alerts a day that may be luck, of all accounts and tests together, on average.
    tests
        How many tests share that budget.
    accounts_planned
        Among how many accounts it is shared; the bound holds for a tenth more.
    simulated_only
        Look at simulated trading only.
    payoff_aware
        Raise the null to the share of wins at which the account's own gains and losses break even.
    """

    null_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.90
    alarms_a_day: Annotated[float, Meta(gt=0)] = 5.0
    tests: Annotated[int, Meta(ge=1)] = 7
    accounts_planned: Annotated[int, Meta(ge=1)] = 100_000
    simulated_only: bool = True
    payoff_aware: bool = True

    @property
    def budget(self) -> float:
        """What one account is granted in 24 hours, in alarms."""
        return budget_of(self.alarms_a_day, self.tests, self.accounts_planned)


@kernel
def _meet(subject: Any, step: Any, memory: Any) -> None:
    """Begin a subject's day, or all anew."""
    begin_day(subject, step, memory)
    if step["what"] & TRIPS_RESTART:
        clear(subject)
        _end_run(subject)
        forget_payoff(subject)


@kernel
def _end_run(subject: Any) -> None:
    """Begin to count the run anew; the largest loss stays, which payoffs rest on."""
    worst_e8 = subject["worst_e8"]
    forget_units(subject)
    subject["worst_e8"] = worst_e8


@kernel
def _count(subject: Any, step: Any, null: Any) -> None:
    """Count a round trip into the run at hand, which is over once it is within the null.

    A run's share won is above the null from its first round trip on. There is one whenever an
    alarm is due: bets gain only where more is won than the null allows.
    """
    if subject["units"] == 0:
        subject["onset_ns"] = step["time_ns"]
    pnl_e8 = step["trip_pnl_e8"]
    count_units(subject, np.int64(1), np.int64(pnl_e8 > 0), pnl_e8)
    null_ppm = np.int64(np.round(null * PPM))
    if np.int64(subject["wins"]) * PPM <= null_ppm * np.int64(subject["units"]):
        _end_run(subject)


@kernel
def follow_bets(
    steps: Any, selection: Any, figures: Any, staked: Any, memory: Any, out: Any, count: Any
) -> None:
    """Settle every round trip's bets, then grant what accrued for the next one.

    ``figures`` = (the policy's null, 1 where payoffs may raise it, budget in 24 hours, the most
    that as many wins as a ring holds multiply a score by, bits of ``what`` that a step must have
    all of). The outcome of a loss is -1. ``staked`` has shape (BETS,). O(n), no allocation.
    """
    least, payoff_aware, budget, reach, needed = figures
    for i in range(len(steps)):
        step = steps[i]
        if step["what"] & needed != needed:
            continue
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        _meet(subject, step, memory)
        even = break_even(subject)  # by what was before
        null = max(least, even) if payoff_aware else least
        gain = (1.0 - null) / null
        note_payoff(subject, step["trip_pnl_e8"])
        _count(subject, step, null)
        total = settle(subject, staked, gain if step["trip_pnl_e8"] > 0 else -1.0)
        # While this is below 1, no finding is due within as many rows as a ring holds.
        is_near = (total + RECENT * budget) * reach >= 1.0
        remember(subject, step, memory, is_near or subject["open"] != 0)
        missing = missing_wins(subject, staked, gain) if is_near else np.int64(0)
        phase = judge(subject, total, missing, subject["units"] > 0)
        grant(subject, step["time_ns"], budget)
        if phase == 0:
            continue
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        write_units(record, subject)
        record["numbers"][MISSING] = missing
        record["numbers"][ALARMS] = subject["alarms"]
        record["numbers"][NULL_PPM] = np.int64(np.round(null * PPM))
        record["numbers"][BREAK_EVEN_PPM] = np.int64(np.round(even * PPM))
        record["numbers"][LOSSES] = subject["losses"]
        if phase != HEADROOM:
            _end_run(subject)  # what comes now is evidence anew


class CertifiedWinRate(Detector):
    """Fires when bets that at most ``null_rate`` of round trips are won have failed."""

    name: ClassVar[str] = "certified_win_rate"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = TRIP
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p, memory, staked = self.params, state.memory(), shares()
        reach = most_of((1 - p.null_rate) / p.null_rate) ** RECENT
        needed = TRIP | (SIMULATED if p.simulated_only else 0)
        figures = (p.null_rate, int(p.payoff_aware), p.budget, reach, needed)
        follow_bets(steps, self.selection, figures, staked, memory, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        units, wins, rate = units_of(finding)
        null = int(finding["numbers"][NULL_PPM]) / PPM
        why = (
            f"{wins:,} of {count_of(units, 'round trip')} in one run made money ({rate:.1%}): more "
            f"than luck explains where at most {null:.1%} are won{self._whose(finding)}. "
            f"{_EDGES[_edge_of(finding)]} Of all accounts of which that holds, at most "
            f"{p.alarms_a_day:g} a day are named by all tests together, on average."
        ) + standing(finding, self.rule)
        evidence = {
            "unit": "round_trip",
            **units_evidence(finding),
            "null_rate_ppm": int(finding["numbers"][NULL_PPM]),
            "break_even_ppm": int(finding["numbers"][BREAK_EVEN_PPM]) or None,
            "losses_known": int(finding["numbers"][LOSSES]),
            "edge": _edge_of(finding),
            "alarms_so_far": int(finding["numbers"][ALARMS]),
            "budget_alarms_a_day_ppm": round(p.alarms_a_day * PPM),
            "budget_tests": p.tests,
            "budget_accounts": p.accounts_planned,
            "simulated_only": p.simulated_only,
        }
        counterfactual = {
            "quantity": "wins",
            "at_most": max(0, wins - 1),
            "observed": wins,
            "text": "would not have fired here had the last round trip not made money",
        }
        return Explanation(why, evidence, counterfactual)

    def _whose(self, finding: np.void) -> str:
        is_own = int(finding["numbers"][NULL_PPM]) > round(self.params.null_rate * PPM)
        return ", where its own gains and losses break even by now" if is_own else ""

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``: round trips so far, and with the wins that are missing."""
        units, missing = units_of(finding)[0], int(finding["numbers"][MISSING])
        return Nearness(float(units), float(units + missing))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: budgets large enough that a few wins are findings."""
        return {
            "default": {
                "null_rate": 0.3,
                "alarms_a_day": 100.0,
                "tests": 1,
                "accounts_planned": 1_000,
                "simulated_only": False,
            }
        }
