"""A day's orders, drawn beforehand: when, by whom, at what price, and how long they are meant.

What becomes of them the matching engine decides, and makers answer to that; see
``lab.exchange.market``. All randomness of a day comes from one generator.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.exchange.book import BUY, LIMIT, MARKET, SELL
from lab.exchange.flow import (
    BASKET_SIZES,
    LEVELS,
    SESSION_S,
    SOJOURN,
    STOCK_WEIGHTS,
    Flow,
)
from schemas.events import SECOND_NS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.void]

# One order as it will be entered; ``life_ns`` -1: it is not meant to be cancelled.
ASKED: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("life_ns", "<i8"),
        ("quantity", "<i8"),
        ("account", "<i4"),
        ("instrument", "<i4"),
        ("price", "<i4"),
        ("side", "i1"),
        ("terms", "i1"),
    ]
)
_EDGE: Final = 200  # levels that the value keeps away from either end
_QUICK_S: Final = (0.02, 1.0)
_TURNED_AWAY: Final = 4  # ticks
_SHOCK_S: Final = 60.0
_SOJOURNS: Final = 256
LOTS_MOST: Final = 60
_LOTS_MEAN: Final = 4.0


class People:
    """Who trades, and how each is given to cancel; drawn once for all days.

    Attributes
    ----------
    bounds
        Shape (accounts,): cumulative activity, the last 1.
    logits
        Shape (accounts,): log odds of cancelling.
    turned
        Shape (accounts,): who withdraws all from ``Flow.turned_day`` on.
    """

    def __init__(self, flow: Flow, rng: np.random.Generator) -> None:
        weight = np.exp(rng.normal(0.0, flow.activity_sd, flow.accounts))
        self.bounds: Floats = np.cumsum(weight) / weight.sum()
        self.logits: Floats = rng.normal(flow.cancel_odds, flow.odds_sd, flow.accounts)
        stretches = _even_in_log(SOJOURN, flow.accounts * _SOJOURNS, rng)
        whole = np.rint(stretches).astype(np.int64).reshape(flow.accounts, _SOJOURNS)
        self._ends: Ints = np.cumsum(whole, axis=1)
        self._begins_high: Ints = rng.integers(0, 2, flow.accounts)
        self._orders: Ints = np.zeros(flow.accounts, np.int64)
        self.turned: NDArray[np.bool_] = rng.random(flow.accounts) < flow.turned_share

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return so many accounts, the busy ones more often."""
        found: Ints = np.searchsorted(self.bounds, rng.random(count), side="right")
        return np.minimum(found, len(self.bounds) - 1)

    def regime(self, accounts: Ints) -> Floats:
        """Return 1 or -1 for each of a day's orders in order of time, and remember how many."""
        order = np.argsort(accounts, kind="stable")
        who = accounts[order]
        number = np.arange(len(who)) - np.searchsorted(who, who) + self._orders[who]
        number %= self._ends[who, -1]
        # Ends rise along an account's row, and rows are set apart, so that one search finds all.
        step = int(self._ends.max()) + 1
        flat = (self._ends + step * np.arange(len(self._ends))[:, None]).ravel()
        place = np.searchsorted(flat, number + step * who, side="right") - _SOJOURNS * who
        state = np.empty(len(who))
        state[order] = 1.0 - 2.0 * ((place + self._begins_high[who]) % 2)
        self._orders += np.bincount(who, minlength=len(self._orders))
        return state


