"""Kernels of the test on bursts: what accounts do in a window, beside their past, peers and market.

Each window that is looked at (``detectors.core.windows``) is a bet against the null that what is
done in it has a negative binomial law with a mean the account's null allows, or less. Bet k says
the mean is ``GROWTHS[k]`` times that: it multiplies its score by the ratio of both laws, which the
null does not let grow on average. The mean goes up with what all other accounts do in the very same
window, so that a market on the move is nobody's burst.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.betting import BETS, FACTOR_MAX, SCORES, clear, grant, judge
from detectors.core.contract import HEADROOM, RECENT, SIMULATED
from detectors.core.emit import COMMON_STATE, begin_day, emit_step, remember
from detectors.core.memory import row_of
from detectors.core.tallies import WINDOW
from detectors.core.windows import SIZES
from schemas.jit import Int, inlined, kernel

PPM: Final = 1_000_000
# How many times the null's mean each bet says there are.
GROWTHS: Final = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
# The law's shape: a variance of mean + mean^2 / 2. Real flow is never as even as Poisson's.
SHAPE: Final = 2
SCALE_MAX: Final = 10.0  # of the market; at least a tenth
_HUGE: Final = 1e150  # its square is still a number
_OTHERS_MIN: Final = 10  # accounts, below which they say nothing of the market
_CLIP: Final = 3.0  # standard deviations; what exceeds them shall not decide for all others
_OWN_CLIP: Final = 4  # times its own mean an account counts in what others see of it

BURST: Final = np.dtype(
    [
        *COMMON_STATE,
        *SCORES,
        ("null", "<f8"),  # actions that are usual in a window, fixed at the latest close; 0: none
        ("mean", "<f8", (SIZES,)),  # own actions in a window, fixed at the latest close; 0: none
        ("sum", "<u8", (SIZES,)),
        ("windows", "<u4", (SIZES,)),
        ("day_sum", "<u4", (SIZES,)),  # since the latest close
        ("day_windows", "<u4", (SIZES,)),
        ("previous", "<f4", (SIZES,)),  # how far the latest window was from what was expected
        ("run_expected", "<f8"),
        ("run_actions", "<u4"),  # since they were last within the null
        ("run_windows", "<u4"),
        ("alarms", "<u4"),
        ("group", "<u2"),  # index + 1
        ("has_previous", "u1", (SIZES,)),
        ("padding", "u1", (3,)),
    ]
)
BURST_GROUP: Final = np.dtype(
    [
        ("size", "<i4"),  # index + 1 of the length; 0: no bound is claimed
        ("padding", "<i4"),
        ("closed_ns", "<i8"),  # the latest close
        ("budget", "<f8"),  # of one account in 24 hours, in alarms
        ("peers", "<f8", (SIZES,)),  # means that one account in twenty exceeded; 0: unknown
        ("products", "<f8", (SIZES,)),
        ("squares", "<f8", (SIZES,)),
        ("pairs", "<i8", (SIZES,)),
        ("gains", "<f8", (SIZES, BETS)),  # what bets would have made of 1, summed
        ("gained", "<i8", (SIZES,)),
    ]
)
# Numbers of a finding.
(WINDOWS, ACTIONS, EXPECTED_PPM, LENGTH, PEER_PPM) = range(5)
(MEAN_PPM, SCALE_PPM, ALARMS, MISSING, AT_MOST) = range(5, 10)


class BurstFigures(NamedTuple):
    """What the kernel must know beside its state.

    Attributes
    ----------
    growth
        How many times its own mean an account may do.
    least
        Actions in a window of a minute that anybody's null allows.
    fixed
        1: that is everybody's null at any time, in windows of a minute.
    fixed_budget
        What goes with it, in alarms.
    """

    growth: float
    least: float
    fixed: int
    fixed_budget: float


class Market(NamedTuple):
    """What all accounts did in the windows that end at one moment, by money and length.

    Simulated trading is free, so it is a market of its own.

    Attributes
    ----------
    accounts, actions, usual_ppm
        Shape (2, SIZES), int64: those with a past, what they did, what they usually do. Whole
        numbers, so that their order does not matter.
    """

    accounts: NDArray[np.int64]
    actions: NDArray[np.int64]
    usual_ppm: NDArray[np.int64]


@inlined
def ratio_of(actions: Int, mean: Any, growth: Any) -> Any:
    """Return what a bet on ``growth`` makes of 1 where so much was done, at most ``FACTOR_MAX``.

    The ratio of two negative binomial laws of shape ``SHAPE``, with means ``growth * mean`` and
    ``mean``. By multiplications alone, which every machine rounds alike.
    """
    less = (SHAPE + mean) / (SHAPE + growth * mean)
    factor, square, left = 1.0, growth * less, np.int64(actions)
    for _ in range(SHAPE):
        factor *= less
    while left > 0 and square < _HUGE:
        if left & 1:
            factor *= square
        square *= square
        left >>= 1
        if factor > _HUGE:
            break
    if left > 0:  # each further factor is above 1, and what there is exceeds any limit
        return FACTOR_MAX
    return min(factor, FACTOR_MAX)


@inlined
def _counted(subject: Any, actions: Int, size: Int) -> Any:
    """Return what others see of what an account did: one burst is no market's."""
    return min(np.int64(actions), np.int64(_OWN_CLIP * subject["mean"][size]) + 1)


