"""When things happen: clustered arrivals over a session, busy at its ends."""

from typing import Final

import numpy as np

from lab.simulator.venues import CONTINUOUS, Ints, Session
from schemas.events import SECOND_NS

INTENSITY_LAG_1: Final = 0.9  # per second: bursts last tens of seconds
INTENSITY_SD: Final = 0.5
DISPERSION_SHAPE: Final = 2.0  # gamma per second: counts become negative binomial
END_WEIGHT: Final = 1.5  # how much busier open and close are than noon
AUCTION_WEIGHT: Final = 0.6
QUIET_END_SECONDS: Final = 2  # an auction's last seconds belong to its uncrossing


class Arrivals:
    """Draw moments of one session from a random intensity (a Cox process).

    Intensity of a second = U-shape over the day x exp(AR(1)) x gamma noise.
    """

    def __init__(self, session: Session, rng: np.random.Generator) -> None:
        seconds = session.length_ns // SECOND_NS
        clock = np.arange(seconds, dtype=np.int64) * SECOND_NS
        day_share = clock / session.full_ns
        shape = 1.0 + END_WEIGHT * (2.0 * day_share - 1.0) ** 2
        weight = shape * np.exp(_autoregression(seconds, rng)) * rng.gamma(
            DISPERSION_SHAPE, 1.0 / DISPERSION_SHAPE, seconds
        )  # fmt: skip
        weight[session.is_auction(clock)] *= AUCTION_WEIGHT
        ends = np.append(session.offset_ns[1:], session.length_ns) // SECOND_NS
        for end in ends[session.phase != CONTINUOUS]:
            weight[end - QUIET_END_SECONDS : end] = 0.0
        self._cumulative = np.cumsum(weight)

    def draw(self, count: int, rng: np.random.Generator) -> Ints:
        """Return ``count`` session times in no order."""
        at = rng.random(count) * self._cumulative[-1]
        second: Ints = np.searchsorted(self._cumulative, at, side="right").astype(np.int64)
        return second * SECOND_NS + rng.integers(0, SECOND_NS, count)


def _autoregression(
    count: int, rng: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return an AR(1) path of ``count`` steps with stationary deviation ``INTENSITY_SD``."""
    path = np.empty(count)
    shocks = rng.normal(0.0, INTENSITY_SD * (1.0 - INTENSITY_LAG_1**2) ** 0.5, count).tolist()
    value = 0.0
    for i, shock in enumerate(shocks):
        value = INTENSITY_LAG_1 * value + shock
        path[i] = value
    return path
