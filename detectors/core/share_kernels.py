"""Kernels of tests on a share of orders: own past and peers as the null, bets on what comes.

An account's units (``detectors.core.tallies``) are put together to buckets of as many orders as its
group's own past asks for. Each bucket is a bet against the null that was fixed before it began.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from detectors.core.betting import (
    FACTOR_MAX,
    SCORES,
    clear,
    grant,
    judge,
    missing_wins,
    settle,
)
from detectors.core.contract import HEADROOM, RECENT
from detectors.core.emit import COMMON_STATE, begin_day, emit_step, remember
from detectors.core.memory import row_of
from detectors.core.tallies import LIFETIME_BINS, UNIT, UNIT_ORDERS
from schemas.jit import Int, inlined, kernel

# Sizes of buckets that are tried, in units.
MERGES: Final = (1, 2, 5, 10, 20, 50)
SIZES: Final = len(MERGES)
MILLE: Final = 1_000
PPM: Final = 1_000_000
_CLIP: Final = 3.0  # standard deviations of luck; what exceeds them shall not decide for all others

SHARE: Final = np.dtype(
    [
        *COMMON_STATE,
        *SCORES,
        ("null", "<f8"),  # of the bucket at hand; 0: no bet is on
        ("null_next", "<f8"),  # of buckets to come, fixed at the latest close
        ("mean", "<f8"),  # own share, fixed at the latest close
        ("sum", "<i8"),  # of the units' shares in thousandths
        ("square", "<i8"),  # and of their squares
        ("last_ns", "<i8"),
        ("begin_ns", "<i8"),  # of the bucket at hand
        ("alarms", "<u4"),
        ("units", "<u4"),
        ("day_hits", "<u4"),  # since the latest close
        ("day_orders", "<u4"),
        ("hits", "<u4"),  # of the bucket at hand
        ("orders", "<u4"),
        ("run_hits", "<u4"),  # since the share was last within the null
        ("run_orders", "<u4"),
        ("run_buckets", "<u4"),
        ("merged", "<u2"),  # units of the bucket at hand
        ("size", "<u2"),  # and how many it takes
        ("group", "<u2"),  # index + 1
        ("has_mean", "u1"),
        ("padding", "u1"),
        # What is needed to see whether a bucket says something of the next, for each size.
        ("roll_previous", "<f4", (SIZES,)),
        ("roll_hits", "<u2", (SIZES,)),
        ("roll_orders", "<u2", (SIZES,)),
        ("roll_units", "u1", (SIZES,)),
        ("roll_has", "u1", (SIZES,)),
    ]
)
GROUP: Final = np.dtype(
    [
        ("size", "<i4"),  # units of a bucket; 0: no bound is claimed
        ("quick", "<i4"),  # how many bins of lifetimes count as quick
        ("closed_ns", "<i8"),  # the latest close
        ("budget", "<f8"),  # of one account in 24 hours, in alarms
        ("peer_rate", "<f8"),  # which one account in twenty exceeded on the latest day; 0: unknown
        ("products", "<f8", (SIZES,)),
        ("squares", "<f8", (SIZES,)),
        ("pairs", "<i8", (SIZES,)),
        ("lifetimes", "<i8", (LIFETIME_BINS,)),
    ]
)
# Numbers of a finding.
(BUCKETS, HITS, ORDERS, NULL_PPM, PEER_PPM, MEAN_PPM, ALARMS, MISSING, AT_MOST, LAST) = range(10)


class ShareFigures(NamedTuple):
    """What the kernel must know beside its state.

    Attributes
    ----------
    by_lifetime
        1: orders count that were cancelled quickly; 0: all that were cancelled.
    fixed_null
        The null of every account at any time; 0: as it was fixed at the latest close.
    fixed_budget
        What goes with it, in alarms.
    fixed_quick
        How many bins of lifetimes count as quick; 0: as was fixed at the latest close.
    """

    by_lifetime: int
    fixed_null: float
    fixed_budget: float
    fixed_quick: int


@inlined
def _hits_of(unit: Any, group: Any, by_lifetime: Int) -> Any:
    """Return how many of a unit's orders count."""
    if by_lifetime == 0:
        return np.int64(unit["canceled"])
    hits = np.int64(0)
    for k in range(np.int64(group["quick"])):
        hits += np.int64(unit["lifetimes"][k])
    return hits


