"""Profit by order and by round trip, exactly.

A round trip begins when a position leaves zero and ends when it comes back to zero or goes through
it. Its profit is what the sender gave on the closing fills where all of them carry it, else the
cash that went in and out.
"""

from typing import Any, Final

import numpy as np

from detectors.core import wide
from detectors.core.account_state import ORDER_CLOSING, POSITIONS_FORGOTTEN, UNSEEN
from detectors.core.contract_table import give_trip, take_trip
from detectors.core.placing import DAY_NS, is_silent
from schemas.columns import HAS_AMOUNT, SIDE
from schemas.jit import Int, inlined, kernel

_BUY: Final = SIDE["buy"]
_DAY_MAX: Final = 2**16 - 1


@kernel
def count_order(order: Any, amount_e8: Int, step: Any) -> None:
    """Count the order as one unit, won or lost by the sign of its profit so far."""
    before = order["state"] & ORDER_CLOSING != 0 and order["pnl_e8"] > 0
    if order["state"] & ORDER_CLOSING == 0:
        step["order_units"] = 1
        order["state"] |= ORDER_CLOSING
    order["pnl_e8"] = wide.add_held(order["pnl_e8"], amount_e8)
    after = order["pnl_e8"] > 0
    step["order_wins"] = np.int8(after) - np.int8(before)


@kernel
def _start(trip: Any) -> None:
    trip["position_e8"] = 0
    trip["cash_high"] = 0
    trip["cash_low"] = 0
    trip["given_pnl_e8"] = 0
    trip["without_pnl"] = 0
    trip["last_day"] = 0


@kernel
def _book(trip: Any, side: Int, price_e8: Any, quantity_e8: Any) -> None:
    """Move position and cash by one (part of a) fill; cash exactly, in 10^-16 units."""
    high, low = wide.multiply(abs(price_e8), quantity_e8)
    is_buy = side == _BUY
    takes = is_buy == (price_e8 >= 0)  # a negative price pays the buyer
    if takes:
        high, low = wide.subtract(trip["cash_high"], trip["cash_low"], high, low)
    else:
        high, low = wide.add(trip["cash_high"], trip["cash_low"], high, low)
    trip["cash_high"] = high
    trip["cash_low"] = low
    signed_e8 = quantity_e8 if is_buy else -quantity_e8
    trip["position_e8"] = wide.add_held(trip["position_e8"], signed_e8)


@inlined
def _is_stale(trip: Any, settings: Any, time_ns: Int) -> Any:
    return is_silent((np.int64(trip["last_day"]) + 1) * DAY_NS, settings, time_ns)


@kernel
def trade(arrays: Any, settings: Any, contract: Int, row: Any, step: Any, clock_ns: Int) -> Any:
    """Book a fill; say whether a round trip ended, its profit then in ``step``.

    A contract has a trip while its position is not zero, and no longer. ``clock_ns`` is a time that
    others have reached too.
    """
    index = np.int64(arrays.contracts[contract]["trip"]) - 1
    if index >= 0 and _is_stale(arrays.trips[index], settings, min(step["time_ns"], clock_ns)):
        give_trip(arrays, contract)
        arrays.totals[POSITIONS_FORGOTTEN] += 1
        index = np.int64(-1)
    if index < 0:
        if row["has"] & HAS_AMOUNT != 0:
            arrays.totals[UNSEEN] += 1  # it closes what was opened before we looked
            return False
        index = take_trip(arrays, contract)
        _start(arrays.trips[index])
    ended = _go_on(arrays.trips[index], row, step)
    day = np.uint16(min(step["time_ns"] // DAY_NS, _DAY_MAX))
    arrays.trips[index]["last_day"] = max(arrays.trips[index]["last_day"], day)
    if arrays.trips[index]["position_e8"] == 0:
        give_trip(arrays, contract)
    return ended


@kernel
def _go_on(trip: Any, row: Any, step: Any) -> Any:
    """Book a fill of a trip; say whether that ended. Beyond zero the next one takes its place."""
    position, quantity = trip["position_e8"], row["quantity_e8"]
    is_buy = row["side"] == _BUY
    if position == 0 or (position > 0) == is_buy:
        _book(trip, row["side"], row["price_e8"], quantity)
        return False
    closing = min(quantity, abs(position))
    _book(trip, row["side"], row["price_e8"], closing)
    if row["has"] & HAS_AMOUNT != 0:
        trip["given_pnl_e8"] = wide.add_held(trip["given_pnl_e8"], row["amount_e8"])
    else:
        trip["without_pnl"] = 1
    if trip["position_e8"] != 0:
        return False
    if trip["without_pnl"] == 0:
        step["trip_pnl_e8"] = trip["given_pnl_e8"]
    else:
        step["trip_pnl_e8"] = _cash_e8(trip)
    if quantity > closing:
        _start(trip)
        _book(trip, row["side"], row["price_e8"], quantity - closing)
    return True


@kernel
def _cash_e8(trip: Any) -> Any:
    """Return the trip's cash in 10^-8 units; never 0 unless it is exactly 0."""
    high, low = trip["cash_high"], trip["cash_low"]
    cut = wide.to_e8(high, low)
    return cut if cut != 0 else wide.sign(high, low)
