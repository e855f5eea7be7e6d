"""Cancel ratios: alarms on accounts that do as they always did, and how soon others are named.

Accounts differ as real ones do: log odds of cancelling vary by 1 around 35 %, and the busiest have
ten times the orders of the quiet. Families differ in what one unit says of the next, which is what
a bound rests on; the test must see by itself where it must not claim one.
"""

from collections.abc import Callable
from statistics import fmean
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct
from scipy import stats  # type: ignore[import-untyped]

from detectors.core.contract import Findings
from detectors.core.tallies import UNIT_ORDERS
from lab.conformance.kit import DAY_NS
from lab.evaluate.intervals import Interval, of_count, of_mean, of_share
from lab.evaluate.share_bank import Day, Floats, Ints, ShareBank, times_of
from lab.evaluate.sizes import Sizes

SHIPPED_A_DAY: Final = 5.0 / 7 / 1.1  # alarms that this test is granted on 100,000 accounts
_ALL: Final = 100_000
_RATE, _SPREAD = 0.35, 1.0
_UNITS, _UNITS_SPREAD, _UNITS_MOST = 20.0, 0.7, 200
_STREAM: Final = 6  # of random numbers, so that no two tables share any
_PLANTS: Final = (2, 5, 10)
_WITHIN: Final = (200, 500, 1_000, 2_000, 5_000)  # orders
_PLANT_UNITS: Final = 100  # a day
_BUSY: Final = 20  # times as much on the day at the null, so that there is something to count
_EDGE: Final = 10  # and as much more granted


class Population(NamedTuple):
    """Accounts of one round.

    Attributes
    ----------
    logits, units
        Shape (accounts,): log odds of cancelling, and units a day.
    """

    logits: Floats
    units: Ints


Drift = Callable[[np.random.Generator, Ints, Ints, Floats], Floats]


class Family(NamedTuple):
    """One way in which the same accounts cancel.

    Attributes
    ----------
    name, what
        For people.
    drift
        (generator, account of each unit, its number among the account's own of the day, what the
        day brings everybody) -> what is added to its log odds.
    """

    name: str
    what: str
    drift: Drift


class FamilyRow(Struct, frozen=True, kw_only=True):
    """Alarms in one family.

    Attributes
    ----------
    bucket_orders
        Of a bucket at the end; 0 where no bound is claimed.
    days_claimed
        The share of tested days on which it was.
    within, bound
        Alarms on accounts whose bucket came about within their null, and what was granted less what
        is still staked; both at a budget at which there is something to count.
    innocent, interval
        Alarms a day on 100,000 of these accounts at the budget shipped, and its interval of 95 %.
    """

    family: str
    what: str
    bucket_orders: int
    days_claimed: float
    within: int
    within_interval: Interval
    bound: float
    is_refuted: bool
    innocent: float
    interval: Interval


class EdgeRow(Struct, frozen=True, kw_only=True):
    """Alarms on a day on which every account goes as far as its null allows, on average.

    Attributes
    ----------
    alarms
        On that day, in a round.
    bound
        Granted by the day's end less what is staked then, on average.
    excess_interval
        Of alarms less that bound, 95 %; wholly above 0 where the bound is refuted.
    """

    world: str
    what: str
    alarms: float
    bound: float
    excess_interval: Interval
    is_claimed: bool
    is_refuted: bool


class PlantRow(Struct, frozen=True, kw_only=True):
    """How many of those are named who begin to cancel more, by orders since."""

    odds: int
    orders: int
    found: int
    planted: int
    interval: Interval


class ShareDelayRow(Struct, frozen=True, kw_only=True):
    """Median delays in orders and days, beside an oracle's with the same null, buckets and grants.

    None where fewer than half were named.
    """

    odds: int
    orders: float | None
    oracle_orders: float | None
    ratio: float | None
    days: float | None


def _none(rng: np.random.Generator, accounts: Ints, turns: Ints, day: Floats) -> Floats:
    del rng, turns, day
    return np.zeros(len(accounts))


def _regimes(sojourn: float, size: float) -> Drift:
    """Return drift between two states that last ``sojourn`` units on average, within a day."""

    def drift(rng: np.random.Generator, accounts: Ints, turns: Ints, day: Floats) -> Floats:
        del day
        order = np.lexsort((turns, accounts))
        flips = rng.random(len(accounts)) < 1 / sojourn
        firsts = turns[order] == 0
        flips[firsts] = rng.random(int(firsts.sum())) < 1 / 2
        count = np.cumsum(flips)
        base = np.maximum.accumulate(np.where(firsts, count - flips, 0))
        states = np.empty(len(accounts))
        states[order] = np.where((count - base) % 2 == 1, size, -size)
        return states

    return drift