@kernel
def _note_pair(subject: Any, group: Any, k: Int) -> None:
    """Note how a bucket of size ``k`` stands to the one before: both beside the own mean."""
    orders, mean = np.float64(subject["roll_orders"][k]), subject["mean"]
    limit = _CLIP * np.sqrt(max(mean * (1.0 - mean), 1.0 / orders) / orders)
    off = np.float64(subject["roll_hits"][k]) / orders - mean
    off = min(max(off, -limit), limit)
    if subject["roll_has"][k]:
        before = np.float64(subject["roll_previous"][k])
        group["products"][k] += off * before
        group["squares"][k] += (off * off + before * before) / 2.0
        group["pairs"][k] += 1
    subject["roll_previous"][k] = off
    subject["roll_has"][k] = 1
    subject["roll_hits"][k] = 0
    subject["roll_orders"][k] = 0
    subject["roll_units"][k] = 0


@inlined
def _learn(subject: Any, group: Any, unit: Any, hits: Int) -> None:
    """Let a unit be part of the account's past."""
    orders = np.int64(unit["orders"])
    share = hits * MILLE // orders
    subject["last_ns"] = unit["time_ns"]
    subject["units"] += np.uint32(1)
    subject["sum"] += share
    subject["square"] += share * share
    subject["day_hits"] += np.uint32(hits)
    subject["day_orders"] += np.uint32(orders)
    if subject["has_mean"] == 0:
        return
    for k in range(SIZES):
        subject["roll_hits"][k] = min(np.int64(subject["roll_hits"][k]) + hits, 2**16 - 1)
        subject["roll_orders"][k] = min(np.int64(subject["roll_orders"][k]) + orders, 2**16 - 1)
        subject["roll_units"][k] += np.uint8(1)
        if subject["roll_units"][k] >= MERGES[k]:
            _note_pair(subject, group, np.int64(k))


@kernel
def end_run(subject: Any) -> None:
    """Begin to count the run anew."""
    subject["run_hits"] = 0
    subject["run_orders"] = 0
    subject["run_buckets"] = 0


@kernel
def forget_past(subject: Any) -> None:
    """Begin an account's past anew, and all that rests on it: what counts is another thing now."""
    for k in range(SIZES):
        subject["roll_hits"][k] = 0
        subject["roll_orders"][k] = 0
        subject["roll_units"][k] = 0
        subject["roll_has"][k] = 0
    subject["units"] = 0
    subject["sum"] = 0
    subject["square"] = 0
    subject["day_hits"] = 0
    subject["day_orders"] = 0
    subject["has_mean"] = 0
    subject["null"] = 0.0
    subject["null_next"] = 0.0
    subject["merged"] = 0
    clear(subject)
    end_run(subject)


@kernel
def forget_pasts(rows: Any, own: Any) -> None:
    """Begin the past of some accounts anew, ``own`` being their rows."""
    for row in own:
        forget_past(rows[row])


@inlined
def _begin_bucket(subject: Any, group: Any, unit: Any, figures: Any) -> bool:
    """Take the null that was fixed as the next bucket's; say whether there is one."""
    null, size = subject["null_next"], group["size"]
    if figures.fixed_null > 0.0:
        null, size = figures.fixed_null, np.int32(1)
    if null <= 0.0 or size <= 0:
        if subject["null"] > 0.0:
            subject["null"] = 0.0
            clear(subject)
            end_run(subject)
        return False
    subject["null"] = null
    subject["size"] = size
    subject["begin_ns"] = unit["begin_ns"]
    subject["hits"] = 0
    subject["orders"] = 0
    return True


@inlined
def _count_run(subject: Any) -> None:
    """Count a bucket into the run at hand, which is over once its share is within the null."""
    if subject["run_buckets"] == 0:
        subject["onset_ns"] = subject["begin_ns"]
    subject["run_hits"] += subject["hits"]
    subject["run_orders"] += subject["orders"]
    subject["run_buckets"] += np.uint32(1)
    if np.float64(subject["run_hits"]) <= subject["null"] * np.float64(subject["run_orders"]):
        end_run(subject)


@kernel
def _at_most(subject: Any, staked: Any, outcome: Any) -> Any:
    """Return with how many hits at most the bucket at hand would have brought no alarm.

    ``outcome`` is what the scores have been settled with.
    """
    orders, null = np.float64(subject["orders"]), subject["null"]
    for hits in range(np.int64(subject["hits"]) - 1, -1, -1):
        other, total = (hits / orders - null) / null, 0.0
        for k in range(len(staked)):
            was = min(1.0 + staked[k] * outcome, FACTOR_MAX)
            total += subject["scores"][k] / was * min(1.0 + staked[k] * other, FACTOR_MAX)
        if total < 1.0:
            return np.int64(hits)
    return np.int64(0)


