"""Synthetic accounts laid over a source that names none, for trying out account detectors.

An order's account depends on the seed and the order alone, so an order's add, cancel and fills
agree, and so do two files of the same day. Activity is heavy-tailed: account i is chosen with a
probability proportional to 1 / (i + 1), as order flow among brokers' customers roughly is.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ACCOUNTS_MAX: Final = 1_000_000
ACCOUNT_FORMAT: Final = "overlay-%06d"
_FORM: Final = re.compile(r"overlay:([0-9]{1,18}):([0-9]{1,7})")
# Steele, Lea and Flood (2014), "Fast splittable pseudorandom number generators": SplitMix64.
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Which accounts to lay over a source."""

    seed: int
    account_count: int

    @classmethod
    def parse(cls, text: str) -> "Overlay":
        """Read ``overlay:SEED:N``.

        Raises
        ------
        ValueError
            If the text has another form, or N is not in 1..1,000,000.
        """
        match = _FORM.fullmatch(text)
        if match is None or not 1 <= int(match[2]) <= ACCOUNTS_MAX:
            raise ValueError(
                f"--accounts must be overlay:SEED:N with whole numbers and N from 1 to "
                f"{ACCOUNTS_MAX:,}, as in overlay:7:1000; got {text!r}."
            )
        return cls(int(match[1]), int(match[2]))

    def account_numbers(self, *parts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return each order's account number, 0 .. account_count - 1.

        Parameters
        ----------
        parts
            Shape (n,) each: together they name an order, such as its day, channel and number.
        """
        mixed = np.full(len(parts[0]), self.seed, np.uint64)
        for part in parts:
            mixed = _splitmix64(mixed ^ part.astype(np.uint64))
        share = np.cumsum(1.0 / np.arange(1, self.account_count + 1))
        uniform = (mixed >> np.uint64(11)) * 2.0**-53  # in [0, 1)
        found = np.searchsorted(share, uniform * share[-1], side="right")
        numbers: NDArray[np.int64] = np.minimum(found, self.account_count - 1)
        return numbers


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = state + _GOLDEN  # uint64 arrays wrap around, as the generator wants
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))
