"""Bursts: alarms on accounts that do as they always did, and how soon others are named.

Accounts differ as real ones do: what they do in a minute varies lognormally by 1 around its median,
more at the open and the close, and each minute has a luck of its own beside. Families differ in
what makes minutes busy, for one account or for all; the test must see by itself what is nobody's
burst, and where it must not claim a bound.
"""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct

from detectors.core.betting import FACTOR_MAX
from detectors.core.burst_kernels import SCALE_PPM, SHAPE
from detectors.core.contract import Findings
from lab.conformance.kit import DAY_NS
from lab.evaluate.burst_bank import MINUTES, BurstBank, Floats, Ints, Looked, Minutes
from lab.evaluate.intervals import Interval, of_count, of_mean, of_share
from lab.evaluate.shares import SHIPPED_A_DAY, EdgeRow
from lab.evaluate.sizes import Sizes

_ALL: Final = 100_000
_PPM: Final = 1_000_000
_MEDIAN, _SPREAD, _MOST = 0.7, 1.0, 20.0  # actions a minute
_STREAM: Final = 60  # of random numbers, so that no two tables share any
_PLANTS: Final = (2, 5, 10)
_WITHIN: Final = (2, 5, 10, 30, 60, 240)  # minutes
_SHAPE: Final = 2.0  # of the luck of a minute

Busy = Callable[[np.random.Generator, int, float], Any]


class Family(NamedTuple):
    """One way in which minutes are busy.

    Attributes
    ----------
    name, what
        For people.
    busy
        (generator, accounts, share of the days that is over) -> times its usual that each does in
        each minute; anything that fits shape (accounts, ``MINUTES``).
    is_even
        A minute has no luck of its own beside Poisson's.
    baskets
        In one minute of so many an account sends 20 to 500 orders at once; 0: never.
    """

    name: str
    what: str
    busy: Busy
    is_even: bool = False
    baskets: int = 0


class BurstFamilyRow(Struct, frozen=True, kw_only=True):
    """Alarms in one family.

    Attributes
    ----------
    claim, minutes
        Of the latest close: whether a bound is claimed, else why not, and of how long windows.
    days_claimed
        The share of days with one, from the first on that could have.
    within, bound
        Alarms of windows in which no more was to be expected than the null allowed, and what was
        granted less what is still staked, both at a budget at which there is something to count.
    innocent, interval
        Alarms a day on 100,000 of these accounts at the budget shipped, and its interval of 95 %.
    """

    family: str
    what: str
    claim: str
    minutes: int
    days_claimed: float
    within: int
    bound: float
    is_refuted: bool
    innocent: float
    interval: Interval


class BurstPlantRow(Struct, frozen=True, kw_only=True):
    """How many of those are named who begin to do more, by minutes since."""

    times: int
    minutes: int
    found: int
    planted: int
    interval: Interval


class BurstDelayRow(Struct, frozen=True, kw_only=True):
    """Median delays, beside an oracle's with the same nulls, windows and grants.

    None where fewer than half were named.
    """

    times: int
    minutes: float | None
    oracle_minutes: float | None
    ratio: float | None
    actions: float | None


def _usual(rng: np.random.Generator, accounts: int, passed: float) -> float:
    del rng, accounts, passed
    return 1.0


def _follows(rng: np.random.Generator, count: int, lag: float, spread: float) -> Floats:
    """Return log intensities, shape (count, ``MINUTES``), of which one minute tells of the next."""
    moved = rng.normal(0, spread, (count, MINUTES))
    for minute in range(1, MINUTES):
        moved[:, minute] *= (1 - lag**2) ** 0.5
        moved[:, minute] += lag * moved[:, minute - 1]
    return moved - spread**2 / 2


def _market(lag: float) -> Busy:
    return lambda rng, _accounts, _passed: np.exp(_follows(rng, 1, lag, 0.6))


def _own(lag: float) -> Busy:
    return lambda rng, accounts, _passed: np.exp(_follows(rng, accounts, lag, 0.4))


