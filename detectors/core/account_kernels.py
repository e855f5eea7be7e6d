"""The account stage's kernels: from event rows to steps.

One pass in lane order. Nothing here depends on where a batch begins or ends, on the clock, or on
rows of other accounts, except through the lane time that every row carries with it.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from detectors.core import contract as c
from detectors.core.account_state import (
    DUPLICATES,
    EVENTS,
    LATE,
    ORDER_CANCELED,
    ORDER_DONE,
    ORDER_UNSEEN,
    REPEATED,
    SENDS_TRIPS,
    SIMULATED_ORDER,
    UNKNOWN_ORDERS,
    WITHOUT_ACCOUNT,
)
from detectors.core.duplicates import is_duplicate
from detectors.core.round_trips import count_order, trade
from detectors.core.tables import find, insert, mix, remove
from schemas.columns import (
    CANCEL_REASON,
    FLAG_CLAIMS_HEDGE,
    FLAG_CLAIMS_MARKET_MAKER,
    FLAG_SIMULATED,
    HAS_AMOUNT,
    HAS_QUANTITY,
    KIND,
    TIME_IN_FORCE,
)
from schemas.events import SECOND_NS

_NEW: Final = KIND["order.new"]
_REPLACE: Final = KIND["order.replace"]
_CANCEL: Final = KIND["order.cancel"]
_REJECT: Final = KIND["order.reject"]
_EXPIRE: Final = KIND["order.expire"]
_FILL: Final = KIND["fill"]
_POSITION_CLOSED: Final = KIND["position.closed"]
_USER: Final = CANCEL_REASON["user"]
_UNKNOWN: Final = CANCEL_REASON["unknown"]
_KILL_SWITCH: Final = CANCEL_REASON["kill_switch"]
_IOC: Final = TIME_IN_FORCE["ioc"]
_FOK: Final = TIME_IN_FORCE["fok"]
_DAY_NS: Final = 86_400 * SECOND_NS
LINGER_NS: Final = 60 * SECOND_NS  # how long a finished order is still known, for crossing cancels


@njit(cache=True, nogil=True)
def _set_day(arrays: Any, step: Any, calendar: int, time_ns: int, zone_day_ns: int) -> None:
    """Find the trading day: the calendar's, or a day of UTC shifted by ``zone_day_ns``."""
    if calendar > 0:
        starts = arrays.day_starts[calendar - 1]
        index = np.searchsorted(starts, time_ns, side="right") - 1
        if 0 <= index < len(starts) - 1:
            step["day"] = arrays.day_numbers[calendar - 1, index]
            step["day_end_ns"] = starts[index + 1]
            return
    day = (time_ns - zone_day_ns) // _DAY_NS
    step["day"] = day
    step["day_end_ns"] = (day + 1) * _DAY_NS + zone_day_ns


@njit(cache=True, nogil=True)
def _account_of(arrays: Any, row: Any) -> int:
    """Return the account's row, a new one where it is new."""
    index = find(arrays.account_heads, arrays.accounts, row["account_1"], row["account_2"])
    if index >= 0:
        return index
    index = insert(
        arrays.account_heads,
        arrays.accounts,
        arrays.account_counters,
        row["account_1"],
        row["account_2"],
    )
    account = arrays.accounts[index]
    account["registrations"] = 0
    account["flags"] = 0
    account["claimed"] = 0
    return index


@njit(cache=True, nogil=True)
def _contract_of(arrays: Any, row: Any, account: int) -> int:
    """Return the row of account x instrument, a new one where it is new."""
    key_1 = mix(row["account_1"], row["instrument_1"])
    key_2 = mix(row["instrument_1"], row["account_2"] ^ row["venue_1"])
    index = find(arrays.contract_heads, arrays.contracts, key_1, key_2)
    if index >= 0:
        return index
    index = insert(arrays.contract_heads, arrays.contracts, arrays.contract_counters, key_1, key_2)
    contract = arrays.contracts[index]
    contract["instrument"] = find(
        arrays.instrument_heads, arrays.instruments, row["instrument_1"], row["venue_1"]
    )
    contract["account"] = account
    contract["position_e8"] = 0
    contract["cash_high"] = 0
    contract["cash_low"] = 0
    contract["given_pnl_e8"] = 0
    contract["opened_ns"] = 0
    contract["reductions_without_pnl"] = 0
    return index