@kernel
def _scale(subject: Any, unit: Any, market: Any) -> Any:
    """Return how many times their usual all others do in the same window."""
    actions, size = np.int64(unit["actions"]), np.int64(unit["size"])
    money = np.int64(unit["what"] & SIMULATED != 0)
    others, usual_ppm = market.accounts[money, size], market.usual_ppm[money, size]
    done = market.actions[money, size]
    if subject["mean"][size] > 0.0:
        others -= 1
        usual_ppm -= np.int64(subject["mean"][size] * PPM)
        done -= _counted(subject, actions, size)
    if others < _OTHERS_MIN or usual_ppm <= 0:
        return 1.0
    return min(max(np.float64(done) * PPM / np.float64(usual_ppm), 1.0 / SCALE_MAX), SCALE_MAX)


@kernel
def _learn(subject: Any, group: Any, unit: Any, scale: Any, figures: Any) -> None:
    """Let a window be part of the account's past, and of what is known of its group."""
    size, actions = np.int64(unit["size"]), np.int64(unit["actions"])
    subject["sum"][size] += np.uint64(actions)
    subject["windows"][size] += np.uint32(1)
    subject["day_sum"][size] = min(np.int64(subject["day_sum"][size]) + actions, 2**32 - 1)
    subject["day_windows"][size] += np.uint32(1)
    mean, allowed = subject["mean"][size] * scale, subject["mean"][size] * max(scale, 1.0)
    if mean <= 0.0:
        return
    variance = 1.0 / mean + 1.0 / SHAPE
    limit = _CLIP * np.sqrt(variance)
    off = min(max(np.float64(actions) / mean - 1.0, -limit), limit)
    if subject["has_previous"][size]:
        # Who does little tells little, and drowns in chance what is to be seen of the others: so
        # by what each can tell, and beside the law's own variance instead of all there is.
        group["products"][size] += off * np.float64(subject["previous"][size]) / variance
        group["squares"][size] += 1.0 / (SHAPE * variance)
        group["pairs"][size] += 1
    subject["previous"][size] = off
    subject["has_previous"][size] = 1
    for k in range(BETS):
        group["gains"][size, k] += ratio_of(actions, figures.growth * allowed, GROWTHS[k])
    group["gained"][size] += 1


@inlined
def _end_run(subject: Any) -> None:
    subject["run_actions"] = 0
    subject["run_expected"] = 0.0
    subject["run_windows"] = 0


