"""Accounts that did nothing wrong, at the budget that is shipped: how many are named a day.

Beside them the naive rule, which is policy and shipped too: more than 90 % of at least ten units
of the day. Counts are scaled to 100,000 accounts.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from lab.evaluate.bank import Bools, Floats, Ints, WinRateBank, in_turns
from lab.evaluate.intervals import Interval, of_counts
from lab.evaluate.power import BUDGET
from lab.evaluate.sizes import Sizes

_PER: Final = 100_000
GRANTED_A_DAY: Final = BUDGET * _PER
_NULL: Final = 0.9
_STREAM: Final = 2  # of random numbers, so that no two tables share any
NAIVE_UNITS: Final = 10
_GAIN_E8: Final = 10**9


class Trap(NamedTuple):
    """Accounts of one sort.

    Attributes
    ----------
    chances
        (generator, accounts) -> each one's share of wins.
    is_within_null
        None wins more than the policy's figure.
    has_edge
        Gains and losses are of one size, so that who wins more than half earns money; else losses
        are as much larger as nobody earns anything, on average.
    """

    name: str
    what: str
    chances: Callable[[np.random.Generator, int], Floats]
    is_within_null: bool = False
    has_edge: bool = False


class TrapRow(Struct, frozen=True, kw_only=True):
    """One sort.

    Attributes
    ----------
    certified, naive
        Alarms a day on 100,000 such accounts, by the test and by the rule.
    certified_interval
        Of the former, 95 %.
    granted
        Alarms a day that the test is granted for as many accounts.
    """

    trap: str
    what: str
    is_within_null: bool
    has_edge: bool
    certified: float
    certified_interval: Interval
    granted: float
    naive: float


def _population(rng: np.random.Generator, accounts: int) -> Floats:
    """Differ by one standard deviation of the logarithm of odds, around 55 %."""
    log_odds = np.log(0.55 / 0.45) + rng.standard_normal(accounts)
    shares: Floats = 1 / (1 + np.exp(-log_odds))
    return shares


def _all(share: float) -> Callable[[np.random.Generator, int], Floats]:
    return lambda _rng, accounts: np.full(accounts, share)


TRAPS: Final = (
    Trap("coin tossers", "half of their round trips", _all(0.5), is_within_null=True),
    Trap("nine in ten", "exactly the policy's figure", _all(0.9), is_within_null=True),
    Trap("population", "55 %, log odds vary by 1; nobody earns anything", _population),
    Trap("92 % winners", "small gains and large losses, which come to nothing", _all(0.92)),
    Trap("loser-holders", "95 %: losers are kept, and closed late", _all(0.95)),
    Trap("98 % winners", "the same, one loss in 50", _all(0.98)),
    Trap("99 % winners", "the same, one loss in 100, which may be long in coming", _all(0.99)),
    Trap(
        "able population",
        "the same shares as the population, and money with it",
        _population,
        has_edge=True,
    ),
    Trap("able 92 % winners", "gains as large as losses", _all(0.92), has_edge=True),
)


def measure(sizes: Sizes, seed: int) -> list[TrapRow]:
    """Count alarms on every sort."""
    return [
        _row(trap, sizes, np.random.default_rng((seed, _STREAM, number)))
        for number, trap in enumerate(TRAPS)
    ]


def _row(trap: Trap, sizes: Sizes, rng: np.random.Generator) -> TrapRow:
    chances = trap.chances(rng, sizes.trap_accounts)
    bank = WinRateBank(_NULL, BUDGET)
    alarms = np.zeros(sizes.trap_accounts, np.int64)
    naive = 0
    for day in range(sizes.trap_days):
        wins = rng.random((sizes.units_a_day, sizes.trap_accounts)) < chances
        first = day * sizes.units_a_day
        owners, days = in_turns(sizes.units_a_day, sizes.trap_accounts, sizes.units_a_day, first)
        profits = _profits(rng, wins, chances, trap)
        found = bank.take(owners, days, wins.reshape(-1), profits.reshape(-1))
        alarms += np.bincount(found["subject"], minlength=len(alarms))
        naive += named_naively(wins)
    scale = _PER / sizes.trap_accounts / sizes.trap_days
    low, high = of_counts(alarms)
    return TrapRow(
        trap=trap.name,
        what=trap.what,
        is_within_null=trap.is_within_null,
        has_edge=trap.has_edge,
        certified=int(alarms.sum()) * scale,
        certified_interval=(low * scale, high * scale),
        granted=GRANTED_A_DAY,
        naive=naive * scale,
    )


def _profits(rng: np.random.Generator, wins: Bools, chances: Floats, trap: Trap) -> Ints:
    """Return what units won or lost, shape as ``wins``: sizes vary by half in logarithm."""
    sizes = np.exp(rng.normal(0, 0.5, wins.shape)) * _GAIN_E8
    if not trap.has_edge:
        sizes *= np.where(wins, 1.0, chances / (1 - chances))
    profits: Ints = np.maximum(sizes, 1).astype(np.int64)
    return profits


def named_naively(wins: Bools) -> int:
    """Count the accounts that were above 90 % of at least ten units at any time of a day.

    Parameters
    ----------
    wins
        Shape (units, accounts).
    """
    counts = np.arange(1, len(wins) + 1)[:, None]
    above = (np.cumsum(wins, axis=0) > _NULL * counts) & (counts >= NAIVE_UNITS)
    return int(np.count_nonzero(above.any(axis=0)))
