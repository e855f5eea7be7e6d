"""Profit by order and by round trip, exactly.

A round trip begins when a position leaves zero and ends when it comes back to zero or goes through
it. Its profit is what the sender gave on the closing fills where all of them carry it, else the
cash that went in and out.
"""

from typing import Any, Final

import numpy as np

from detectors.core import wide
from detectors.core.account_state import ORDER_CLOSING, UNSEEN
from schemas.columns import HAS_AMOUNT, SIDE
from schemas.jit import Int, kernel

_BUY: Final = SIDE["buy"]


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
def _start_trip(contract: Any, time_ns: Int) -> None:
    contract["cash_high"] = 0
    contract["cash_low"] = 0
    contract["given_pnl_e8"] = 0
    contract["reductions_without_pnl"] = 0
    contract["opened_ns"] = time_ns


@kernel
def _book(contract: Any, side: Int, price_e8: Any, quantity_e8: Any) -> None:
    """Move position and cash by one (part of a) fill; cash exactly, in 10^-16 units."""
    high, low = wide.multiply(abs(price_e8), quantity_e8)
    is_buy = side == _BUY
    takes = is_buy == (price_e8 >= 0)  # a negative price pays the buyer
    if takes:
        high, low = wide.subtract(contract["cash_high"], contract["cash_low"], high, low)
    else:
        high, low = wide.add(contract["cash_high"], contract["cash_low"], high, low)
    contract["cash_high"] = high
    contract["cash_low"] = low
    signed_e8 = quantity_e8 if is_buy else -quantity_e8
    contract["position_e8"] = wide.add_held(contract["position_e8"], signed_e8)


@kernel
def trade(totals: Any, contract: Any, row: Any, step: Any) -> Any:
    """Book a fill; say whether a round trip ended, its profit then in ``step``."""
    position, quantity = contract["position_e8"], row["quantity_e8"]
    is_buy = row["side"] == _BUY
    gives_pnl = row["has"] & HAS_AMOUNT != 0
    if position == 0 and gives_pnl:
        totals[UNSEEN] += 1  # it closes what was opened before we looked
        return False
    if position == 0 or (position > 0) == is_buy:
        if position == 0:
            _start_trip(contract, row["event_time_ns"])
        _book(contract, row["side"], row["price_e8"], quantity)
        return False
    closing = min(quantity, abs(position))
    _book(contract, row["side"], row["price_e8"], closing)
    if gives_pnl:
        contract["given_pnl_e8"] = wide.add_held(contract["given_pnl_e8"], row["amount_e8"])
    else:
        contract["reductions_without_pnl"] += 1
    if contract["position_e8"] != 0:
        return False
    if contract["reductions_without_pnl"] == 0:
        step["trip_pnl_e8"] = contract["given_pnl_e8"]
    else:
        step["trip_pnl_e8"] = _cash_e8(contract)
    if quantity > closing:  # through zero: the rest opens the next round trip
        _start_trip(contract, row["event_time_ns"])
        _book(contract, row["side"], row["price_e8"], quantity - closing)
    return True


@kernel
def _cash_e8(contract: Any) -> Any:
    """Return the trip's cash in 10^-8 units; never 0 unless it is exactly 0."""
    high, low = contract["cash_high"], contract["cash_low"]
    cut = wide.to_e8(high, low)
    return cut if cut != 0 else wide.sign(high, low)
