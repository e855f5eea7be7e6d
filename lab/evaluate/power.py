"""How soon accounts that win more than the null allows are named, and how soon they could be.

The oracle is the same statistic with the same grants at the same units and the same bound, told
beforehand what the true share is: it multiplies by the likelihood of each outcome. Nobody can know
that; what the bets lose against it is the price of not knowing.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from detectors.core.betting import budget_of
from lab.bench.plot import Chart
from lab.evaluate.bank import Bools, Ints, WinRateBank, first_alarms, in_turns
from lab.evaluate.intervals import Interval, of_share
from lab.evaluate.sizes import Sizes

BUDGET: Final = budget_of(5.0, 7, 100_000)  # as shipped
CASES: Final = (
    (0.9, 0.95),
    (0.9, 0.97),
    (0.9, 0.99),
    (0.9, 1.0),
    (0.5, 0.6),
    (0.5, 0.75),
    (0.5, 0.9),
)
FIRST_GRANTED: Final = 3  # unit, from 0: time counts up to the earlier of the last two outcomes
_NULL: Final = 0.9
_STREAM: Final = 1  # of random numbers, so that no two tables share any


class DelayRow(Struct, frozen=True, kw_only=True):
    """Delays from the first unit on; an account never named counts as later than all others.

    Attributes
    ----------
    units, oracle_units
        The median, of the bets and of the oracle; None where fewer than half were named.
    days
        The former at the pace of the run.
    ratio
        Of the two.
    bound_a
        A: one alarm is granted for so many units under the null.
    """

    null: float
    truth: float
    units: float | None
    oracle_units: float | None
    days: float | None
    ratio: float | None
    bound_a: float


class PowerRow(Struct, frozen=True, kw_only=True):
    """The share of accounts named after so many units, with its interval of 95 %."""

    truth: float
    units: int
    share: float
    interval: Interval


def measure(sizes: Sizes, seed: int) -> tuple[list[DelayRow], list[PowerRow]]:
    """Measure delays in all cases, and shares where the null is the policy's."""
    delays, shares = [], []
    units = max(sizes.counts)
    for number, (null, truth) in enumerate(CASES):
        rng = np.random.default_rng((seed, _STREAM, number))
        wins = rng.random((units, sizes.delay_accounts)) < truth
        first = _named_by_bets(wins, null, sizes)
        delays.append(_delay(first, oracle(wins, null, truth, sizes), null, truth, sizes))
        if null == _NULL:
            shares += [_share(first, truth, count) for count in sizes.counts]
    return delays, shares


def oracle(wins: Bools, null: float, truth: float, sizes: Sizes) -> Ints:
    """Return after how many units the oracle names each account; one more than all where never.

    Parameters
    ----------
    wins
        Shape (units, accounts).
    """
    grant = BUDGET / sizes.units_a_day
    on_win, on_loss = truth / null, (1 - truth) / (1 - null)
    units, accounts = wins.shape
    first = np.full(accounts, units + 1)
    scores = np.zeros(accounts)
    for unit in range(units):
        scores = (scores + grant * (unit >= FIRST_GRANTED)) * np.where(wins[unit], on_win, on_loss)
        first[(scores >= 1) & (first > units)] = unit + 1
        np.minimum(scores, 1.0, out=scores)  # named is named
    return first


def _named_by_bets(wins: Bools, null: float, sizes: Sizes) -> Ints:
    units, accounts = wins.shape
    owners, days = in_turns(units, accounts, sizes.units_a_day)
    found = WinRateBank(null, BUDGET).take(owners, days, wins.reshape(-1))
    return first_alarms(found, accounts, units)


def _delay(bets: Ints, known: Ints, null: float, truth: float, sizes: Sizes) -> DelayRow:
    most = max(sizes.counts)
    ours, oracles = (_median(first, most) for first in (bets, known))
    return DelayRow(
        null=null,
        truth=truth,
        units=ours,
        oracle_units=oracles,
        days=None if ours is None else ours / sizes.units_a_day,
        ratio=None if ours is None or oracles is None else ours / oracles,
        bound_a=sizes.units_a_day / BUDGET,
    )


def _median(first: Ints, most: int) -> float | None:
    middle = float(np.median(first))
    return None if middle > most else middle


def _share(first: Ints, truth: float, units: int) -> PowerRow:
    count = int(np.count_nonzero(first <= units))
    return PowerRow(
        truth=truth,
        units=units,
        share=count / len(first),
        interval=of_share(count, len(first)),
    )


def chart(rows: list[PowerRow], sizes: Sizes) -> Chart:
    """Draw the shares."""
    return Chart(
        title=f"Accounts certified against 90 %, at {sizes.units_a_day} round trips a day",
        x="round trips",
        y="share of accounts",
        series={
            f"wins {truth:.0%}": [(float(r.units), r.share) for r in rows if r.truth == truth]
            for truth in dict.fromkeys(row.truth for row in rows)
        },
        x_scale="log",
    )