def _shaken(rng: np.random.Generator, accounts: Ints, turns: Ints, day: Floats) -> Floats:
    del turns, day
    return rng.normal(0, 0.5, len(accounts))


def _days(rng: np.random.Generator, accounts: Ints, turns: Ints, day: Floats) -> Floats:
    del turns, day
    return rng.normal(0, 0.25, int(accounts.max()) + 1)[accounts]


def _shock(rng: np.random.Generator, accounts: Ints, turns: Ints, day: Floats) -> Floats:
    del rng, turns
    return np.full(len(accounts), float(day[0]))


FAMILIES: Final = (
    Family("steady", "each account has a share of its own", _none),
    Family("uneven", "units vary besides, by half in log odds", _shaken),
    Family("days", "an account's days vary, by a quarter in log odds", _days),
    Family("market", "some days move everybody, by a quarter in log odds", _shock),
    Family("regimes", "stretches of 100 orders, odds doubled and halved", _regimes(10, 0.7)),
    Family(
        "long regimes", "stretches of 3,000 orders, odds doubled and halved", _regimes(300, 0.7)
    ),
)


def population(rng: np.random.Generator, accounts: int) -> Population:
    """Make accounts."""
    logits = np.log(_RATE / (1 - _RATE)) + rng.normal(0, _SPREAD, accounts)
    units = _UNITS * np.exp(rng.normal(0, _UNITS_SPREAD, accounts))
    return Population(logits, np.clip(units, 1, _UNITS_MOST).astype(np.int64))


def day_of(rng: np.random.Generator, who: Population, family: Family) -> Day:
    """Make a day: each account's units, spread over the session."""
    accounts = np.repeat(np.arange(len(who.units)), who.units)
    turns = np.arange(len(accounts)) - np.repeat(np.cumsum(who.units) - who.units, who.units)
    order = np.argsort((turns + rng.random(len(accounts))) / who.units[accounts], kind="stable")
    accounts, turns = accounts[order], turns[order]
    moved = family.drift(rng, accounts, turns, rng.normal(0, 0.25, 1))
    truths = 1 / (1 + np.exp(-who.logits[accounts] - moved))
    return Day(accounts, truths, rng.binomial(UNIT_ORDERS, truths))


class Measured(NamedTuple):
    """All tables."""

    edges: list[EdgeRow]
    families: list[FamilyRow]
    plants: list[PlantRow]
    delays: list[ShareDelayRow]


def measure(sizes: Sizes, seed: int) -> Measured:
    """Measure alarms at the null and on innocents, then who is found, and how soon."""
    return Measured(
        [_edge(sizes, seed, number) for number in range(len(EDGES))],
        [_family(sizes, seed, number) for number in range(len(FAMILIES))],
        *_plants(sizes, seed),
    )


def _family(sizes: Sizes, seed: int, number: int) -> FamilyRow:
    family, accounts = FAMILIES[number], sizes.share_accounts
    rng = np.random.default_rng((seed, _STREAM, number))
    who = population(rng, accounts)
    large = ShareBank(accounts, accounts * sizes.share_granted)
    shipped = ShareBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    within, alarms, tested, claimed = 0, 0, 0, 0
    for _ in range(sizes.share_days):
        was_claimed, nulls = large.size > 0, large.nulls()
        day = day_of(rng, who, family)
        found = large.take(day)
        alarms += len(shipped.take(day))
        within += _within(found, day, nulls)
        if large.granted > 0 or was_claimed:
            tested, claimed = tested + 1, claimed + was_claimed
    interval = of_count(within)
    bound = max(large.granted - large.staked, 0.0)
    scale = _ALL / accounts / max(tested, 1)
    low, high = of_count(alarms)
    return FamilyRow(
        family=family.name,
        what=family.what,
        bucket_orders=large.size * UNIT_ORDERS,
        days_claimed=claimed / max(sizes.share_days, 1),
        within=within,
        within_interval=interval,
        bound=bound,
        is_refuted=interval[0] > bound,
        innocent=alarms * scale,
        interval=(low * scale, high * scale),
    )


def _within(found: Findings, day: Day, nulls: Floats) -> int:
    """Count alarms that units brought whose orders were cancelled within their account's null."""
    rows = found["row"]
    return int((day.truths[rows] <= nulls[day.accounts[rows]]).sum())