def _shock(rng: np.random.Generator, accounts: int, passed: float) -> Floats:
    """Have one day in four an hour in which everybody does three times as much."""
    del accounts, passed
    times = np.ones((1, MINUTES))
    if rng.random() < 1 / 4:
        start = int(rng.integers(MINUTES - 60))
        times[:, start : start + 60] = 3.0
    return times


def _drift(rng: np.random.Generator, accounts: int, passed: float) -> float:
    del rng, accounts
    return float(2**passed)


FAMILIES: Final = (
    Family("steady", "each account has a mean of its own", _usual),
    Family("even", "the same, and minutes have no luck beside Poisson's", _usual, is_even=True),
    Family("market", "all are busy together, a minute telling 0.9 of the next", _market(0.9)),
    Family("shocks", "one day in four has an hour of three times as much, for all", _shock),
    Family("drift", "everybody's activity doubles over the days", _drift),
    Family(
        "own 0.5", "each has busy times of its own, a minute telling 0.5 of the next", _own(0.5)
    ),
    Family("own 0.9", "the same, 0.9 of the next", _own(0.9)),
    Family("own 0.99", "the same, 0.99 of the next", _own(0.99)),
    Family("baskets", "20 to 500 orders at once, in one minute of 500", _usual, baskets=500),
)


def population(rng: np.random.Generator, accounts: int) -> Floats:
    """Return what each account does in a minute, on average."""
    rates: Floats = np.minimum(_MEDIAN * np.exp(rng.normal(0, _SPREAD, accounts)), _MOST)
    return rates


def _of_day() -> Floats:
    """Return how busy a minute of the day is beside others: more at the open and the close."""
    places = np.linspace(-1, 1, MINUTES)
    shape = 0.7 + 0.9 * places**2
    busy: Floats = (shape / shape.mean())[None, :]
    return busy


def day_of(rng: np.random.Generator, rates: Floats, family: Family, passed: float) -> Minutes:
    """Make a day."""
    means = rates[:, None] * _of_day() * family.busy(rng, len(rates), passed)
    moved = means if family.is_even else means * rng.gamma(_SHAPE, 1 / _SHAPE, means.shape)
    actions = rng.poisson(moved)
    if family.baskets:
        sent = rng.random(actions.shape) < 1 / family.baskets
        actions[sent] += rng.integers(20, 501, int(sent.sum()))
    return Minutes(means.astype(np.float32), actions.astype(np.int32))


class BurstsMeasured(NamedTuple):
    """All tables."""

    edges: list[EdgeRow]
    families: list[BurstFamilyRow]
    plants: list[BurstPlantRow]
    delays: list[BurstDelayRow]


def measure(sizes: Sizes, seed: int) -> BurstsMeasured:
    """Measure alarms at the null and on innocents, then who is found, and how soon."""
    plants, delays = [], []
    for number in range(len(_PLANTS)):
        found, delay = _plant(sizes, seed, number)
        plants += found
        delays.append(delay)
    return BurstsMeasured(
        [_edge(sizes, seed, number) for number in range(len(EDGES))],
        [_family(sizes, seed, number) for number in range(len(FAMILIES))],
        plants,
        delays,
    )


def _family(sizes: Sizes, seed: int, number: int) -> BurstFamilyRow:
    family, accounts = FAMILIES[number], sizes.burst_accounts
    rng = np.random.default_rng((seed, _STREAM, number))
    rates = population(rng, accounts)
    large = BurstBank(accounts, accounts * sizes.burst_granted)
    shipped = BurstBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    within, alarms, tested, claimed = 0, 0, 0, 0
    for place in range(sizes.burst_days):
        was_claimed, nulls = large.size >= 0, large.nulls()
        looked = large.look(day_of(rng, rates, family, place / sizes.burst_days))
        within += _within(large.take(looked), looked, nulls)
        alarms += len(shipped.take(looked))
        if place:  # nothing can be fixed before
            tested, claimed = tested + 1, claimed + was_claimed
    bound = max(float((large.granted - large.staked()).sum()), 0.0)
    scale = _ALL / accounts / max(tested, 1)
    low, high = of_count(alarms)
    return BurstFamilyRow(
        family=family.name,
        what=family.what,
        claim=large.fixed[0].claim,
        minutes=large.minutes,
        days_claimed=claimed / max(tested, 1),
        within=within,
        bound=bound,
        is_refuted=of_count(within)[0] > bound,
        innocent=alarms * scale,
        interval=(low * scale, high * scale),
    )


