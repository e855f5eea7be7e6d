"""Certified order lifetime: more orders cancelled almost at once than own past and peers explain.

An order counts when it was cancelled sooner than nine tenths of what its peers cancel; what sooner
means is fixed at a close, and stays while it fits. Each bucket of orders is a bet against the null
that at most the null's share of it counts: the largest of a floor (twice the tenth), what one
account in twenty of its peers exceeds, and its own mean and a margin. Bounds, budgets and when none
is claimed are those of the certified cancel ratio.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.core.share_test import ShareParams, ShareTest, quick_of
from detectors.core.tallies import lifetime_below_ms

_LEAST: Final = 0.3  # of the share: below, what was fixed is fixed anew


class Params(ShareParams, frozen=True, kw_only=True):
    """Parameters; see ``detectors.core.share_test.ShareParams`` for those not named here.

    Attributes
    ----------
    null_rate
        The least share of orders cancelled at once that anybody's null allows, in (0, 1).
    quick_share
        The share of what peers cancel that at most is cancelled sooner than what counts.
    quick_ms
        Orders cancelled within so many milliseconds count, whatever peers do: a power of two, up to
        16,384. 0: by ``quick_share``.
    """

    null_rate: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    quick_share: Annotated[float, Meta(gt=0, le=1)] = 0.10
    quick_ms: Annotated[int, Meta(ge=0, le=16_384)] = 0

    def __post_init__(self) -> None:
        """Refuse a figure between two bins."""
        if self.quick_ms & (self.quick_ms - 1):
            raise ValueError(f"quick_ms is {self.quick_ms}; expected a power of two, or 0")


class CertifiedLifetime(ShareTest):
    """Fires when bets that at most a null's share of orders is cancelled at once have failed."""

    name: ClassVar[str] = "certified_lifetime"
    params_type: ClassVar[type[Struct]] = Params
    by_lifetime: ClassVar[bool] = True

    @property
    def fixed_quick(self) -> int:
        """See ``ShareTest.fixed_quick``."""
        return int(self.params.quick_ms).bit_length()

    def fix_what_counts(self, held: NDArray[np.void]) -> bool:
        """See ``ShareTest.fix_what_counts``: what is quick stays while it roughly fits."""
        if self.params.quick_ms:
            return False
        counts = held["lifetimes"][0]
        whole, before = int(counts.sum()), int(held["quick"][0])
        if whole == 0:
            return False
        reached, most = np.cumsum(counts) / whole, self.params.quick_share
        held["lifetimes"] //= 2
        if before and _LEAST * most <= reached[before - 1] <= most:
            return False
        held["quick"] = np.searchsorted(reached[:-1], most, side="right")
        return int(held["quick"][0]) != before

    def what_counts(self, finding: np.void) -> str:
        """See ``ShareTest.what_counts``."""
        quick = max(quick_of(finding), 1)
        return f"were cancelled within {lifetime_below_ms(quick):,} ms"

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: no past is asked for, and budgets are large."""
        return {
            "default": {
                "null_rate": 0.05,
                "quick_ms": 64,
                "baseline_units_min": 0,
                "alarms_a_day": 500_000.0,
                "tests": 1,
                "accounts_planned": 1,
            }
        }
