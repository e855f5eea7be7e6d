"""The account stage's kernels: from event rows to steps.

One pass in lane order. Nothing here depends on where a batch begins or ends, on the clock, or on
rows of other accounts, except through the lane time that every row carries with it.
"""

from typing import Any, Final

import numpy as np

from detectors.core import contract as c
from detectors.core.account_state import (
    DUPLICATES,
    EVENTS,
    FILED,
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
from detectors.core.contract_table import contract_key
from detectors.core.duplicates import fetch_keys, is_duplicate
from detectors.core.order_table import (
    add_order,
    count_open,
    end_order,
    enter,
    known_order,
    left_of,
    move_order,
    note_end,
    note_fill,
    order_keys,
    resting_of,
    withdraw,
)
from detectors.core.placing import (
    DAY_NS,
    account_of,
    contract_of,
    instrument_of,
    is_silent,
    new_account,
    place,
)
from detectors.core.registrations import registered
from detectors.core.round_trips import count_order, trade
from detectors.core.tables import fetch_head, fetch_row, find
from schemas.columns import (
    CANCEL_REASON,
    FLAG_CLAIMS_HEDGE,
    FLAG_CLAIMS_MARKET_MAKER,
    FLAG_REGISTRATIONS,
    FLAG_SIMULATED,
    HAS_AMOUNT,
    HAS_QUANTITY,
    KIND,
    TIME_IN_FORCE,
)
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

_NEW: Final = KIND["order.new"]
_REPLACE: Final = KIND["order.replace"]
_CANCEL: Final = KIND["order.cancel"]
_REJECT: Final = KIND["order.reject"]
_EXPIRE: Final = KIND["order.expire"]
_FILL: Final = KIND["fill"]
_POSITION_CLOSED: Final = KIND["position.closed"]
_APP: Final = KIND["app.event"]
_GRANT: Final = KIND["entitlement.changed"]
_FILE: Final = KIND["ref.account"]
_USER: Final = CANCEL_REASON["user"]
_UNKNOWN: Final = CANCEL_REASON["unknown"]
_KILL_SWITCH: Final = CANCEL_REASON["kill_switch"]
_IOC: Final = TIME_IN_FORCE["ioc"]
_FOK: Final = TIME_IN_FORCE["fok"]
_FAR: Final = 12  # rows ahead of the one in hand, when its chains' heads are asked for
_NEAR: Final = 6  # and when the rows they lead to are
# Why ``take_rows`` returned.
DONE, MEET, FILE, BACK = range(4)


@inlined
def _note_age(step: Any, row: Any, order: Any) -> None:
    step["age_ns"] = max(np.int64(0), row["event_time_ns"] - order["entered_ns"])


@inlined
def _mark_rest(step: Any, change_e8: Int) -> None:
    """Note that more or less rests of an order of the day."""
    step["rest_change_e8"] = change_e8
    if change_e8 != 0:
        step["what"] |= c.RESTS


@kernel
def _on_new(arrays: Any, settings: Any, row: Any, step: Any, instrument: Int) -> None:
    contract = contract_of(arrays, row, step["account"], instrument)
    place(arrays, settings, step, contract)
    index = known_order(arrays, settings, row, row["order_1"])
    if index < 0:
        index = add_order(arrays, row, contract, step["day"])
    elif arrays.orders[index]["state"] & ORDER_UNSEEN:
        enter(arrays.orders[index], row, step["day"])  # its fill came first
    else:
        arrays.totals[REPEATED] += 1  # some gateways repeat their order reports
        return
    step["what"] |= c.NEW
    step["quantity_e8"] = row["quantity_e8"]
    step["side"] = row["side"]
    step["open_change"] = count_open(arrays.orders[index], step["day"])
    _mark_rest(step, resting_of(arrays.orders[index], step["day"]))


@kernel
def _overwritten(arrays: Any, row: Any, moved: Any, step: Any) -> Any:
    """Return what rested of the order whose id another one takes, which ends with that."""
    key_1, key_2 = order_keys(row, row["order_1"])
    index = find(arrays.order_heads, arrays.orders, key_1, key_2)
    if index < 0:
        return np.int64(0)
    order = arrays.orders[index]
    if order["contract"] != moved["contract"] or order["side"] != moved["side"]:
        return np.int64(0)  # a step speaks of one side of one contract
    step["open_change"] -= count_open(order, step["day"])
    return resting_of(order, step["day"])


@kernel
def _on_replace(arrays: Any, settings: Any, row: Any, step: Any) -> None:
    """Take a new quantity, which is the whole order's: what was filled is part of it."""
    step["what"] |= c.REPLACE
    step["quantity_e8"] = row["quantity_e8"]
    old_1 = row["link_1"] if row["link_1"] != 0 else row["order_1"]
    index = known_order(arrays, settings, row, old_1)
    if index < 0:
        step["what"] |= c.UNKNOWN_ORDER
        arrays.totals[UNKNOWN_ORDERS] += 1
        return
    place(arrays, settings, step, np.int64(arrays.orders[index]["contract"]))
    rested = resting_of(arrays.orders[index], step["day"])
    step["open_change"] = -count_open(arrays.orders[index], step["day"])
    if old_1 != row["order_1"]:
        rested += _overwritten(arrays, row, arrays.orders[index], step)
        index = move_order(arrays, index, row)
    order = arrays.orders[index]
    order["quantity_e8"] = row["quantity_e8"]
    note_end(order, row["event_time_ns"])
    step["side"] = order["side"]
    step["open_change"] += count_open(order, step["day"])
    _mark_rest(step, resting_of(order, step["day"]) - rested)


@kernel
def _is_customers(row: Any, time_in_force: Int, filled_ns: Int) -> Any:
    """Say whether a cancel is the customer's own.

    What is left of an IOC or FOK order, and what is withdrawn in the very message that filled the
    order, is the venue's doing unless the sender says otherwise.
    """
    reason = row["reason"]
    if reason in (_USER, _KILL_SWITCH):
        return True
    if reason != _UNKNOWN or time_in_force in (_IOC, _FOK):
        return False
    return filled_ns == 0 or filled_ns != row["event_time_ns"]


@kernel
def _mark_cancel(row: Any, step: Any) -> None:
    """Mark the customer's own cancel."""
    step["what"] |= c.CANCEL
    if row["reason"] == _UNKNOWN:
        step["what"] |= c.REASON_UNKNOWN
    if row["reason"] == _KILL_SWITCH:
        step["what"] |= c.KILL_SWITCH


@kernel
def _on_unknown_cancel(arrays: Any, row: Any, step: Any, filled_ns: Int) -> None:
    """Take the cancel of an order whose entry was never seen: its age is anybody's guess."""
    step["what"] |= c.UNKNOWN_ORDER
    arrays.totals[UNKNOWN_ORDERS] += 1
    if _is_customers(row, np.int64(0), filled_ns):
        _mark_cancel(row, step)
    if row["has"] & HAS_QUANTITY:
        step["quantity_e8"] = row["quantity_e8"]


@kernel
def _on_cancel(arrays: Any, settings: Any, row: Any, step: Any) -> None:
    index = known_order(arrays, settings, row, row["order_1"])
    if index < 0:
        _on_unknown_cancel(arrays, row, step, np.int64(0))
        return
    order = arrays.orders[index]
    place(arrays, settings, step, np.int64(order["contract"]))
    if order["what"] & SIMULATED_ORDER:
        step["what"] |= c.SIMULATED
    if order["state"] & ORDER_UNSEEN:
        _on_unknown_cancel(arrays, row, step, order["filled_ns"])
        return
    _note_age(step, row, order)
    withdrawn = left_of(order)
    if row["has"] & HAS_QUANTITY:
        withdrawn = min(row["quantity_e8"], withdrawn)
    step["quantity_e8"] = withdrawn
    customers = _is_customers(row, np.int64(order["time_in_force"]), order["filled_ns"])
    if order["state"] & ORDER_DONE:
        customers = False  # it crossed the fill that ended the order
    if customers:
        _mark_cancel(row, step)
        if order["state"] & ORDER_CANCELED == 0 and order["day"] == step["day"]:
            step["what"] |= c.FIRST_CANCEL
    step["side"] = order["side"]
    _mark_rest(step, -min(withdrawn, resting_of(order, step["day"])))
    if withdrawn == left_of(order):
        step["open_change"] = -count_open(order, step["day"])
    withdraw(arrays, index, withdrawn, customers)


@kernel
def _on_end(arrays: Any, settings: Any, row: Any, step: Any) -> None:
    index = known_order(arrays, settings, row, row["order_1"])
    if index >= 0:
        place(arrays, settings, step, np.int64(arrays.orders[index]["contract"]))
        if arrays.orders[index]["state"] & ORDER_UNSEEN == 0:
            _note_age(step, row, arrays.orders[index])
        step["side"] = arrays.orders[index]["side"]
        step["open_change"] = -count_open(arrays.orders[index], step["day"])
        _mark_rest(step, -resting_of(arrays.orders[index], step["day"]))
        end_order(arrays, index)


@kernel
def _on_fill(
    arrays: Any, settings: Any, row: Any, step: Any, instrument: Int, clock_ns: Int
) -> None:
    contract = contract_of(arrays, row, step["account"], instrument)
    place(arrays, settings, step, contract)
    step["what"] |= c.FILL
    step["quantity_e8"] = row["quantity_e8"]
    step["side"] = row["side"]
    closing = row["has"] & HAS_AMOUNT != 0
    index = known_order(arrays, settings, row, row["order_1"])
    if index < 0 or arrays.orders[index]["state"] & ORDER_UNSEEN:
        step["what"] |= c.UNKNOWN_ORDER
        arrays.totals[UNKNOWN_ORDERS] += 1
    if index < 0 and closing:  # its profit so far must be known for counting by order
        index = add_order(arrays, row, contract, step["day"])
        arrays.orders[index]["state"] = ORDER_UNSEEN
    if index >= 0:
        order = arrays.orders[index]
        if order["state"] & ORDER_UNSEEN == 0:
            _note_age(step, row, order)
        rested = resting_of(order, step["day"])
        step["open_change"] = -count_open(order, step["day"])
        note_fill(order, row)
        step["open_change"] += count_open(order, step["day"])
        _mark_rest(step, resting_of(order, step["day"]) - rested)
        if order["what"] & SIMULATED_ORDER:
            step["what"] |= c.SIMULATED
        if closing:
            count_order(order, row["amount_e8"], step)
    if closing:
        step["what"] |= c.CLOSING
        step["pnl_e8"] = row["amount_e8"]
    ended = trade(arrays, settings, contract, row, step, clock_ns)
    if ended and arrays.accounts[step["account"]]["flags"] & SENDS_TRIPS == 0:
        step["what"] |= c.TRIP


@kernel
def _on_position_closed(arrays: Any, row: Any, step: Any) -> None:
    account = arrays.accounts[step["account"]]
    if account["flags"] & SENDS_TRIPS == 0:
        account["flags"] |= SENDS_TRIPS
        step["what"] |= c.TRIPS_RESTART  # those built from fills so far would count twice
    step["what"] |= c.TRIP
    step["trip_pnl_e8"] = row["amount_e8"]
    step["quantity_e8"] = row["quantity_e8"]


@inlined
def _clear(step: Any, row: Any, lane_lines: Int) -> None:
    step["rules"] = 0
    step["what"] = 0
    step["registered"] = 0
    step["claimed"] = 0
    step["account"] = -1
    step["contract"] = -1
    step["day"] = 0
    step["time_ns"] = row["event_time_ns"]
    step["day_end_ns"] = 0
    step["position"] = (np.int64(row["lane"]) << c.LANE_SHIFT) | (row["line_number"] + lane_lines)
    step["quantity_e8"] = 0
    step["age_ns"] = -1
    step["pnl_e8"] = 0
    step["trip_pnl_e8"] = 0
    step["order_units"] = 0
    step["order_wins"] = 0
    step["open_change"] = 0
    step["side"] = 0
    step["rest_change_e8"] = 0
    step["price_e8"] = row["price_e8"]


@kernel
def _greet(arrays: Any, settings: Any, row: Any, step: Any, known: Int) -> None:
    """Fill in what follows from the account, whatever the row says; -1: it has no row yet."""
    step["account"] = known if known >= 0 else new_account(arrays, row)
    step["rules"] = settings.rules_anywhere
    day = (step["time_ns"] - settings.zone_day_ns) // DAY_NS
    step["day"] = day
    step["day_end_ns"] = (day + 1) * DAY_NS + settings.zone_day_ns
    account = arrays.accounts[step["account"]]
    if row["kind"] == _FILE and (row["name_1"] != 0 or row["notice_1"] != 0):
        account["flags"] |= FILED
    account["last_s"] = max(account["last_s"], np.uint32(step["time_ns"] // SECOND_NS))
    link = np.int64(account["registrations"])
    if link > 0:  # those for every instrument
        step["registered"] = registered(arrays.registrations, link, np.uint64(0), step["time_ns"])
    if row["flags"] & FLAG_CLAIMS_MARKET_MAKER:
        account["claimed"] |= c.MARKET_MAKER
    if row["flags"] & FLAG_CLAIMS_HEDGE:
        account["claimed"] |= c.HEDGE
    step["claimed"] = account["claimed"]
    if row["flags"] & FLAG_SIMULATED:
        step["what"] |= c.SIMULATED


@kernel
def _apply(arrays: Any, settings: Any, row: Any, step: Any, instrument: Int, clock_ns: Int) -> None:
    """Let one accepted row of an account have its effect.

    ``instrument`` is that of a new order or a fill.
    """
    kind = row["kind"]
    if kind == _NEW:
        _on_new(arrays, settings, row, step, instrument)
    elif kind == _CANCEL:
        _on_cancel(arrays, settings, row, step)
    elif kind == _FILL:
        _on_fill(arrays, settings, row, step, instrument, clock_ns)
    elif kind == _REPLACE:
        _on_replace(arrays, settings, row, step)
    elif kind in (_REJECT, _EXPIRE):
        _on_end(arrays, settings, row, step)
    elif kind == _POSITION_CLOSED:
        _on_position_closed(arrays, row, step)


@kernel
def _lateness_ns(settings: Any, source_1: Any) -> Any:
    """Return what the source is allowed; few sources have a lateness of their own."""
    for k in range(len(settings.late_sources)):
        if settings.late_sources[k] == source_1:
            return settings.late_ns[k]
    return settings.lateness_ns


@inlined
def _is_late(settings: Any, row: Any, carry: Any) -> Any:
    reached_ns = max(carry[0], row["high_before_ns"])
    return row["event_time_ns"] < reached_ns - _lateness_ns(settings, row["source_1"])


@inlined
def _clock_at(row: Any, carry: Any) -> Any:
    """Return a time that others have reached too: a row from a wrong clock ends no silence."""
    return max(carry[0], carry[1], row["high_before_ns"], row["clock_ns"])


@inlined
def _is_back(account: Any, settings: Any, row: Any, carry: Any) -> Any:
    """Say whether the row ends a very long silence; one that is late has no effect."""
    last_ns = (np.int64(account["last_s"]) + 1) * SECOND_NS
    time_ns = min(row["event_time_ns"], _clock_at(row, carry))
    return is_silent(last_ns, settings, time_ns) and not _is_late(settings, row, carry)


@kernel
def _is_accepted(arrays: Any, settings: Any, row: Any, carry: Any) -> Any:
    """Count the row; say whether it has an effect: in time, new, and an account's."""
    arrays.totals[EVENTS] += 1
    if _is_late(settings, row, carry):
        arrays.totals[LATE] += 1
        return False
    clock_ns = max(carry[1], row["clock_ns"])
    window = clock_ns // settings.duplicate_window_ns if clock_ns > 0 else np.int64(0)
    slots, keys, meta = arrays.seen_slots, arrays.seen_keys, arrays.seen_meta
    if is_duplicate(slots, keys, meta, row, window, settings.duplicates_max):
        arrays.totals[DUPLICATES] += 1
        return False
    if row["account_1"] == 0 and row["account_2"] == 0:
        arrays.totals[WITHOUT_ACCOUNT] += 1
        return False
    return True


@inlined
def _concerns_office(row: Any) -> Any:
    """Say whether policy must hear of the row: an entitlement, or an answer to a notice."""
    return row["kind"] == _GRANT or (row["kind"] == _APP and row["notice_1"] != 0)


@inlined
def _is_filed(arrays: Any, row: Any, account: Int) -> Any:
    """Say whether the row changes what is on file about its account."""
    if row["kind"] != _FILE:
        return False
    return row["flags"] & FLAG_REGISTRATIONS != 0 or arrays.accounts[account]["registrations"] > 0


@inlined
def _fetch_ahead(arrays: Any, rows: Any, i: Int) -> None:
    """Ask for what the rows a little after ``i`` will look up, heads first and rows later."""
    if i + _FAR < len(rows):
        row = rows[i + _FAR]
        fetch_head(arrays.account_heads, row["account_1"])
        fetch_head(arrays.contract_heads, contract_key(row["account_1"], row["instrument_1"]))
        fetch_head(arrays.order_heads, order_keys(row, row["order_1"])[0])
        fetch_keys(arrays.seen_slots, row["event_1"])
    if i + _NEAR < len(rows):
        row = rows[i + _NEAR]
        fetch_row(arrays.account_heads, arrays.accounts, row["account_1"])
        key = contract_key(row["account_1"], row["instrument_1"])
        fetch_row(arrays.contract_heads, arrays.contracts, key)
        fetch_row(arrays.order_heads, arrays.orders, order_keys(row, row["order_1"])[0])


@kernel
def take_rows(
    arrays: Any, settings: Any, rows: Any, carry: Any, steps: Any, office: Any, progress: Any
) -> Any:
    """Turn rows into steps, in lane order, until all are taken or Python must do something.

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
    office
        Shape (n,), int64: receives the indexes of rows that policy must hear of.
    progress
        Shape (3,), int64: rows taken so far, how many of them stand in ``office``, and the account
        where it is ``BACK``.

    Returns
    -------
    int
        ``DONE``; ``MEET`` where the next row brings an instrument that has no row; ``FILE`` where
        the last row taken changes what is on file about its account; ``BACK`` where the next row's
        account was silent for so long that it must be forgotten before.
    """
    for i in range(progress[0], len(rows)):
        row, step = rows[i], steps[i]
        _fetch_ahead(arrays, rows, i)
        instrument = np.int64(-1)
        if row["kind"] in (_NEW, _FILL):
            instrument = instrument_of(arrays, row)
            if instrument < 0:
                return MEET
        account = np.int64(account_of(arrays, row))
        if account >= 0 and _is_back(arrays.accounts[account], settings, row, carry):
            progress[2] = account
            return BACK
        progress[0] = i + 1
        _clear(step, row, carry[2])
        if not _is_accepted(arrays, settings, row, carry):
            continue
        _greet(arrays, settings, row, step, account)
        _apply(arrays, settings, row, step, instrument, _clock_at(row, carry))
        if _concerns_office(row):
            office[progress[1]] = i
            progress[1] += 1
        elif _is_filed(arrays, row, step["account"]):
            return FILE
    return DONE