def _within(found: Findings, looked: Looked, nulls: Floats) -> int:
    """Count alarms of windows in which no more was to be expected than the null allowed."""
    rows = found["row"]
    allowed = nulls[looked.accounts[rows]] * found["numbers"][:, SCALE_PPM] / _PPM
    return int((looked.means[rows] <= allowed).sum())


def _at_null(rng: np.random.Generator, means: Floats) -> Ints:
    return rng.poisson(means * rng.gamma(SHAPE, 1 / SHAPE, means.shape))


def _at_null_even(rng: np.random.Generator, means: Floats) -> Ints:
    return rng.poisson(means)


def _at_null_alike(rng: np.random.Generator, means: Floats) -> Ints:
    """Have accounts share their luck, ten at a time."""
    luck = rng.gamma(SHAPE, 1 / SHAPE, (len(means) // 10 + 1, MINUTES))
    return rng.poisson(means * luck[np.arange(len(means)) // 10])


def _at_null_for_days(rng: np.random.Generator, means: Floats) -> Ints:
    """Have an account's luck last all day."""
    return rng.poisson(means * rng.gamma(SHAPE, 1 / SHAPE, (len(means), 1)))


EDGES: Final = (
    ("alone", "each minute is one of the null's law", _at_null, True),
    ("even", "minutes have no luck beside Poisson's", _at_null_even, True),
    ("alike", "ten accounts at a time have the same luck", _at_null_alike, True),
    ("all day", "luck lasts all day, which no close could know", _at_null_for_days, False),
)


def _edge(sizes: Sizes, seed: int, number: int) -> EdgeRow:
    """Let accounts be as always until they have nulls, and then some of them there for a day."""
    world, what, make, is_claimed = EDGES[number]
    counted, bounds = [], []
    for round_ in range(sizes.seeds):
        rng = np.random.default_rng((seed, _STREAM + 1, number, round_))
        rates = population(rng, sizes.burst_edge_accounts)
        bank = BurstBank(len(rates), len(rates) * sizes.burst_granted)
        for _ in range(min(sizes.burst_days // 2, 4)):
            bank.take(bank.look(day_of(rng, rates, FAMILIES[0], 0.0)))
        nulls = bank.nulls()
        # The busy ones, which are about as busy then: else the market's scale would hide them.
        busy = np.flatnonzero((nulls > 0) & (nulls < 2 * rates * bank.minutes))
        edge = rng.permutation(busy)[: len(rates) // 50]
        day = day_of(rng, rates, FAMILIES[0], 0.0)
        day.means[edge] = nulls[edge, None] / max(bank.minutes, 1) * np.maximum(_of_day(), 1.0)
        day.actions[edge] = make(rng, day.means[edge].astype(np.float64))
        looked = bank.look(day)
        bank.granted = bank.staked()  # what they have from before is part of the day's bound
        found = bank.take(looked)
        counted.append(int(np.isin(looked.accounts[found["row"]], edge).sum()))
        bounds.append(float((bank.granted - bank.staked())[edge].sum()))
    interval = of_mean([count - bound for count, bound in zip(counted, bounds, strict=True)])
    return EdgeRow(
        world=world,
        what=what,
        alarms=fmean(counted),
        bound=fmean(bounds),
        excess_interval=interval,
        is_claimed=is_claimed,
        is_refuted=interval[0] > 0,
    )


def _plant(sizes: Sizes, seed: int, number: int) -> tuple[list[BurstPlantRow], BurstDelayRow]:
    """Have some accounts begin to do so many times what one in a hundred exceeds."""
    times, accounts = _PLANTS[number], sizes.burst_accounts
    rng = np.random.default_rng((seed, _STREAM + 2, number))
    rates = population(rng, accounts)
    bank = BurstBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    for _ in range(sizes.burst_days // 2):
        bank.take(bank.look(day_of(rng, rates, FAMILIES[0], 0.0)))
    nulls, budget, size = bank.nulls(), bank.budget, bank.size
    planted = rng.permutation(np.flatnonzero(nulls > 0))[: sizes.share_plants]
    rates[planted] = times * float(np.quantile(rates, 0.99))
    day = day_of(rng, rates, FAMILIES[0], 0.0)
    looked, staked = bank.look(day), bank.staked()
    found = bank.take(looked)
    first = np.full(accounts, np.inf)
    np.minimum.at(first, looked.accounts[found["row"]], looked.ends[found["row"]])
    allowed = nulls[looked.accounts] * np.maximum(_market_of(looked, bank.means()), 1.0)
    known = _oracle(
        looked, allowed, (budget, size), dict(zip(planted, staked[planted], strict=True))
    )
    ours, oracles = _median(first[planted]), _median(known)
    rows = [_plant_row(times, minutes, first[planted]) for minutes in _WITHIN]
    done = np.cumsum(day.actions[planted], axis=1)
    ends = np.minimum(first[planted], MINUTES).astype(np.int64) - 1
    actions = np.where(np.isinf(first[planted]), np.inf, done[np.arange(len(planted)), ends])
    return rows, BurstDelayRow(
        times=times,
        minutes=ours,
        oracle_minutes=oracles,
        ratio=None if ours is None or oracles is None else ours / oracles,
        actions=_median(actions),
    )


def _plant_row(times: int, minutes: int, first: Floats) -> BurstPlantRow:
    found = int((first <= minutes).sum())
    return BurstPlantRow(
        times=times,
        minutes=minutes,
        found=found,
        planted=len(first),
        interval=of_share(found, len(first)),
    )


def _median(values: Floats) -> float | None:
    median = float(np.median(values))
    return None if np.isinf(median) else median


def _market_of(looked: Looked, means: Floats) -> Floats:
    """Return how many times their usual all did in each window, shape (n,)."""
    usual = means[looked.sizes, looked.accounts]
    counted = np.minimum(looked.actions, (4 * usual).astype(np.int64) + 1) * (usual > 0)
    _, slots = np.unique(looked.ends * 10 + looked.sizes, return_inverse=True)
    scales = np.bincount(slots, counted) / np.maximum(np.bincount(slots, usual), 1e-9)
    found: Floats = scales[slots]
    return found


def _oracle(
    looked: Looked, allowed: Floats, terms: tuple[float, int], planted: Mapping[int, float]
) -> Floats:
    """Return in which minute an oracle names each account, that knows how much is to be expected.

    It bets on the same windows against the same nulls, shape (n,), is granted the same, and begins
    with what bets amount to by then; no window counts for more than ``FACTOR_MAX`` there either.
    ``terms`` are the budget and the number of the length.
    """
    budget, size = terms
    first = np.full(len(planted), np.inf)
    for index, (account, begun) in enumerate(planted.items()):
        own = np.flatnonzero((looked.accounts == account) & (looked.sizes == size))
        score, ends = begun, [0, *looked.ends[own].tolist()]
        for turn, at in enumerate(own.tolist()):
            null = float(allowed[at])
            score *= _ratio(int(looked.actions[at]), null, max(looked.means[at] / null, 1.0))
            if score >= 1:
                first[index] = ends[turn + 1]
                break
            # The first window of a day is granted what accrued since midnight, as the test is.
            passed = 9 * 60 + ends[1] if turn == 0 else ends[turn + 1] - ends[turn]
            score += budget * passed * 60e9 / DAY_NS
    return first


def _ratio(actions: int, mean: float, growth: float) -> float:
    less = (SHAPE + mean) / (SHAPE + growth * mean)
    logarithm = SHAPE * np.log(less) + actions * np.log(growth * less)
    return float(np.exp(min(logarithm, np.log(FACTOR_MAX))))