@njit(cache=True, nogil=True)
def _registered(arrays: Any, account: int, instrument_1: int, time_ns: int) -> int:
    """Return the exemptions on file for the account, this instrument, at this time."""
    bits = 0
    link = arrays.accounts[account]["registrations"]
    while link > 0:
        entry = arrays.registrations[link - 1]
        covers = entry["instrument_1"] == 0 or entry["instrument_1"] == instrument_1
        if covers and entry["valid_from_ns"] <= time_ns < entry["valid_until_ns"]:
            bits |= entry["kind"]
        link = entry["next"]
    return bits


@njit(cache=True, nogil=True)
def _place(arrays: Any, settings: Any, step: Any, contract: int) -> None:
    """Fill in what follows from the instrument: rules, exemptions, trading day."""
    step["contract"] = contract
    instrument = arrays.instruments[arrays.contracts[contract]["instrument"]]
    step["rules"] = instrument["rules"]
    if arrays.accounts[step["account"]]["registrations"] > 0:
        step["registered"] = _registered(
            arrays, step["account"], instrument["key_1"], step["time_ns"]
        )
    _set_day(arrays, step, instrument["calendar"], step["time_ns"], settings.zone_day_ns)


@njit(cache=True, nogil=True)
def _known_order(arrays: Any, settings: Any, key_1: int, key_2: int, time_ns: int) -> int:
    """Return the order's row if it is still known at this time, else -1.

    Whether an order has aged out follows from its own times alone, so that sweeping the table
    earlier or later changes nothing.
    """
    index = find(arrays.order_heads, arrays.orders, key_1, key_2)
    if index < 0:
        return -1
    order = arrays.orders[index]
    too_old = time_ns > order["entered_ns"] + settings.order_age_ns
    done = order["state"] & ORDER_DONE != 0 and time_ns > order["filled_ns"] + LINGER_NS
    if too_old or done:
        remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)
        return -1
    return index


@njit(cache=True, nogil=True)
def _add_order(arrays: Any, row: Any, contract: int, day: int, key_1: int, key_2: int) -> int:
    index = insert(arrays.order_heads, arrays.orders, arrays.order_counters, key_1, key_2)
    order = arrays.orders[index]
    order["contract"] = contract
    order["quantity_e8"] = row["quantity_e8"]
    order["remaining_e8"] = row["quantity_e8"]
    order["entered_ns"] = row["event_time_ns"]
    order["filled_ns"] = 0
    order["pnl_e8"] = 0
    order["day"] = day
    order["side"] = row["side"]
    order["time_in_force"] = row["time_in_force"]
    order["state"] = 0
    order["what"] = SIMULATED_ORDER if row["flags"] & FLAG_SIMULATED else 0
    return index


@njit(cache=True, nogil=True)
def _on_new(arrays: Any, settings: Any, row: Any, step: Any, key_1: int, key_2: int) -> None:
    _place(arrays, settings, step, _contract_of(arrays, row, step["account"]))
    if _known_order(arrays, settings, key_1, key_2, row["event_time_ns"]) >= 0:
        arrays.totals[REPEATED] += 1  # some gateways repeat their order reports
        return
    _add_order(arrays, row, step["contract"], step["day"], key_1, key_2)
    step["what"] |= c.NEW
    step["quantity_e8"] = row["quantity_e8"]


