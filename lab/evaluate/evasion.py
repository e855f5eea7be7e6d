"""What it costs to go unnoticed: adversaries who know the tests, and what they have to give up.

Everything about the tests is known to them: nulls, buckets, budgets. What is measured is how many
are named all the same, and what each evasion costs in orders, accounts or days.
"""

from typing import Final

import numpy as np
from msgspec import Struct

from lab.evaluate.burst_bank import BurstBank
from lab.evaluate.bursts import FAMILIES as BURST_FAMILIES
from lab.evaluate.bursts import day_of as minutes_of
from lab.evaluate.bursts import population as busy_population
from lab.evaluate.intervals import Interval, of_share
from lab.evaluate.share_bank import Ints, ShareBank
from lab.evaluate.shares import FAMILIES, SHIPPED_A_DAY, Population, day_of, population
from lab.evaluate.sizes import Sizes

_ALL: Final = 100_000
_STREAM: Final = 90  # of random numbers, so that no two tables share any
_UNITS: Final = 100  # of ten orders, a day of an adversary
_DAYS: Final = 10  # that it goes on
_RAMP_DAYS: Final = 30
GENUINE: Final = (0.0, 0.25, 0.5, 1.0, 2.0)  # orders that trade, for each abusive one
STEPS: Final = (0.05, 0.1, 0.2, 0.4)  # of log odds a day
PARTS: Final = (1, 2, 5, 10, 20)  # accounts


class EvasionRow(Struct, frozen=True, kw_only=True):
    """One adversary.

    Attributes
    ----------
    adversary, cost
        What it does, and what that costs it, for people.
    named, tried, interval
        Of so many who tried, how many were named, and its interval of 95 %.
    """

    adversary: str
    cost: str
    named: int
    tried: int
    interval: Interval


def measure(sizes: Sizes, seed: int) -> list[EvasionRow]:
    """Let each adversary try."""
    return [
        *(_dilute(sizes, seed, genuine) for genuine in GENUINE),
        *(_ramp(sizes, seed, step) for step in STEPS),
        *(_split(sizes, seed, parts) for parts in PARTS),
    ]


def _row(adversary: str, cost: str, named: int, tried: int) -> EvasionRow:
    return EvasionRow(
        adversary=adversary, cost=cost, named=named, tried=tried, interval=of_share(named, tried)
    )


def _with_past(sizes: Sizes, rng: np.random.Generator) -> tuple[ShareBank, Population, Ints]:
    """Return accounts with a past, and which of them are about to be abusive."""
    accounts = sizes.evasion_accounts
    who = population(rng, accounts)
    adversaries = rng.choice(accounts, sizes.evasion_tried, replace=False)
    who.units[adversaries] = _UNITS
    bank = ShareBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    for _ in range(6):
        bank.take(day_of(rng, who, FAMILIES[0]))
    return bank, who, adversaries


def _named(
    bank: ShareBank,
    who: Population,
    adversaries: Ints,
    rng: np.random.Generator,
    course: tuple[int, float],
) -> int:
    """Count adversaries that are named; ``course`` is (days, growth of their log odds a day)."""
    days, step = course
    named: set[int] = set()
    for _ in range(days):
        who.logits[adversaries] += step
        day = day_of(rng, who, FAMILIES[0])
        found = bank.take(day)
        named |= set(day.accounts[found["row"]].tolist())
    return len(named & set(adversaries.tolist()))


def _dilute(sizes: Sizes, seed: int, genuine: float) -> EvasionRow:
    """Have every abusive order withdrawn, and so many others traded beside it."""
    rng = np.random.default_rng((seed, _STREAM, int(genuine * 100)))
    bank, who, adversaries = _with_past(sizes, rng)
    share = min(1 / (1 + genuine), 1 - 1e-9)
    who.logits[adversaries] = np.log(share / (1 - share))
    return _row(
        f"dilution: {share:.0%} of its orders cancelled",
        f"{genuine:g} orders that trade for each abusive one",
        _named(bank, who, adversaries, rng, (_DAYS, 0.0)),
        len(adversaries),
    )


def _ramp(sizes: Sizes, seed: int, step: float) -> EvasionRow:
    """Have the odds of cancelling grow a little every day, so that the own past follows."""
    rng = np.random.default_rng((seed, _STREAM + 1, int(step * 100)))
    bank, who, adversaries = _with_past(sizes, rng)
    return _row(
        f"slow ramp: odds of cancelling grow by {np.expm1(step):.0%} a day for {_RAMP_DAYS} days",
        f"{np.log(10) / step:.0f} days to ten times the odds",
        _named(bank, who, adversaries, rng, (_RAMP_DAYS, step)),
        len(adversaries),
    )


def _split(sizes: Sizes, seed: int, parts: int) -> EvasionRow:
    """Have a burst of ten times what one in a hundred exceeds dealt out to several accounts."""
    accounts = sizes.evasion_accounts
    rng = np.random.default_rng((seed, _STREAM + 2, parts))
    rates = busy_population(rng, accounts)
    bank = BurstBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    for _ in range(6):
        bank.take(bank.look(minutes_of(rng, rates, BURST_FAMILIES[0], 0.0)))
    tested = rng.permutation(np.flatnonzero(bank.nulls() > 0))
    groups = tested[: len(tested) // parts * parts].reshape(-1, parts)[: sizes.evasion_tried]
    rates[groups] = 10 * float(np.quantile(rates, 0.99)) / parts
    looked = bank.look(minutes_of(rng, rates, BURST_FAMILIES[0], 0.0))
    named = np.unique(looked.accounts[bank.take(looked)["row"]])
    hit = np.isin(groups, named).any(axis=1)
    return _row(
        f"splitting: a burst dealt out to {parts} account{'s' * (parts > 1)}",
        f"{parts} account{'s' * (parts > 1)} with a past, each opened and kept busy",
        int(hit.sum()),
        len(groups),
    )
