"""Ways to watch a share of wins, on the same outcomes: the test's own, and some without a bound.

ADWIN and Page-Hinkley are River's, as it ships them. They look for a change of the share, not for
a level; an account that always won 95 % never changes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from msgspec import Struct
from river import drift

from lab.evaluate.bank import Bools, WinRateBank, in_turns
from lab.evaluate.power import BUDGET
from lab.evaluate.sizes import Sizes
from lab.evaluate.traps import NAIVE_UNITS

_NULL: Final = 0.9
_TRUTH: Final = 0.97
_STREAM: Final = 3  # of random numbers, so that no two tables share any
_ACCOUNTS_MAX: Final = 100  # these watch an outcome at a time
_OTHERS: Final[dict[str, Callable[[], Any]]] = {
    "ADWIN": drift.ADWIN,
    "Page-Hinkley": lambda: drift.PageHinkley(mode="up"),
}


class BaselineRow(Struct, frozen=True, kw_only=True):
    """One way to watch.

    Attributes
    ----------
    lucky
        Share of accounts it names that win 90 %, from the first unit to the last.
    from_start, from_middle
        Share of accounts it names that win 97 %, from the first unit on or from the middle on.
    """

    name: str
    lucky: float
    from_start: float
    from_middle: float


def measure(sizes: Sizes, seed: int) -> list[BaselineRow]:
    """Try each on the same outcomes."""
    rng = np.random.default_rng((seed, _STREAM))
    accounts = min(sizes.accounts, _ACCOUNTS_MAX)
    late = np.arange(sizes.units) >= sizes.units // 2
    chances = (
        np.full(sizes.units, _NULL),
        np.full(sizes.units, _TRUTH),
        np.where(late, _TRUTH, _NULL),
    )
    worlds = [rng.random((sizes.units, accounts)) < chance[:, None] for chance in chances]
    ways: dict[str, Callable[[Bools], float]] = {
        "certified, at the budget shipped": partial(_certified, sizes=sizes),
        "more than 90 % of the last 10": _naive,
    }
    ways |= {name: _watched_by(make) for name, make in _OTHERS.items()}
    return [
        BaselineRow(
            name=name, lucky=way(worlds[0]), from_start=way(worlds[1]), from_middle=way(worlds[2])
        )
        for name, way in ways.items()
    ]


def _certified(wins: Bools, sizes: Sizes) -> float:
    units, accounts = wins.shape
    owners, days = in_turns(units, accounts, sizes.units_a_day)
    found = WinRateBank(_NULL, BUDGET).take(owners, days, wins.reshape(-1))
    return float(len(set(found["subject"].tolist())) / accounts)


def _naive(wins: Bools) -> float:
    """Return the share of accounts that ever won more than nine of ten units in a row."""
    windows = np.lib.stride_tricks.sliding_window_view(wins, NAIVE_UNITS, axis=0)
    named = (windows.sum(axis=-1) > _NULL * NAIVE_UNITS).any(axis=0)
    return float(np.mean(named))


def _watched_by(make: Callable[[], Any]) -> Callable[[Bools], float]:
    def way(wins: Bools) -> float:
        return float(np.mean([_is_named(make(), column) for column in wins.T]))

    return way


def _is_named(watcher: Any, outcomes: Bools) -> bool:
    for won in outcomes.tolist():
        watcher.update(float(won))
        if watcher.drift_detected:
            return True
    return False
