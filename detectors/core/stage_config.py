"""What an account stage must know beside its detectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.columns import HashKey


class Names(Protocol):
    """Names by number."""

    def __getitem__(self, number: int, /) -> str:
        """Return one."""
        ...


class Calendars(Protocol):
    """Trading days, made elsewhere because looking them up is not the detectors' business.

    ``starts`` and ``numbers`` have shape (calendars, days): where a trading day begins (ns), and
    its number in days since 1970-01-01. Calendar 0 is the default and stands for whole days that
    begin at ``zone_day_ns`` after midnight UTC; calendar k > 0 is row k - 1.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    zone_day_ns: int

    def index(self, venue: str) -> int:
        """Return the venue's calendar, 0 for the default."""
        ...


@dataclass(frozen=True, slots=True)
class StageConfig:
    """What a stage must know beside its detectors."""

    calendars: Calendars
    key: HashKey
    lane_names: Names
    tenant: str = "default"
    lateness_ns: int = 5_000_000_000
    lateness_sources: Mapping[str, int] = field(default_factory=dict)
    duplicate_window_ns: int = 60_000_000_000
    duplicates_max: int = 4_000_000
    order_age_ns: int = 7 * 86_400_000_000_000
    features_every_ns: int | None = None  # None: no live features are kept
    keeps_peers: bool = True
    keeps_units: bool = False  # whether or not a test needs them: for the daily review
    idle_ns: int = 0  # accounts that rest for longer are let go; 0: none is
    silent_ns: int = 0  # accounts that rest for longer begin anew; 0: none does
    rows_bring_clock: bool = True  # see ``detectors.core.stretches.Stretches``

    @property
    def rest_ns(self) -> int:
        """How long an account must be silent for its row to be given back at all; 0: for ever."""
        return min((ns for ns in (self.idle_ns, self.silent_ns) if ns), default=0)

    @property
    def lateness_most_ns(self) -> int:
        """The most that any source is allowed: nothing older than this can still count."""
        return max(self.lateness_ns, *self.lateness_sources.values(), 0)