@inlined
def _count_run(subject: Any, unit: Any, mean: Any) -> None:
    """Count a window into the run at hand, which is over once it is within the null."""
    if subject["run_windows"] == 0:
        subject["onset_ns"] = unit["begin_ns"]
    subject["run_actions"] = min(np.int64(subject["run_actions"]) + unit["actions"], 2**32 - 1)
    subject["run_expected"] += mean
    subject["run_windows"] += np.uint32(1)
    if np.float64(subject["run_actions"]) <= subject["run_expected"]:
        _end_run(subject)


@inlined
def _settle(subject: Any, actions: Int, mean: Any) -> Any:
    """Multiply each score by what its bet made of a window; return their sum."""
    total = 0.0
    for k in range(BETS):
        subject["scores"][k] *= ratio_of(actions, mean, GROWTHS[k])
        total += subject["scores"][k]
    return total


@kernel
def _sum_with(before: Any, actions: Int, mean: Any) -> Any:
    """Return what ``before`` would add up to after such a window."""
    total = 0.0
    for k in range(BETS):
        total += before[k] * ratio_of(actions, mean, GROWTHS[k])
    return total


@kernel
def _at_most(before: Any, actions: Int, mean: Any) -> Any:
    """Return with how many actions at most the window would have brought no alarm: by halving."""
    low, high = np.int64(0), np.int64(actions)  # none at ``low``, an alarm at ``high``
    while high - low > 1:
        middle = (low + high) // 2
        if _sum_with(before, middle, mean) < 1.0:
            low = middle
        else:
            high = middle
    return low


@kernel
def _missing(subject: Any, actions: Int, mean: Any) -> Any:
    """Return how many more windows like this one would bring an alarm; 0: more than a few."""
    for windows in range(1, RECENT + 1):
        total = 0.0
        for k in range(BETS):
            factor, score = ratio_of(actions, mean, GROWTHS[k]), subject["scores"][k]
            for _ in range(windows):
                score *= factor
            total += score
        if total >= 1.0:
            return np.int64(windows)
    return np.int64(0)


@kernel
def _write(record: Any, subject: Any, group: Any, unit: Any, scale: Any, told: Any) -> None:
    numbers, size = record["numbers"], np.int64(unit["size"])
    numbers[WINDOWS] = subject["run_windows"]
    last: Any = min(np.int64(unit["actions"]), 2**24 - 1)
    numbers[ACTIONS] = (np.int64(subject["run_actions"]) << 24) | last
    numbers[EXPECTED_PPM] = np.int64(np.round(subject["run_expected"] * PPM))
    numbers[LENGTH] = size
    numbers[PEER_PPM] = np.int64(np.round(group["peers"][size] * PPM))
    numbers[MEAN_PPM] = np.int64(np.round(subject["mean"][size] * PPM))
    numbers[SCALE_PPM] = np.int64(np.round(scale * PPM))
    numbers[ALARMS] = subject["alarms"]
    numbers[MISSING] = told[0]
    numbers[AT_MOST] = told[1]


@kernel
def _bet(subject: Any, group: Any, unit: Any, scale: Any, figures: Any, where: Any) -> None:
    """Settle a window's bets, tell what they say, then grant what accrued for the next one.

    ``where`` is (row of the batch, memory, room for findings and how many, room for scores).
    """
    i, memory, (out, count), before = where
    actions = np.int64(unit["actions"])
    mean = (figures.least if figures.fixed else subject["null"]) * scale
    budget = figures.fixed_budget if figures.fixed else group["budget"]
    for k in range(BETS):
        before[k] = subject["scores"][k]
    _count_run(subject, unit, mean)
    total = _settle(subject, actions, mean)
    has_run = subject["run_windows"] > 0
    missing = _missing(subject, actions, mean) if has_run else np.int64(0)
    remember(subject, unit, memory, has_run or subject["open"] != 0)
    phase = judge(subject, total if has_run else 0.0, missing, has_run)
    grant(subject, unit["time_ns"], budget)
    if phase == 0:
        return
    at_most = _at_most(before, actions, mean) if phase != HEADROOM else np.int64(0)
    record = out[emit_step(out, count, phase, i, unit["time_ns"], subject, memory)]
    _write(record, subject, group, unit, scale, (missing, at_most))
    if phase != HEADROOM:
        _end_run(subject)  # what comes now is evidence anew


