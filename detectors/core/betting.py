"""Betting against a null: the budgeted Shiryaev-Roberts statistic that tests with a bound share.

A test looks at outcomes Y >= -1 whose expectation, given all that came before, is at most 0 as long
as its null holds. Each bet k stakes the share f of what it has on every outcome, so its score is
multiplied by 1 + f Y, which the null does not let grow on average. Before an outcome is known,
scores are granted a little more, out of a budget that accrues with time. An alarm is due when the
scores add up to 1; then they begin at 0 again. Alarms plus scores less grants is a supermartingale
under the null: **however outcomes, accounts and tests depend on each other, no more alarms are
expected than were granted.** The budget accrues with time, never by outcome, so nobody's activity
can use up another's.

Sources: A. N. Shiryaev, "On optimum methods in quickest detection problems", 1963; S. W. Roberts,
"A comparison of some control chart procedures", 1966; for betting, G. Shafer, "Testing by betting",
2021; for e-detectors, J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", 2022.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import GROWTH, HEADROOM, OPENING, RECENT
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

BETS: Final = 8
# Shares staked: the best share grows with how far the truth is from the null, which nobody knows.
SHARES: Final = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99)
FACTOR_MAX: Final = 8.0  # one outcome alone does not decide; smaller factors keep the bound
RESERVE: Final = 1.1  # a tenth more subjects than were planned for may come
SCORES: Final[list[Any]] = [
    ("granted_ns", "<i8"),  # up to then; 0: nothing yet
    ("latest_ns", "<i8"),  # time of the outcome before
    ("scores", "<f8", (BETS,)),
]
_ALARMS_MAX: Final = 2**16 - 1  # a count of them is held there
_DAY_NS: Final = 86_400 * SECOND_NS


def budget_of(alarms_a_day: float, tests: int, subjects: int) -> float:
    """Return what one subject of one test is granted in 24 hours, in alarms.

    Parameters
    ----------
    alarms_a_day
        Alarms that all tests together may raise by chance in a day, on all subjects.
    tests, subjects
        Among how many the budget is shared.

    Examples
    --------
    >>> budget_of(5.0, 7, 100_000) * 1e6
    6.493506493506493
    """
    return alarms_a_day / (tests * RESERVE * subjects)


def shares() -> NDArray[np.float64]:
    """Return the shares staked, shape (BETS,)."""
    return np.array(SHARES)


def most_of(outcome: float) -> float:
    """Return the most that one such outcome multiplies a score by."""
    return min(1.0 + max(SHARES) * outcome, FACTOR_MAX)


@inlined
def settle(subject: Any, staked: Any, outcome: Any) -> Any:
    """Multiply each score by what its bet made of an outcome; return their sum.

    ``outcome`` is Y >= -1, dimensionless; ``staked`` has shape (BETS,).
    """
    total = 0.0
    for k in range(len(staked)):
        score = subject["scores"][k] * min(1.0 + staked[k] * outcome, FACTOR_MAX)
        subject["scores"][k] = score
        total += score
    return total


@kernel
def clear(subject: Any) -> None:
    """Begin again, as after an alarm."""
    for k in range(BETS):
        subject["scores"][k] = 0.0


@inlined
def grant(subject: Any, time_ns: Int, budget: Any) -> None:
    """Grant what accrued up to the time that two outcomes in a row have reached.

    At ``budget`` in 24 hours, and for 24 hours at most. Called after an outcome and before the
    next one, so that no grant knows what it will meet. One wild clock moves nothing.
    """
    reached_ns = min(np.int64(subject["latest_ns"]), np.int64(time_ns))
    subject["latest_ns"] = time_ns
    if reached_ns <= subject["granted_ns"]:
        return
    begin_ns = max(np.int64(subject["granted_ns"]), reached_ns - _DAY_NS)
    is_first = subject["granted_ns"] == 0
    subject["granted_ns"] = reached_ns
    if is_first:
        return
    amount = budget * (np.float64(reached_ns - begin_ns) / np.float64(_DAY_NS)) / np.float64(BETS)
    for k in range(BETS):
        subject["scores"][k] += amount


@inlined
def sum_after(subject: Any, staked: Any, outcome: Any, times: Int) -> Any:
    """Return what the scores would add up to after the same outcome ``times`` times."""
    total = 0.0
    for k in range(len(staked)):
        score = subject["scores"][k]
        factor = min(1.0 + staked[k] * outcome, FACTOR_MAX)
        for _ in range(times):
            score *= factor
        total += score
    return total


@kernel
def missing_wins(subject: Any, staked: Any, gain: Any) -> Any:
    """Return how many outcomes of ``gain`` in a row would bring an alarm.

    0 where as many as a ring has positions would not.
    """
    for wins in range(1, RECENT + 1):
        if sum_after(subject, staked, gain, wins) >= 1.0:
            return np.int64(wins)
    return np.int64(0)


@kernel
def judge(subject: Any, total: Any, missing: Int, has_run: bool) -> Any:  # noqa: FBT001 - kernels take no keywords
    """Return the phase of a finding: an alarm when the scores add up to 1, headroom once a day.

    0 for none. ``has_run`` says whether there is a run that headroom can speak of.
    """
    if total >= 1.0:
        phase = GROWTH if subject["open"] else OPENING
        subject["open"] = 1
        subject["alarms"] = min(np.int64(subject["alarms"]) + 1, _ALARMS_MAX)
        clear(subject)
        return phase
    if missing > 0 and has_run and subject["warned"] + subject["open"] == 0:
        subject["warned"] = 1
        return HEADROOM
    return 0
