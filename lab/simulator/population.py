"""Who trades: accounts of very different activity, told apart by nothing they are called."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.simulator.venues import GROUPS, VENUES, Instrument, Ints

GROUP_SHARES: Final = (0.60, 0.18, 0.22)
SECOND_GROUP_SHARE: Final = 0.12
SIMULATED_SHARE: Final = 0.15
CLAIMING_SHARE: Final = 0.01
FAVOURITES: Final = 6
POPULARITY_POWER: Final = 0.8
WEIGHT_MAX: Final = 4.0  # times the mean: the busiest stay far from every figure
ID_BITS: Final = 48


class Population:
    """Accounts as columns; every array has shape (accounts, ...).

    Attributes
    ----------
    ids, tokens
        Account ids, and other names for the same accounts (trader, terminal, device).
    member
        (accounts, groups) bool: where an account trades ordinarily.
    weight
        Relative activity, lognormal with deviation 1.
    lone_share
        Share of its undertakings that end without a fill.
    win_share
        Chance that a round trip ends above its opening price.
    simulated
        Trades on paper.
    claim
        0 none, 1 claims market making, 2 claims hedging on its orders.
    size
        Typical order, in lots.
    favourites
        (accounts, venues, FAVOURITES): the instruments it trades.
    """

    def __init__(
        self, count: int, instruments: tuple[Instrument, ...], rng: np.random.Generator
    ) -> None:
        self.count = count
        self.ids: list[str] = _hex(Scatter(rng)(np.arange(count)))
        self.tokens: list[str] = _hex(Scatter(rng)(np.arange(count)))
        self.member: NDArray[np.bool_] = np.zeros((count, GROUPS), np.bool_)
        self.member[np.arange(count), rng.choice(GROUPS, count, p=GROUP_SHARES)] = True
        second = np.flatnonzero(rng.random(count) < SECOND_GROUP_SHARE)
        self.member[second, rng.choice(GROUPS, len(second))] = True
        self.weight = np.minimum(rng.lognormal(0.0, 1.0, count), WEIGHT_MAX * np.exp(0.5))
        self.lone_share = rng.uniform(0.35, 0.65, count)
        self.win_share = rng.uniform(0.35, 0.72, count)
        self.simulated: NDArray[np.bool_] = rng.random(count) < SIMULATED_SHARE
        self.claim = np.zeros(count, np.uint8)
        claiming = rng.random(count) < CLAIMING_SHARE
        self.claim[claiming] = rng.integers(1, 3, int(claiming.sum()))
        self.size: Ints = np.minimum(np.ceil(rng.lognormal(0.8, 0.8, count)), 12).astype(np.int64)
        self.favourites = _favourites(count, instruments, rng)

    def draw(self, group: int, count: int, rng: np.random.Generator) -> Ints:
        """Return ``count`` accounts that trade in ``group``, by activity."""
        cumulative = np.cumsum(self.weight * self.member[:, group])
        if cumulative[-1] == 0:
            return np.zeros(0, np.int64)
        at = rng.random(count) * cumulative[-1]
        accounts: Ints = np.searchsorted(cumulative, at, side="right").astype(np.int64)
        return accounts


class Scatter:
    """Map distinct integers below 2**48 to distinct ones below 2**48 that show no order.

    Each step (add, multiply by an odd number, xor with own high bits) is a bijection modulo 2**48.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._steps = rng.integers(0, 2**ID_BITS, (2, 2), dtype=np.uint64)

    def __call__(self, values: NDArray[np.integer]) -> Ints:
        """Return the images of ``values``, shape (n,)."""
        mask = np.uint64(2**ID_BITS - 1)
        mixed = values.astype(np.uint64)
        for salt, factor in self._steps:
            mixed = ((mixed + salt) * (factor | np.uint64(1))) & mask
            mixed ^= mixed >> np.uint64(ID_BITS // 2 + 1)
        return mixed.astype(np.int64)


def _hex(values: Ints) -> list[str]:
    return [f"{value:012x}" for value in values.tolist()]


def _favourites(
    count: int, instruments: tuple[Instrument, ...], rng: np.random.Generator
) -> NDArray[np.int64]:
    table = np.empty((count, len(VENUES), FAVOURITES), np.int64)
    for venue in range(len(VENUES)):
        listed = np.array(
            [i for i, one in enumerate(instruments) if one.venue == venue and not one.is_quiet]
        )
        popularity = np.arange(1, len(listed) + 1) ** -POPULARITY_POWER
        table[:, venue, :] = rng.choice(
            rng.permutation(listed), (count, FAVOURITES), p=popularity / popularity.sum()
        )
    return table