@kernel
def _stop_betting(subject: Any) -> None:
    clear(subject)
    _end_run(subject)


@inlined
def _is_bet(subject: Any, group: Any, unit: Any, figures: Any) -> bool:
    """Say whether the window is bet on; what began before a close is not, by its figures."""
    if figures.fixed:
        return bool(unit["size"] == 0)
    if group["size"] != unit["size"] + 1 or unit["begin_ns"] < group["closed_ns"]:
        return False
    return bool(subject["null"] > 0.0)


@kernel
def _meet_market(units: Any, span: Any, memory: Any, market: Any) -> None:
    """Count what all did in the windows that ended at one moment; ``span`` is (first, end)."""
    for which in range(2):
        for k in range(SIZES):
            market.accounts[which, k] = market.actions[which, k] = 0
            market.usual_ppm[which, k] = 0
    for i in range(span[0], span[1]):
        unit = units[i]
        if unit["kind"] != WINDOW or unit["group"] < 0:
            continue
        size = np.int64(unit["size"])
        subject = memory.rows[row_of(np.int64(unit["account"]), memory)]
        if subject["mean"][size] > 0.0:
            money = np.int64(unit["what"] & SIMULATED != 0)
            market.accounts[money, size] += 1
            market.actions[money, size] += _counted(subject, np.int64(unit["actions"]), size)
            market.usual_ppm[money, size] += np.int64(subject["mean"][size] * PPM)


@kernel
def _take(unit: Any, i: Int, figures: Any, shared: Any, memory: Any, rest: Any) -> None:
    """Take one window; ``rest`` is (market, room for findings and how many, room for scores)."""
    market, told, before = rest
    group = shared[unit["group"]]
    subject = memory.rows[row_of(np.int64(unit["account"]), memory)]
    if subject["group"] != unit["group"] + 1:
        subject["group"] = unit["group"] + 1
        subject["null"] = 0.0  # it was another group's
        _stop_betting(subject)
    begin_day(subject, unit, memory)
    scale = 1.0
    if not figures.fixed:
        scale = _scale(subject, unit, market)
    _learn(subject, group, unit, scale, figures)
    if _is_bet(subject, group, unit, figures):
        # Where the market rests, an account may do as always.
        _bet(subject, group, unit, max(scale, 1.0), figures, (np.int64(i), memory, told, before))


@kernel
def follow_bursts(
    units: Any, exempt: Int, figures: Any, shared: Any, memory: Any, rest: Any
) -> None:
    """Take windows in order of time; those of one moment must come together.

    Parameters
    ----------
    units
        Shape (n,), dtype ``UNIT_STEP``.
    exempt
        Registrations whose windows are not looked at.
    figures
        ``BurstFigures``.
    shared
        Shape (groups,), dtype ``BURST_GROUP``.
    memory
        As for other detectors; rows are of dtype ``BURST``.
    rest
        (``Market``, (room for findings, how many there are), room for scores of shape (BETS,)).
    """
    i = 0
    while i < len(units):
        end = i + 1
        while end < len(units) and units[end]["time_ns"] == units[i]["time_ns"]:
            end += 1
        if not figures.fixed:
            _meet_market(units, (i, end), memory, rest[0])
        for at in range(i, end):
            is_looked_at = units[at]["kind"] == WINDOW and units[at]["group"] >= 0
            if is_looked_at and units[at]["registered"] & exempt == 0:
                _take(units[at], np.int64(at), figures, shared, memory, rest)
        i = end
