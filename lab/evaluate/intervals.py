"""Intervals of 95 %, of the usual kinds."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

_LEVEL: Final = 0.95

Interval = tuple[float, float]


def of_mean(values: Sequence[float]) -> Interval:
    """Return Student's interval of a mean.

    Examples
    --------
    >>> [round(end, 2) for end in of_mean([1.0, 2.0, 3.0])]
    [-0.48, 4.48]
    """
    count = len(values)
    reach = float(stats.t.ppf((1 + _LEVEL) / 2, count - 1)) * stdev(values) / count**0.5
    return mean(values) - reach, mean(values) + reach


def of_share(count: int, total: int) -> Interval:
    """Return Wilson's interval of a share.

    Examples
    --------
    >>> [round(end, 3) for end in of_share(9, 10)]
    [0.596, 0.982]
    """
    found = stats.binomtest(count, total).proportion_ci(_LEVEL, method="wilson")
    return float(found.low), float(found.high)


def of_count(count: int) -> Interval:
    """Return the exact interval of the mean of a Poisson count.

    Examples
    --------
    >>> [round(end, 2) for end in of_count(0) + of_count(4)]
    [0.0, 3.69, 1.09, 10.24]
    """
    low = float(stats.chi2.ppf((1 - _LEVEL) / 2, 2 * count)) / 2 if count else 0.0
    return low, float(stats.chi2.ppf((1 + _LEVEL) / 2, 2 * count + 2)) / 2


def of_counts(counts: NDArray[np.int64]) -> Interval:
    """Return an interval of a sum of counts, wider or narrower than a Poisson count's.

    Each is one account's; their spread says how much more, or less, they vary than by chance alone.

    Examples
    --------
    >>> [round(end, 2) for end in of_counts(np.array([0, 1, 0, 1, 2, 0]))]
    [1.09, 10.24]
    >>> [round(end, 2) for end in of_counts(np.array([0, 0, 0, 0, 4, 0]))]
    [0.0, 16.48]
    """
    total = int(counts.sum())
    low, high = of_count(total)
    if total == 0:
        return low, high
    spread = float(np.sqrt(counts.var(ddof=1) / counts.mean()))
    return max(0.0, total - (total - low) * spread), total + (high - total) * spread