class Climate:
    """What a day brings everybody: values and intensities by the second, and shocks.

    Attributes
    ----------
    value
        Shape (instruments, seconds): ticks.
    intensity
        Shape (instruments, seconds): orders expected.
    shocked
        Shape (seconds,): in [0, 1], 1 at the moment of a shock.
    """

    def __init__(self, flow: Flow, rng: np.random.Generator) -> None:
        shape = (flow.instruments, SESSION_S)
        clock = np.arange(SESSION_S, dtype=np.float64)
        moments = np.sort(rng.integers(0, SESSION_S, rng.poisson(flow.shocks_a_day)))
        jumps = np.zeros(SESSION_S)
        self.shocked: Floats = np.zeros(SESSION_S)
        for moment in moments.tolist():
            jumps[moment] += flow.shock_ticks * rng.choice((-1.0, 1.0))
            since = clock - moment
            self.shocked = np.maximum(self.shocked, np.exp(-since / _SHOCK_S) * (since >= 0))
        moves = rng.normal(0.0, flow.volatility, shape) + jumps + flow.drift_ticks / SESSION_S
        self.value: Floats = _inside(LEVELS / 2 + np.cumsum(moves, axis=1))
        busy = 1.0 + flow.open_weight * np.exp(-clock / flow.open_decay_s)
        busy *= 1.0 + (flow.shock_activity - 1.0) * self.shocked
        log = _autoregression(shape, flow.fast_lag_1, flow.fast_sd, rng)
        log += _autoregression(shape, flow.slow_lag_1, flow.slow_intensity_sd, rng)
        spread = flow.fast_sd**2 + flow.slow_intensity_sd**2
        weights = np.resize(STOCK_WEIGHTS, flow.instruments)
        level = flow.orders_a_second * weights / weights.mean() / busy.mean()
        self.intensity: Floats = level[:, None] * busy * np.exp(log - spread / 2)


def _even_in_log(ends: tuple[float, float], count: int, rng: np.random.Generator) -> Floats:
    """Draw numbers between two ends whose logarithms are even."""
    low, high = np.log(ends).tolist()
    drawn: Floats = np.exp(rng.uniform(low, high, count))
    return drawn


def _inside(value: Floats) -> Floats:
    """Reflect a path at the edges."""
    width = LEVELS - 2 * _EDGE
    folded: Floats = _EDGE + width - np.abs((value - _EDGE) % (2 * width) - width)
    return folded


def _autoregression(
    shape: tuple[int, int], lag_1: float, deviation: float, rng: np.random.Generator
) -> Floats:
    """Return paths of an AR(1) along the last axis, stationary with that deviation."""
    path = rng.normal(0.0, deviation, shape)
    path[:, 1:] *= (1.0 - lag_1**2) ** 0.5
    for at in range(1, shape[1]):
        path[:, at] += lag_1 * path[:, at - 1]
    return path


def draw_day(flow: Flow, day: int, people: People, rng: np.random.Generator) -> Rows:
    """Return a day's orders in order of time, dtype ``ASKED``."""
    climate = Climate(flow, rng)
    lone, basket = _lone(climate, rng), _baskets(flow, rng)
    count, extra = len(lone), len(basket)
    asked = np.zeros(count + extra, ASKED)
    for name in ("time_ns", "instrument"):
        asked[name][:count], asked[name][count:] = lone[name], basket[name]
    number = np.concatenate([np.full(count, -1), basket["basket"]])
    asked["side"] = rng.integers(BUY, SELL + 1, len(asked))
    asked["account"][:count] = people.draw(count, rng)
    baskets = int(number.max(initial=-1)) + 1
    owners, sides = people.draw(baskets, rng), rng.integers(BUY, SELL + 1, baskets)
    asked["account"][count:], asked["side"][count:] = (
        owners[basket["basket"]],
        sides[basket["basket"]],
    )
    order = np.argsort(asked["time_ns"], kind="stable")
    asked, number = asked[order], number[order]
    _set_prices(asked, flow, climate, rng)
    odds = _odds(asked, flow, day, climate, people)
    _set_lives(asked, number, flow, odds, rng)
    if day >= flow.turned_day and people.turned.any():
        _turn(asked, climate, people, rng)
    return asked


_PLACED: Final = np.dtype([("time_ns", "<i8"), ("instrument", "<i4"), ("basket", "<i8")])


def _lone(climate: Climate, rng: np.random.Generator) -> Rows:
    counts = rng.poisson(climate.intensity)
    instrument, second = np.divmod(
        np.repeat(np.arange(counts.size), counts.ravel()), counts.shape[1]
    )
    lone = np.zeros(len(second), _PLACED)
    lone["time_ns"] = second * SECOND_NS + rng.integers(0, SECOND_NS, len(second))
    lone["instrument"] = instrument
    return lone


