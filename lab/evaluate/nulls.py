"""Worlds in which nobody wins more than the null allows, and some in which that is not quite so."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from lab.evaluate.bank import Bools, WinRateBank, in_turns
from lab.evaluate.intervals import Interval, of_mean
from lab.evaluate.power import FIRST_GRANTED
from lab.evaluate.sizes import Sizes

NULL: Final = 0.9
_STREAK_UNITS: Final = 50
_SPLIT: Final = 5
_COPIES: Final = 10
_STREAM: Final = 0  # of random numbers, so that no two tables share any

Make = Callable[[np.random.Generator, int, int], Bools]


class World(NamedTuple):
    """One way in which outcomes come about.

    Attributes
    ----------
    name, what
        For people.
    make
        (generator, units, accounts) -> who wins, shape (units, accounts).
    is_claimed
        Whether the bound is claimed for it: given all that came before, no unit is won with more
        than the null's probability.
    """

    name: str
    what: str
    make: Make
    is_claimed: bool = True


class NullRow(Struct, frozen=True, kw_only=True):
    """False alarms of a world.

    Attributes
    ----------
    alarms
        In a round, on average.
    alarms_interval
        Of that average, 95 %.
    bound
        Alarms granted, less what is still staked at the end, on average: what alarms may be.
    excess_interval
        Of the average of alarms less that bound, 95 %; wholly above 0 where the bound is refuted.
    is_claimed, is_refuted
        Whether the bound is claimed for such a world, and whether these rounds refute it.
    """

    world: str
    what: str
    alarms: float
    alarms_interval: Interval
    bound: float
    excess_interval: Interval
    is_claimed: bool
    is_refuted: bool


def _alone(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    return rng.random((units, accounts)) < NULL


def _copies(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    leaders = rng.random((units, -(-accounts // _COPIES))) < NULL
    return np.repeat(leaders, _COPIES, axis=1)[:, :accounts]


def _various(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    return rng.random((units, accounts)) < rng.uniform(0.5, NULL, accounts)


def _drifting(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    return rng.random((units, accounts)) < np.linspace(0.8, NULL, units)[:, None]


def _after_losses(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    """Win as the null allows after a loss, and less often after a win."""
    wins = np.zeros((units, accounts), np.bool_)
    before = np.zeros(accounts, np.bool_)
    for unit in range(units):
        wins[unit] = before = rng.random(accounts) < np.where(before, 0.85, NULL)
    return wins


def _streaks(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    """Change between good stretches and bad ones, of ``_STREAK_UNITS`` on average."""
    good = rng.integers(0, 2, accounts).astype(np.bool_)
    wins = np.zeros((units, accounts), np.bool_)
    for unit in range(units):
        good ^= rng.random(accounts) < 1 / _STREAK_UNITS
        wins[unit] = rng.random(accounts) < np.where(good, 0.98, 0.82)
    return wins


def _split(rng: np.random.Generator, units: int, accounts: int) -> Bools:
    decisions = rng.random((-(-units // _SPLIT), accounts)) < NULL
    return np.repeat(decisions, _SPLIT, axis=0)[:units]


WORLDS: Final = (
    World("luck", "each unit is won with 90 %, whatever was before", _alone),
    World("copies", f"the same, and {_COPIES} accounts each win and lose together", _copies),
    World("various", "accounts differ: 50 to 90 %", _various),
    World("drift", "from 80 % at first to 90 % at last", _drifting),
    World("after losses", "90 % after a loss, 85 % after a win", _after_losses),
    World(
        "streaks",
        f"90 % on average, 98 % in good stretches and 82 % in bad ones of about {_STREAK_UNITS}",
        _streaks,
        is_claimed=False,
    ),
    World(
        "split", f"each decision, 90 % good, is booked as {_SPLIT} units", _split, is_claimed=False
    ),
)


def measure(sizes: Sizes, seed: int) -> list[NullRow]:
    """Count false alarms in every world."""
    return [_row(world, sizes, (seed, _STREAM, number)) for number, world in enumerate(WORLDS)]


def _row(world: World, sizes: Sizes, seed: tuple[int, ...]) -> NullRow:
    # Of the last outcome and the first, nothing is granted any more, or yet.
    days = (sizes.units - FIRST_GRANTED + 1) / sizes.units_a_day
    owners, times = in_turns(sizes.units, sizes.accounts, sizes.units_a_day)
    alarms, bounds = [], []
    for child in np.random.SeedSequence(seed).spawn(sizes.seeds):
        bank = WinRateBank(NULL, sizes.granted / sizes.accounts / days)
        wins = world.make(np.random.default_rng(child), sizes.units, sizes.accounts)
        alarms.append(float(len(bank.take(owners, times, wins.reshape(-1)))))
        bounds.append(sizes.granted - bank.scores)
    excess = of_mean([got - bound for got, bound in zip(alarms, bounds, strict=True)])
    return NullRow(
        world=world.name,
        what=world.what,
        alarms=float(np.mean(alarms)),
        alarms_interval=of_mean(alarms),
        bound=float(np.mean(bounds)),
        excess_interval=excess,
        is_claimed=world.is_claimed,
        is_refuted=excess[0] > 0,
    )
