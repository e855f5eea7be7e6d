"""What fills earned: average cost, exact in cents."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lab.simulator.venues import Ints

LUCK_MAX: Final = 0.85  # of closed round trips, for ordinary simulated accounts
LUCK_TRIPS_MIN: Final = 8
TRIP_OPEN: Final = 0
TRIP_LOST: Final = 1
TRIP_WON: Final = 2


@njit(cache=True)
def _realize(
    group: Ints, signed: Ints, price: Ints, gain: Ints, closes: NDArray[np.bool_], trip: Ints
) -> None:
    """Run positions over fills sorted by group, then time.

    ``signed`` is the quantity, negative for sells. A fill against the position closes
    c = min(|fill|, |position|) of it; the cost it takes out is cost * c / |position|, rounded half
    up to the cent, so that a flat position has cost 0 and the gains of a round trip sum exactly.
    gain[i] = +-(price * c - cost taken out); trip[i] = TRIP_WON or TRIP_LOST where i ends flat.
    """
    position = cost = trip_gain = 0
    for i in range(len(group)):
        if i == 0 or group[i] != group[i - 1]:
            position = cost = trip_gain = 0
        rest = signed[i]
        if position * rest < 0:
            held = abs(position)
            closing = min(abs(rest), held)
            taken_out = (2 * cost * closing + held) // (2 * held)
            direction = 1 if position > 0 else -1
            gain[i] = direction * (price[i] * closing - taken_out)
            closes[i] = True
            trip_gain += gain[i]
            cost -= taken_out
            position -= direction * closing
            rest += direction * closing
            if position == 0:
                trip[i] = TRIP_WON if trip_gain > 0 else TRIP_LOST
                trip_gain = 0
        position += rest
        cost += abs(rest) * price[i]


def realize(
    account: Ints, instrument: Ints, signed: Ints, price: Ints
) -> tuple[Ints, NDArray[np.bool_], Ints]:
    """Return gain in price cents, whether a fill closes, and how the round trip it ends went.

    All arrays shape (n,), fills in time order; ``signed`` is negative for sells. The gain of a
    contract is to be multiplied by what one lot stands for.
    """
    group = account * (int(instrument.max(initial=0)) + 1) + instrument
    order = np.argsort(group, kind="stable")
    gain, trip = np.zeros((2, len(group)), np.int64)
    closes = np.zeros(len(group), np.bool_)
    sorted_gain, sorted_trip, sorted_closes = gain.copy(), trip.copy(), closes.copy()
    _realize(group[order], signed[order], price[order], sorted_gain, sorted_closes, sorted_trip)
    gain[order], closes[order], trip[order] = sorted_gain, sorted_closes, sorted_trip
    return gain, closes, trip


def too_lucky(account: Ints, trip: Ints) -> Ints:
    """Return the accounts whose share of won round trips exceeds ``LUCK_MAX`` at some moment.

    Judged from ``LUCK_TRIPS_MIN`` closed round trips on; fills in time order, both shape (n,).
    """
    ended = np.flatnonzero(trip)
    order = ended[np.argsort(account[ended], kind="stable")]
    who, won = account[order], np.cumsum(trip[order] == TRIP_WON)
    place = np.arange(len(who))
    first = np.searchsorted(who, who, side="left")
    before = np.where(first > 0, won[np.maximum(first, 1) - 1], 0)
    trips = place - first + 1
    share = (won - before) / trips
    return np.unique(who[(trips >= LUCK_TRIPS_MIN) & (share > LUCK_MAX)])
