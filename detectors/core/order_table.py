"""The order table's kernels: orders by account and order id, each with what is left of it.

Whether an order is still known follows from its own times and the row's alone, so that sweeping
the table earlier or later changes nothing.
"""

from typing import Any, Final

import numpy as np

from detectors.core.account_state import (
    ORDER_CANCELED,
    ORDER_DONE,
    ORDER_UNSEEN,
    SIMULATED_ORDER,
)
from detectors.core.tables import find, insert, mix, remove
from detectors.core.wide import add_held
from schemas.columns import FLAG_SIMULATED
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

_ALL_BITS: Final = 0xFF  # of ``state``
LINGER_NS: Final = 60 * SECOND_NS  # how long a finished order is still known, for crossing cancels


@inlined
def order_keys(row: Any, order_1: Int) -> Any:
    """Return the key of an account's order."""
    return mix(row["account_1"], order_1), mix(order_1, row["account_2"])


@inlined
def _is_gone(order: Any, settings: Any, time_ns: Int) -> Any:
    if time_ns > order["entered_ns"] + settings.order_age_ns:
        return True
    return order["state"] & ORDER_DONE != 0 and time_ns > order["ended_ns"] + LINGER_NS


@kernel
def known_order(arrays: Any, settings: Any, row: Any, order_1: Int) -> Any:
    """Return the index of the order if it is still known at the row's time, else -1."""
    key_1, key_2 = order_keys(row, order_1)
    index = find(arrays.order_heads, arrays.orders, key_1, key_2)
    if index >= 0 and _is_gone(arrays.orders[index], settings, row["event_time_ns"]):
        end_order(arrays, index)
        return np.int64(-1)
    return index


@kernel
def add_order(arrays: Any, row: Any, contract: Int, day: Int) -> Any:
    """Take in an order that is not known, as its ``order.new`` says; return its index."""
    key_1, key_2 = order_keys(row, row["order_1"])
    index = insert(arrays.order_heads, arrays.orders, arrays.order_counters, key_1, key_2)
    order = arrays.orders[index]
    order["contract"] = contract
    order["pnl_e8"] = 0
    order["filled_e8"] = 0
    order["filled_ns"] = 0
    order["ended_ns"] = 0
    order["state"] = 0
    enter(order, row, day)
    return index


@kernel
def enter(order: Any, row: Any, day: Int) -> None:
    """Write what an ``order.new`` says; what was filled before it stays filled."""
    order["quantity_e8"] = row["quantity_e8"]
    order["entered_ns"] = row["event_time_ns"]
    order["day"] = day
    order["time_in_force"] = row["time_in_force"]
    order["side"] = row["side"]
    order["state"] &= _ALL_BITS ^ ORDER_UNSEEN
    order["what"] = SIMULATED_ORDER if row["flags"] & FLAG_SIMULATED else 0
    note_end(order, row["event_time_ns"])


@inlined
def left_of(order: Any) -> Any:
    """Return what is left of an order; 0 where only its fills are known."""
    return max(np.int64(0), order["quantity_e8"] - order["filled_e8"])


@inlined
def count_open(order: Any, day: Int) -> Any:
    """Return 1 for an order that was entered on the trading day and is not over, else 0."""
    is_open = order["state"] & (ORDER_UNSEEN | ORDER_DONE) == 0
    return np.int8(is_open and order["day"] == day)


@inlined
def resting_of(order: Any, day: Int) -> Any:
    """Return what rests of an order that was entered on the trading day, in 10^-8 units."""
    return left_of(order) if count_open(order, day) == 1 else np.int64(0)


@kernel
def note_end(order: Any, time_ns: Int) -> None:
    """Mark an order of which nothing is left, and unmark one that has something again."""
    if order["state"] & ORDER_UNSEEN:
        return
    if left_of(order) > 0:
        order["state"] &= _ALL_BITS ^ ORDER_DONE
        return
    order["state"] |= ORDER_DONE
    order["ended_ns"] = max(order["ended_ns"], time_ns)


@kernel
def note_fill(order: Any, row: Any) -> None:
    """Take a fill off an order."""
    order["filled_ns"] = row["event_time_ns"]
    order["filled_e8"] = add_held(order["filled_e8"], row["quantity_e8"])
    note_end(order, row["event_time_ns"])


@kernel
def withdraw(arrays: Any, index: Int, quantity_e8: Int, is_customers: bool) -> None:  # noqa: FBT001 - kernels take no keywords
    """Take a cancelled quantity off an order; nothing left: forget the order."""
    order = arrays.orders[index]
    if is_customers:
        order["state"] |= ORDER_CANCELED
    order["quantity_e8"] -= quantity_e8
    if left_of(order) == 0:
        end_order(arrays, index)


@kernel
def move_order(arrays: Any, index: Int, row: Any) -> Any:
    """Give an order the id its replacement carries; return its new index.

    An order that already has that id is overwritten.
    """
    key_1, key_2 = order_keys(row, row["order_1"])
    fresh = find(arrays.order_heads, arrays.orders, key_1, key_2)
    if fresh < 0:
        fresh = insert(arrays.order_heads, arrays.orders, arrays.order_counters, key_1, key_2)
    old, new = arrays.orders[index], arrays.orders[fresh]
    new["contract"] = old["contract"]
    new["quantity_e8"] = old["quantity_e8"]
    new["filled_e8"] = old["filled_e8"]
    new["entered_ns"] = old["entered_ns"]
    new["filled_ns"] = old["filled_ns"]
    new["ended_ns"] = old["ended_ns"]
    new["pnl_e8"] = old["pnl_e8"]
    new["day"] = old["day"]
    new["time_in_force"] = old["time_in_force"]
    new["state"] = old["state"]
    new["what"] = old["what"]
    new["side"] = old["side"]
    end_order(arrays, index)
    return fresh


@kernel
def end_order(arrays: Any, index: Int) -> None:
    """Forget an order."""
    remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)


@kernel
def sweep_orders(arrays: Any, settings: Any, clock_ns: Int) -> Any:
    """Forget orders that no row can meet any more; return how many."""
    removed = 0
    horizon_ns = clock_ns - settings.lateness_most_ns
    for index in range(arrays.order_counters[0]):
        order = arrays.orders[index]
        if order["key_1"] == 0 and order["key_2"] == 0:
            continue
        if _is_gone(order, settings, horizon_ns):
            end_order(arrays, np.int64(index))
            removed += 1
    return removed