@njit(cache=True, nogil=True)
def _on_replace(arrays: Any, settings: Any, row: Any, step: Any, key_1: int, key_2: int) -> None:
    old_key_1, old_key_2 = key_1, key_2
    if row["link_1"] != 0:
        old_key_1 = mix(row["account_1"], row["link_1"])
        old_key_2 = mix(row["link_1"], row["account_2"])
    index = _known_order(arrays, settings, old_key_1, old_key_2, row["event_time_ns"])
    step["what"] |= c.REPLACE
    step["quantity_e8"] = row["quantity_e8"]
    if index < 0:
        step["what"] |= c.UNKNOWN_ORDER
        arrays.totals[UNKNOWN_ORDERS] += 1
        return
    _place(arrays, settings, step, arrays.orders[index]["contract"])
    if old_key_1 != key_1:
        index = _rename_order(arrays, index, key_1, key_2)
    order = arrays.orders[index]
    filled = order["quantity_e8"] - order["remaining_e8"]
    order["quantity_e8"] = row["quantity_e8"]
    order["remaining_e8"] = max(0, row["quantity_e8"] - filled)


@njit(cache=True, nogil=True)
def _rename_order(arrays: Any, index: int, key_1: int, key_2: int) -> int:
    """Move an order to the id its replacement gave it."""
    kept = arrays.orders[index : index + 1].copy()
    remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)
    fresh = find(arrays.order_heads, arrays.orders, key_1, key_2)
    if fresh < 0:
        fresh = insert(arrays.order_heads, arrays.orders, arrays.order_counters, key_1, key_2)
    order = arrays.orders[fresh]
    order["contract"] = kept[0]["contract"]
    order["quantity_e8"] = kept[0]["quantity_e8"]
    order["remaining_e8"] = kept[0]["remaining_e8"]
    order["entered_ns"] = kept[0]["entered_ns"]
    order["filled_ns"] = kept[0]["filled_ns"]
    order["pnl_e8"] = kept[0]["pnl_e8"]
    order["day"] = kept[0]["day"]
    order["side"] = kept[0]["side"]
    order["time_in_force"] = kept[0]["time_in_force"]
    order["state"] = kept[0]["state"]
    order["what"] = kept[0]["what"]
    return fresh


@njit(cache=True, nogil=True)
def _is_customers(reason: int, time_in_force: int, filled_ns: int, time_ns: int) -> bool:
    """Say whether a cancel is the customer's own.

    What is left of an IOC or FOK order, and what is withdrawn in the very message that filled the
    order, is the venue's doing unless the sender says otherwise.
    """
    if reason in (_USER, _KILL_SWITCH):
        return True
    if reason != _UNKNOWN:
        return False
    return time_in_force not in (_IOC, _FOK) and filled_ns != time_ns


@njit(cache=True, nogil=True)
def _on_cancel(arrays: Any, settings: Any, row: Any, step: Any, key_1: int, key_2: int) -> None:
    time_ns = row["event_time_ns"]
    index = _known_order(arrays, settings, key_1, key_2, time_ns)
    step["age_ns"] = -1
    if index < 0:
        step["what"] |= c.UNKNOWN_ORDER
        arrays.totals[UNKNOWN_ORDERS] += 1
        if _is_customers(row["reason"], 0, 0, time_ns):
            step["what"] |= c.CANCEL
        if row["has"] & HAS_QUANTITY:
            step["quantity_e8"] = row["quantity_e8"]
        return
    order = arrays.orders[index]
    _place(arrays, settings, step, order["contract"])
    step["age_ns"] = max(0, time_ns - order["entered_ns"])
    withdrawn = order["remaining_e8"]
    if row["has"] & HAS_QUANTITY:
        withdrawn = min(row["quantity_e8"], withdrawn)
    step["quantity_e8"] = withdrawn
    if order["what"] & SIMULATED_ORDER:
        step["what"] |= c.SIMULATED
    customers = _is_customers(row["reason"], order["time_in_force"], order["filled_ns"], time_ns)
    if customers and order["state"] & ORDER_DONE == 0:
        step["what"] |= c.CANCEL
        if order["state"] & ORDER_CANCELED == 0 and order["day"] == step["day"]:
            step["what"] |= c.FIRST_CANCEL
        order["state"] |= ORDER_CANCELED
    order["remaining_e8"] -= withdrawn
    if order["remaining_e8"] <= 0:
        remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)