@kernel
def _write(record: Any, subject: Any, group: Any, missing: Int, at_most: Int) -> None:
    numbers = record["numbers"]
    numbers[BUCKETS] = subject["run_buckets"]
    numbers[HITS] = subject["run_hits"]
    numbers[ORDERS] = subject["run_orders"]
    numbers[NULL_PPM] = np.int64(np.round(subject["null"] * PPM))
    numbers[PEER_PPM] = np.int64(np.round(group["peer_rate"] * PPM))
    numbers[MEAN_PPM] = np.int64(np.round(subject["mean"] * PPM)) if subject["has_mean"] else -1
    numbers[ALARMS] = subject["alarms"]
    numbers[MISSING] = missing
    numbers[AT_MOST] = at_most
    # Hits and orders of the last bucket, and how many bins count as quick.
    numbers[LAST] = (np.int64(subject["hits"]) << 40) | (np.int64(subject["orders"]) << 8)
    numbers[LAST] |= np.int64(group["quick"])


@kernel
def _end_bucket(subject: Any, group: Any, unit: Any, figures: Any, staked: Any, where: Any) -> None:
    """Settle a bucket's bets, tell what they say, then grant what accrued for the next one.

    ``where`` is (row of the batch, memory, room for findings and how many there are).
    """
    i, memory, (out, count) = where
    budget = figures.fixed_budget if figures.fixed_null > 0.0 else group["budget"]
    null = subject["null"]
    outcome = (np.float64(subject["hits"]) / np.float64(subject["orders"]) - null) / null
    _count_run(subject)
    total = settle(subject, staked, outcome)
    gain = (1.0 - null) / null
    reach = min(1.0 + staked[len(staked) - 1] * gain, FACTOR_MAX) ** RECENT
    # While this is below 1, no finding is due within as many buckets as a ring holds.
    is_near = (total + RECENT * budget) * reach >= 1.0
    remember(subject, unit, memory, is_near or subject["open"] != 0)
    missing = missing_wins(subject, staked, gain) if is_near else np.int64(0)
    at_most = _at_most(subject, staked, outcome) if total >= 1.0 else np.int64(0)
    # Where few share a budget, it may be an alarm's worth by itself; without a run it says nothing.
    has_run = subject["run_buckets"] > 0
    phase = judge(subject, total if has_run else 0.0, missing, has_run)
    grant(subject, unit["time_ns"], budget)
    if phase == 0:
        return
    record = out[emit_step(out, count, phase, i, unit["time_ns"], subject, memory)]
    _write(record, subject, group, missing, at_most)
    if phase != HEADROOM:
        end_run(subject)  # what comes now is evidence anew


@inlined
def _count_in(subject: Any, group: Any, unit: Any, figures: Any) -> bool:
    """Count a unit into the past and into the bucket at hand; say whether that is full."""
    hits = _hits_of(unit, group, figures.by_lifetime)
    _learn(subject, group, unit, hits)
    # What was fixed at a close is no null of what began before.
    if subject["merged"] == 0 and unit["begin_ns"] < group["closed_ns"]:
        return False
    if subject["merged"] == 0 and not _begin_bucket(subject, group, unit, figures):
        return False
    subject["merged"] += np.uint16(1)
    subject["hits"] += np.uint32(hits)
    subject["orders"] += np.uint32(unit["orders"])
    if subject["merged"] < subject["size"]:
        return False
    subject["merged"] = 0
    return True


@kernel
def follow_shares(
    units: Any, exempt: Int, figures: Any, staked: Any, shared: Any, memory: Any, told: Any
) -> None:
    """Take units in order of time: learn from each, and settle bets where one ends a bucket.

    Parameters
    ----------
    units
        Shape (n,), dtype ``UNIT_STEP``.
    exempt
        Registrations whose units are not looked at.
    figures
        ``ShareFigures``.
    staked
        Shape (BETS,).
    shared
        Shape (groups,), dtype ``GROUP``.
    memory
        As for other detectors; rows are of dtype ``SHARE``.
    told
        Room for findings, and how many there are.
    """
    for i in range(len(units)):
        unit = units[i]
        if unit["kind"] != UNIT or unit["group"] < 0 or unit["registered"] & exempt != 0:
            continue
        group = shared[unit["group"]]
        subject = memory.rows[row_of(np.int64(unit["account"]), memory)]
        if subject["group"] != unit["group"] + 1:
            subject["group"] = unit["group"] + 1
            subject["null_next"] = 0.0  # it was another group's
            if figures.by_lifetime:
                forget_past(subject)  # and so was what counts
        if figures.by_lifetime:
            for k in range(LIFETIME_BINS):
                group["lifetimes"][k] += np.int64(unit["lifetimes"][k])
            if figures.fixed_quick > 0:
                group["quick"] = figures.fixed_quick
            if group["quick"] == 0:
                continue
        begin_day(subject, unit, memory)
        if _count_in(subject, group, unit, figures):
            _end_bucket(subject, group, unit, figures, staked, (np.int64(i), memory, told))


def orders_of(size: int) -> int:
    """Return how many orders a bucket of so many units has at least."""
    return size * UNIT_ORDERS