def _baskets(flow: Flow, rng: np.random.Generator) -> Rows:
    """Place the orders of baskets: each in some of the instruments, within a moment."""
    baskets = int(rng.poisson(flow.baskets_a_day))
    sizes = _even_in_log(BASKET_SIZES, baskets, rng).astype(np.int64)
    placed = np.zeros(int(sizes.sum()), _PLACED)
    placed["basket"] = np.repeat(np.arange(baskets), sizes)
    wide = rng.integers(1, flow.instruments + 1, baskets)
    first = rng.integers(0, flow.instruments, baskets)
    within = (rng.random(len(placed)) * wide[placed["basket"]]).astype(np.int64)
    placed["instrument"] = (first[placed["basket"]] + within) % flow.instruments
    begins = rng.uniform(0.0, SESSION_S - 2 * flow.basket_span_s, baskets)
    spans = flow.basket_span_s * rng.random(baskets)
    at = begins[placed["basket"]] + rng.random(len(placed)) * spans[placed["basket"]]
    placed["time_ns"] = (at * SECOND_NS).astype(np.int64)
    return placed


def _set_prices(asked: Rows, flow: Flow, climate: Climate, rng: np.random.Generator) -> None:
    count = len(asked)
    value = _value(asked, climate)
    takes = rng.random(count) < flow.taker_share
    away = rng.geometric(1.0 / flow.away_ticks, count)
    beyond = rng.geometric(0.5, count)
    sign = np.where(asked["side"] == BUY, 1, -1)
    price = value + sign * np.where(takes, beyond, -away)
    asked["price"] = np.clip(price, 1, LEVELS - 2)
    is_market = takes & (rng.random(count) < flow.market_share)
    asked["terms"] = np.where(is_market, MARKET, LIMIT)
    asked["quantity"] = np.minimum(rng.geometric(1.0 / _LOTS_MEAN, count), LOTS_MOST)


def _value(asked: Rows, climate: Climate) -> Ints:
    """Return the value at the time of each order, in whole ticks."""
    second = asked["time_ns"] // SECOND_NS
    value: Ints = np.rint(climate.value[asked["instrument"], second]).astype(np.int64)
    return value


def _turn(asked: Rows, climate: Climate, people: People, rng: np.random.Generator) -> None:
    """Let those who have turned rest a little away, and withdraw everything within a second."""
    own = np.flatnonzero(people.turned[asked["account"]])
    sign = np.where(asked["side"][own] == BUY, 1, -1)
    asked["price"][own] = _value(asked[own], climate) - _TURNED_AWAY * sign
    asked["terms"][own] = LIMIT
    asked["life_ns"][own] = (_even_in_log(_QUICK_S, len(own), rng) * SECOND_NS).astype(np.int64)


def _odds(asked: Rows, flow: Flow, day: int, climate: Climate, people: People) -> Floats:
    accounts = asked["account"].astype(np.int64)
    odds: Floats = people.logits[accounts] + flow.regime_odds * people.regime(accounts)
    odds += flow.shock_odds * climate.shocked[asked["time_ns"] // SECOND_NS]
    return odds + flow.drift_odds * day


def _set_lives(
    asked: Rows, basket: Ints, flow: Flow, odds: Floats, rng: np.random.Generator
) -> None:
    """Say how long orders are meant; of some baskets all, or none, go together."""
    count = len(asked)
    chance, quick = rng.random(count), rng.random(count) < flow.quick_share
    fast = _even_in_log(_QUICK_S, count, rng)
    slow = flow.slow_median_s * np.exp(rng.normal(0.0, flow.slow_sd, count))
    life = np.where(quick, fast, slow)
    baskets = int(basket.max(initial=-1)) + 1
    is_one = (
        (rng.random(baskets) < flow.together_share)[basket] & (basket >= 0) if baskets else None
    )
    if is_one is not None:
        for values in (chance, life):
            values[is_one] = values[_firsts(basket, baskets)[basket[is_one]]]
    is_meant = chance < 1.0 / (1.0 + np.exp(-odds))
    asked["life_ns"] = np.where(is_meant, np.maximum(1, life * SECOND_NS), -1).astype(np.int64)


def _firsts(basket: Ints, baskets: int) -> Ints:
    """Return the place of each basket's first order."""
    first = np.zeros(baskets, np.int64)
    found, places = np.unique(basket[::-1], return_index=True)
    is_basket = found >= 0
    first[found[is_basket]] = len(basket) - 1 - places[is_basket]
    return first