def _hits_alone(rng: np.random.Generator, accounts: Ints, truths: Floats) -> Ints:
    del accounts
    return rng.binomial(UNIT_ORDERS, truths)


def _hits_together(rng: np.random.Generator, accounts: Ints, truths: Floats) -> Ints:
    """Cancel all ten orders of a unit, or none."""
    del accounts
    return UNIT_ORDERS * (rng.random(len(truths)) < truths)


def _hits_alike(rng: np.random.Generator, accounts: Ints, truths: Floats) -> Ints:
    """Have accounts follow each other, ten at a time: what one does at a moment all do."""
    moments = np.arange(len(truths)) // 50
    draws = rng.random((int(moments[-1]) + 1, int(accounts.max()) // 10 + 1))
    luck = draws[moments, accounts // 10]
    hits: Ints = stats.binom.ppf(luck, UNIT_ORDERS, truths).astype(np.int64)
    return hits


def _hits_in_streaks(rng: np.random.Generator, accounts: Ints, truths: Floats) -> Ints:
    """Have an account's whole day go well or badly."""
    moved = rng.choice((-0.7, 0.7), int(accounts.max()) + 1)[accounts]
    low, high = truths - (1 - truths) * 0.7, truths + (1 - truths) * 0.7
    return rng.binomial(UNIT_ORDERS, np.clip(np.where(moved > 0, high, low), 0, 1))


EDGES: Final = (
    ("alone", "each order by itself", _hits_alone, True),
    ("together", "a unit's ten orders are cancelled together, or none is", _hits_together, True),
    ("alike", "ten accounts at a time do the same at the same moment", _hits_alike, True),
    ("streaks", "it is a good or a bad day, which no close could know", _hits_in_streaks, False),
)


def _edge(sizes: Sizes, seed: int, number: int) -> EdgeRow:
    """Let accounts be as always until they have nulls, and then at them for a day."""
    world, what, make_hits, is_claimed = EDGES[number]
    counted, excess, bounds = [], [], []
    for round_ in range(sizes.seeds):
        rng = np.random.default_rng((seed, _STREAM + 1, number, round_))
        who = population(rng, sizes.edge_accounts)
        budget = _EDGE * sizes.edge_accounts * sizes.share_granted
        bank = ShareBank(sizes.edge_accounts, budget)
        for _ in range(sizes.share_days // 2):
            bank.take(day_of(rng, who, FAMILIES[0]))
        nulls = bank.nulls()
        known = nulls > 0
        who.logits[known] = np.log(nulls[known] / (1 - nulls[known]))
        day = day_of(rng, who._replace(units=_BUSY * who.units), FAMILIES[0])
        tested = known[day.accounts]
        hits = np.where(tested, make_hits(rng, day.accounts, day.truths), 0)
        bank.granted = bank.staked  # what they have from before is part of the day's bound
        alarms = len(bank.take(Day(day.accounts, day.truths, hits)))
        bound = bank.granted - bank.staked
        counted.append(alarms)
        bounds.append(bound)
        excess.append(alarms - bound)
    interval = of_mean(excess)
    return EdgeRow(
        world=world,
        what=what,
        alarms=fmean(counted),
        bound=fmean(bounds),
        excess_interval=interval,
        is_claimed=is_claimed,
        is_refuted=interval[0] > 0,
    )


def _plants(sizes: Sizes, seed: int) -> tuple[list[PlantRow], list[ShareDelayRow]]:
    rows, delays = [], []
    for number, odds in enumerate(_PLANTS):
        rng = np.random.default_rng((seed, _STREAM, len(FAMILIES) + number))
        first, known = _first_named(rng, sizes, odds)
        planted = len(first)
        for orders in _WITHIN:
            found = int((first <= orders).sum())
            rows.append(
                PlantRow(
                    odds=odds,
                    orders=orders,
                    found=found,
                    planted=planted,
                    interval=of_share(found, planted),
                )
            )
        delays.append(_delay(odds, first, known))
    return rows, delays


def _delay(odds: int, first: Floats, known: Floats) -> ShareDelayRow:
    ours, oracles = (
        None if np.isinf(m) else float(m) for m in (np.median(first), np.median(known))
    )
    return ShareDelayRow(
        odds=odds,
        orders=ours,
        oracle_orders=oracles,
        ratio=None if ours is None or oracles is None else ours / oracles,
        days=None if ours is None else ours / (_PLANT_UNITS * UNIT_ORDERS),
    )


class _Seen(NamedTuple):
    """What planted accounts did since they changed, in their own units.

    Attributes
    ----------
    hits, times_ns
        Shape (planted, units): how many of each ten orders were cancelled, and when.
    """

    hits: Ints
    times_ns: Ints


def _first_named(rng: np.random.Generator, sizes: Sizes, odds: int) -> tuple[Floats, Floats]:
    """Return after how many orders each planted account is named, by the test and by the oracle."""
    accounts = sizes.share_accounts
    who = population(rng, accounts)
    planted = rng.choice(accounts, sizes.share_plants, replace=False)
    who.units[planted] = _PLANT_UNITS
    worst = float(np.quantile(who.logits, 0.99)) + np.log(odds)
    bank = ShareBank(accounts, SHIPPED_A_DAY * 1.1 * accounts / _ALL)
    for _ in range(sizes.share_days // 2):
        bank.take(day_of(rng, who, FAMILIES[0]))
    nulls, budget, size = bank.nulls()[planted], bank.budget, bank.size
    who.logits[planted] = worst
    first = np.full(len(planted), np.inf)
    parts = []
    for number in range(-(-_WITHIN[-1] // (_PLANT_UNITS * UNIT_ORDERS))):
        day = day_of(rng, who, FAMILIES[0])
        found = bank.take(day)
        seen = _seen(day, planted, number)
        times_ns = number * DAY_NS + times_of(len(day.hits))
        for row in found["row"].tolist():
            for index in np.flatnonzero(planted == day.accounts[row]).tolist():
                turn = int(np.searchsorted(seen.times_ns[index], times_ns[row], side="right"))
                orders = (number * _PLANT_UNITS + turn) * UNIT_ORDERS
                first[index] = min(first[index], orders)
        parts.append(seen)
    whole = _Seen(*(np.concatenate(fields, axis=1) for fields in zip(*parts, strict=True)))
    truth = float(1 / (1 + np.exp(-worst)))
    return first, _oracle(whole, nulls, truth, (budget, size))


def _seen(day: Day, planted: Ints, number: int) -> _Seen:
    times_ns = number * DAY_NS + times_of(len(day.hits))
    own = [np.flatnonzero(day.accounts == account) for account in planted]
    return _Seen(np.stack([day.hits[at] for at in own]), np.stack([times_ns[at] for at in own]))


def _oracle(seen: _Seen, nulls: Floats, truth: float, terms: tuple[float, int]) -> Floats:
    """Return after how many orders an oracle names each account, that stakes the best share.

    It bets on the same buckets against the same nulls, which say nothing of how the orders of one
    bucket hang together, and is granted the same at the same times; only what to stake it knows
    beforehand. ``terms`` are the budget and the units of a bucket.
    """
    budget, size = terms
    if size == 0:
        return np.full(len(nulls), np.inf)
    count = seen.hits.shape[1] // size
    whole = seen.hits[:, : count * size].reshape(len(nulls), count, size).sum(axis=2)
    outcomes = whole / (size * UNIT_ORDERS) / np.maximum(nulls, 1e-9)[:, None] - 1
    ends_ns = seen.times_ns[:, size - 1 : count * size : size]
    # Granted after a bucket is what accrued up to the one before; what came before counts alike.
    midnights_ns = ends_ns // DAY_NS * DAY_NS
    before_ns = np.concatenate([midnights_ns[:, :1], ends_ns[:, :-1]], axis=1)
    accrued_ns = ends_ns - np.maximum(before_ns, midnights_ns)
    stake = _best_stake(nulls, truth, size)
    scores, first = np.zeros(len(nulls)), np.full(len(nulls), np.inf)
    for bucket in range(count):
        scores = scores * np.maximum(1 + stake * outcomes[:, bucket], 0.0)
        named = (scores >= 1) & np.isinf(first) & (nulls > 0)
        first[named] = (bucket + 1) * size * UNIT_ORDERS
        scores = np.minimum(scores, 1.0)
        if bucket:
            scores += budget * accrued_ns[:, bucket - 1] / DAY_NS
    return first


def _best_stake(nulls: Floats, truth: float, size: int) -> Floats:
    """Return for each account the share that grows fastest where the truth is known."""
    orders = size * UNIT_ORDERS
    draws = np.random.default_rng(1).binomial(orders, truth, 2_000) / orders
    stakes = np.linspace(0.01, 0.999, 100)
    worth = np.maximum(nulls, 1e-9)[:, None, None]
    growth = np.log(np.maximum(1 + stakes[None, :, None] * (draws / worth - 1), 1e-12)).mean(axis=2)
    best: Floats = stakes[np.argmax(growth, axis=1)]
    return best
