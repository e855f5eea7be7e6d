"""Where prices are: one tick-sized random walk an instrument."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from lab.simulator.venues import Instrument, Ints, Session
from schemas.events import SECOND_NS

STEP_NS: Final = 30 * SECOND_NS
STEP_SD: Final = 0.0004  # of the price, per step: about 1 % a day
FLOOR_SHARE: Final = 0.92  # paths stay inside a price limit of 10 %
CEILING_SHARE: Final = 1.08


class Prices:
    """Mid prices in cents, always on a tick."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        sessions: Sequence[Session],
        rng: np.random.Generator,
    ) -> None:
        steps = max(session.length_ns for session in sessions) // STEP_NS + 1
        start = np.array([i.price_cents for i in instruments], np.int64)
        self.tick_cents: Ints = np.array([i.tick_cents for i in instruments], np.int64)
        moves = rng.normal(0.0, STEP_SD, (len(instruments), steps)).cumsum(axis=1)
        share = np.clip(np.exp(moves), FLOOR_SHARE, CEILING_SHARE)
        ticks = np.rint(start[:, None] * share / self.tick_cents[:, None]).astype(np.int64)
        self._cents = ticks * self.tick_cents[:, None]

    def at(self, instrument: Ints, time_ns: Ints) -> Ints:
        """Return the mid price in cents at session times; both arguments shape (n,)."""
        step = np.minimum(time_ns // STEP_NS, self._cents.shape[1] - 1)
        cents: Ints = self._cents[instrument, step]
        return cents

    def at_moment(self, instrument: int, time_ns: int) -> int:
        """Return one mid price in cents."""
        return int(self._cents[instrument, min(time_ns // STEP_NS, self._cents.shape[1] - 1)])