@njit(cache=True, nogil=True)
def _on_end(arrays: Any, settings: Any, row: Any, step: Any, key_1: int, key_2: int) -> None:
    index = _known_order(arrays, settings, key_1, key_2, row["event_time_ns"])
    if index >= 0:
        _place(arrays, settings, step, arrays.orders[index]["contract"])
        remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)


@njit(cache=True, nogil=True)
def _on_fill(arrays: Any, settings: Any, row: Any, step: Any, key_1: int, key_2: int) -> None:
    time_ns = row["event_time_ns"]
    contract = _contract_of(arrays, row, step["account"])
    _place(arrays, settings, step, contract)
    step["what"] |= c.FILL
    step["quantity_e8"] = row["quantity_e8"]
    closing = row["has"] & HAS_AMOUNT != 0
    index = _known_order(arrays, settings, key_1, key_2, time_ns)
    if index < 0:
        step["what"] |= c.UNKNOWN_ORDER
        arrays.totals[UNKNOWN_ORDERS] += 1
        if closing:  # its profit so far must be known for counting by order
            index = _add_order(arrays, row, contract, step["day"], key_1, key_2)
            arrays.orders[index]["state"] = ORDER_UNSEEN
    if index >= 0:
        order = arrays.orders[index]
        order["filled_ns"] = time_ns
        if order["what"] & SIMULATED_ORDER:
            step["what"] |= c.SIMULATED
        if order["state"] & ORDER_UNSEEN == 0:
            order["remaining_e8"] = max(0, order["remaining_e8"] - row["quantity_e8"])
            if order["remaining_e8"] == 0:
                order["state"] |= ORDER_DONE
        if closing:
            count_order(order, row["amount_e8"], step)
    if closing:
        step["what"] |= c.CLOSING
        step["pnl_e8"] = row["amount_e8"]
    ended = trade(arrays.totals, arrays.contracts[contract], row, step)
    if ended and arrays.accounts[step["account"]]["flags"] & SENDS_TRIPS == 0:
        step["what"] |= c.TRIP


@njit(cache=True, nogil=True)
def _on_position_closed(arrays: Any, row: Any, step: Any) -> None:
    arrays.accounts[step["account"]]["flags"] |= SENDS_TRIPS
    step["what"] |= c.TRIP
    step["trip_pnl_e8"] = row["amount_e8"]
    step["quantity_e8"] = row["quantity_e8"]


@njit(cache=True, nogil=True)
def _clear(step: Any, row: Any, lane_lines: int) -> None:
    step["rules"] = 0
    step["what"] = 0
    step["registered"] = 0
    step["claimed"] = 0
    step["account"] = -1
    step["contract"] = -1
    step["time_ns"] = row["event_time_ns"]
    step["position"] = (np.int64(row["lane"]) << c.LANE_SHIFT) | (row["line_number"] + lane_lines)
    step["quantity_e8"] = 0
    step["age_ns"] = -1
    step["pnl_e8"] = 0
    step["trip_pnl_e8"] = 0
    step["order_units"] = 0
    step["order_wins"] = 0


@njit(cache=True, nogil=True)
def _claims(arrays: Any, row: Any, step: Any) -> None:
    account = arrays.accounts[step["account"]]
    if row["flags"] & FLAG_CLAIMS_MARKET_MAKER:
        account["claimed"] |= c.MARKET_MAKER
    if row["flags"] & FLAG_CLAIMS_HEDGE:
        account["claimed"] |= c.HEDGE
    step["claimed"] = account["claimed"]
    if row["flags"] & FLAG_SIMULATED:
        step["what"] |= c.SIMULATED


@njit(cache=True, nogil=True)
def _apply(arrays: Any, settings: Any, row: Any, step: Any) -> None:
    """Let one accepted row of an account have its effect."""
    kind = row["kind"]
    key_1 = mix(row["account_1"], row["order_1"])
    key_2 = mix(row["order_1"], row["account_2"])
    if kind == _NEW:
        _on_new(arrays, settings, row, step, key_1, key_2)
    elif kind == _CANCEL:
        _on_cancel(arrays, settings, row, step, key_1, key_2)
    elif kind == _FILL:
        _on_fill(arrays, settings, row, step, key_1, key_2)
    elif kind == _REPLACE:
        _on_replace(arrays, settings, row, step, key_1, key_2)
    elif kind in (_REJECT, _EXPIRE):
        _on_end(arrays, settings, row, step, key_1, key_2)
    elif kind == _POSITION_CLOSED:
        _on_position_closed(arrays, row, step)


@njit(cache=True, nogil=True)
def take_rows(arrays: Any, settings: Any, rows: Any, carry: Any, steps: Any) -> None:
    """Turn rows into steps, in lane order.

    Parameters
    ----------
    arrays, settings
        ``StageArrays`` with room for ``len(rows)`` inserts, ``StageSettings``.
    rows
        Shape (n,), dtype ``ROW``.
    carry
        Shape (3,), int64: lane time and merged clock reached before this block, and the lines of
        the lane before it.
    steps
        Shape (n,), dtype ``STEP``, filled here. A step whose account is -1 has no effect: late,
        duplicate, or not an account's.
    """
    for i in range(len(rows)):
        row, step = rows[i], steps[i]
        _clear(step, row, carry[2])
        arrays.totals[EVENTS] += 1
        high_ns = max(carry[0], row["high_before_ns"])
        if row["event_time_ns"] < high_ns - settings.lateness_ns:
            arrays.totals[LATE] += 1
            continue
        clock_ns = max(carry[1], row["clock_ns"])
        window = clock_ns // settings.duplicate_window_ns if clock_ns > 0 else np.int64(0)
        if is_duplicate(arrays.seen, arrays.seen_meta, row["event_1"], row["event_2"], window):
            arrays.totals[DUPLICATES] += 1
            continue
        if row["account_1"] == 0 and row["account_2"] == 0:
            arrays.totals[WITHOUT_ACCOUNT] += 1
            continue
        step["account"] = _account_of(arrays, row)
        step["rules"] = settings.rules_anywhere
        _set_day(arrays, step, 0, row["event_time_ns"], settings.zone_day_ns)
        _claims(arrays, row, step)
        _apply(arrays, settings, row, step)


@njit(cache=True, nogil=True)
def new_instruments(heads: Any, instruments: Any, counters: Any, rows: Any, found: Any) -> int:
    """Give instruments not seen before a row; return how many, their first rows in ``found``.

    ``instruments`` must have room for ``len(found)`` more; at most that many are taken.
    """
    count = 0
    for i in range(len(rows)):
        row = rows[i]
        if row["kind"] not in (_NEW, _FILL) or row["instrument_1"] == 0:
            continue
        if find(heads, instruments, row["instrument_1"], row["venue_1"]) >= 0:
            continue
        if count == len(found):
            return count
        insert(heads, instruments, counters, row["instrument_1"], row["venue_1"])
        found[count] = i
        count += 1
    return count


@njit(cache=True, nogil=True)
def sweep_orders(arrays: Any, settings: Any, clock_ns: int) -> int:
    """Remove orders that no row can meet any more; return how many."""
    removed = 0
    for index in range(arrays.order_counters[0]):
        order = arrays.orders[index]
        if order["key_1"] == 0 and order["key_2"] == 0:
            continue
        horizon_ns = clock_ns - settings.lateness_ns
        too_old = horizon_ns > order["entered_ns"] + settings.order_age_ns
        done = order["state"] & ORDER_DONE != 0 and horizon_ns > order["filled_ns"] + LINGER_NS
        if too_old or done:
            remove(arrays.order_heads, arrays.orders, arrays.order_counters, index)
            removed += 1
    return removed
