"""Tallies: what accounts do, in units of ten orders, for tests that compare them with their peers.

A unit is ten orders of an account in the order in which they were entered, and those entered at the
same moment as the tenth. It is over once nothing of them is open, once ten more were entered, or
with its trading day; orders entered until then belong to no unit. So what becomes of a unit's
orders is known before the next unit's first order comes, as a test that bets on it needs; and who
cancels at once fills no unit sooner than others, as they would if units were filled by cancels.

Ten orders that the day's end finds unfinished count as they stand; fewer are left out. Beside the
units, an account's day is counted from its first order on, and told when it is over.
"""

from typing import Any, Final

import numpy as np

from detectors.core import contract as c
from detectors.core.tables import fetch
from schemas.jit import Int, inlined, kernel

UNIT_ORDERS: Final = 10
# Cancels by the age of their order: below 1 ms, then twice as long each, and above 16.384 s.
LIFETIME_BINS: Final = 16
# What is counted of an account's day.
ORDERS, CANCELS, QUICK, FILLS, CLOSING, WINS = range(6)
COUNTS: Final = 6
_QUICK_NS: Final = 1_000_000_000
_MS: Final = 1_000_000
_COUNT_MAX: Final = 2**16 - 1

# What one account has of the unit at hand.
UNIT_AT_HAND: Final = np.dtype(
    [
        ("day_end_ns", "<i8"),
        ("begin_ns", "<i8"),  # its first and
        ("full_ns", "<i8"),  # its last order so far were entered then
        ("before_ns", "<i8"),  # orders up to then belong to the unit before it, or to none
        ("after_ns", "<i8"),  # latest order that was entered since it is full
        ("position", "<i8"),  # of its latest order
        ("day", "<i4"),
        ("name", "<i4"),  # of which group it was last named, and in which money; 0: not today
        ("orders", "<u2"),
        ("canceled", "<u2"),
        ("done", "<u2"),  # orders of which nothing is open
        ("after", "<u2"),  # orders entered since it is full
        ("lifetimes", "<u2", (LIFETIME_BINS,)),
        ("counts", "<u4", (COUNTS,)),  # of the day
        ("group", "<u2"),  # number of the tier; 0: nothing on file
        ("is_open", "u1"),  # the day is not over
        ("is_simulated", "u1"),
        ("registered", "u1"),
        ("claimed", "u1"),
        ("day_is_simulated", "u1"),  # the day's first order was; of the other money none is counted
        ("day_is_named", "u1"),
    ]
)
NAME, UNIT, DAY, WINDOW = range(4)  # ``TALLY.kind``
TALLY: Final = np.dtype(
    [
        ("line_start", "<i8"),  # of a name: tenant, account and tier, zero bytes between
        ("line_length", "<i4"),
        ("kind", "u1"),
        ("is_simulated", "u1"),
        ("registered", "u1"),
        ("claimed", "u1"),
        ("event_time_ns", "<i8"),
        ("account_1", "<u8"),
        ("account_2", "<u8"),
        ("position", "<i8"),
        ("begin_ns", "<i8"),
        ("day_end_ns", "<i8"),
        ("day", "<i4"),
        ("orders", "<u2"),
        ("canceled", "<u2"),
        ("lifetimes", "<u2", (LIFETIME_BINS,)),
        ("counts", "<u4", (COUNTS,)),  # of a day
        ("row", "<i4"),  # of the batch, for a name; -1 else
        ("group", "<i4"),
        ("actions", "<u4"),  # of a window, and
        ("size", "u1"),  # the number of its length
    ]
)
TALLIES_A_STEP: Final = 4  # the day's last unit, the day, a unit that is over, and a name
DUE_NS, COUNT = range(2)  # ``meta``
NEVER_DUE: Final = 2**63 - 1
_AHEAD: Final = 8
_LOOKED_AT: Final = c.NEW | c.FIRST_CANCEL | c.FILL


@inlined
def lifetime_bin(age_ns: Int) -> Any:
    """Return the bin of an order's age when it was cancelled."""
    left, index = age_ns // _MS, np.int64(0)
    while left > 0 and index < LIFETIME_BINS - 1:
        left >>= 1
        index += 1
    return index


def lifetime_below_ms(bins: int) -> int:
    """Return the age below which the orders of the first ``bins`` bins were cancelled, in ms.

    Examples
    --------
    >>> [lifetime_below_ms(bins) for bins in (1, 2, 15)]
    [1, 2, 16384]
    """
    return 1 << (bins - 1)


@inlined
def _write(kind: Int, row: Int, time_ns: Int, unit: Any, account: Any, out: Any, meta: Any) -> None:
    """Write a tally of the unit at hand, but for its lifetimes."""
    tally = out[meta[COUNT]]
    meta[COUNT] += 1
    tally["line_start"] = 0
    tally["line_length"] = 0
    tally["kind"] = kind
    tally["row"] = row
    tally["is_simulated"] = unit["is_simulated"]
    tally["registered"] = unit["registered"]
    tally["claimed"] = unit["claimed"]
    tally["event_time_ns"] = time_ns
    tally["account_1"] = account["key_1"]
    tally["account_2"] = account["key_2"]
    tally["position"] = unit["position"]
    tally["begin_ns"] = unit["begin_ns"]
    tally["day_end_ns"] = unit["day_end_ns"]
    tally["day"] = unit["day"]
    tally["orders"] = unit["orders"]
    tally["canceled"] = unit["canceled"]
    tally["group"] = unit["group"]
    tally["actions"] = 0
    tally["size"] = 0
    for k in range(LIFETIME_BINS):
        tally["lifetimes"][k] = unit["lifetimes"][k]
    for k in range(COUNTS):
        tally["counts"][k] = unit["counts"][k]


@inlined
def _empty(unit: Any) -> None:
    unit["orders"] = 0
    unit["canceled"] = 0
    unit["done"] = 0
    unit["after"] = 0
    unit["after_ns"] = 0
    for k in range(LIFETIME_BINS):
        unit["lifetimes"][k] = 0


@kernel
def _settle(unit: Any, time_ns: Int, account: Any, out: Any, meta: Any) -> None:
    """Write the unit down as it stands; the next may begin."""
    _write(np.int64(UNIT), np.int64(-1), time_ns, unit, account, out, meta)
    # Orders of one moment cannot be told apart: those that came after belong to no unit.
    unit["before_ns"] = max(unit["full_ns"], unit["after_ns"])
    _empty(unit)


@kernel
def _end_day(unit: Any, account: Any, out: Any, meta: Any) -> None:
    """End an account's day, whoever notices it: its tally has the day's own last moment."""
    if unit["orders"] >= UNIT_ORDERS:
        _settle(unit, unit["day_end_ns"] - 1, account, out, meta)
    _empty(unit)
    if unit["day_is_named"]:  # who was not did next to nothing
        unit["is_simulated"] = unit["day_is_simulated"]
        _write(np.int64(DAY), np.int64(-1), unit["day_end_ns"] - 1, unit, account, out, meta)
    unit["is_open"] = 0


@inlined
def _begin_day(unit: Any, step: Any, meta: Any) -> None:
    unit["is_open"] = 1
    unit["day"] = step["day"]
    unit["day_end_ns"] = step["day_end_ns"]
    unit["name"] = 0
    unit["day_is_named"] = 0
    unit["day_is_simulated"] = np.uint8(step["what"] & c.SIMULATED != 0)
    for k in range(COUNTS):
        unit["counts"][k] = 0
    meta[DUE_NS] = min(meta[DUE_NS], step["day_end_ns"])


@inlined
def _count_day(unit: Any, step: Any) -> None:
    """Count a step into its account's day."""
    what, counts = step["what"], unit["counts"]
    if unit["day_is_simulated"] != np.uint8(what & c.SIMULATED != 0):
        return
    counts[ORDERS] += np.uint32(what & c.NEW != 0)
    counts[CANCELS] += np.uint32(what & c.FIRST_CANCEL != 0)
    is_quick = what & c.FIRST_CANCEL != 0 and 0 <= step["age_ns"] <= _QUICK_NS
    counts[QUICK] += np.uint32(is_quick)
    counts[FILLS] += np.uint32(what & c.FILL != 0)
    counts[CLOSING] += np.uint32(what & c.CLOSING != 0)
    counts[WINS] += np.uint32(what & c.CLOSING != 0 and step["pnl_e8"] > 0)


@inlined
def _count_in(unit: Any, step: Any) -> None:
    """Make an order one of the unit's."""
    if unit["orders"] == 0:
        unit["begin_ns"] = step["time_ns"]
        unit["full_ns"] = step["time_ns"]
        unit["is_simulated"] = np.uint8(step["what"] & c.SIMULATED != 0)
    unit["orders"] += np.uint16(1)
    unit["full_ns"] = max(unit["full_ns"], step["time_ns"])
    unit["position"] = step["position"]
    unit["registered"] = step["registered"]
    unit["claimed"] = step["claimed"]


@kernel
def _enter(unit: Any, step: Any, i: Int, account: Any, out: Any, meta: Any) -> None:
    """Take an order into the unit, or count it as one that came after."""
    time_ns = step["time_ns"]
    if unit["orders"] >= UNIT_ORDERS and time_ns > unit["full_ns"]:
        unit["after"] += np.uint16(1)
        if unit["after"] < UNIT_ORDERS:
            unit["after_ns"] = max(unit["after_ns"], time_ns)
            return
        _settle(unit, time_ns, account, out, meta)
    if time_ns <= unit["before_ns"] or (unit["orders"] > 0 and time_ns < unit["begin_ns"]):
        return
    is_other_money = unit["is_simulated"] != np.uint8(step["what"] & c.SIMULATED != 0)
    if unit["orders"] == _COUNT_MAX or (unit["orders"] > 0 and is_other_money):
        return
    _count_in(unit, step)
    name = 1 + 2 * np.int64(unit["group"]) + np.int64(unit["is_simulated"])
    if unit["orders"] == UNIT_ORDERS and unit["name"] != name:
        unit["name"] = name
        unit["day_is_named"] |= np.uint8(unit["is_simulated"] == unit["day_is_simulated"])
        _write(np.int64(NAME), i, time_ns, unit, account, out, meta)


@kernel
def _follow_order(unit: Any, step: Any, account: Any, out: Any, meta: Any) -> None:
    """Count what became of an order, if it is one of the unit's."""
    entered_ns = step["time_ns"] - step["age_ns"]
    if unit["orders"] == 0 or step["age_ns"] < 0:
        return
    if entered_ns < unit["begin_ns"] or entered_ns > unit["full_ns"]:
        return
    if unit["is_simulated"] != np.uint8(step["what"] & c.SIMULATED != 0):
        return
    # An emergency stop is nobody's habit.
    if step["what"] & c.FIRST_CANCEL != 0 and step["what"] & c.KILL_SWITCH == 0:
        unit["canceled"] += np.uint16(1)
        unit["lifetimes"][lifetime_bin(np.int64(step["age_ns"]))] += np.uint16(1)
    unit["done"] += np.uint16(step["open_change"] < 0)
    if unit["orders"] >= UNIT_ORDERS and unit["done"] >= unit["orders"]:
        _settle(unit, step["time_ns"], account, out, meta)


@kernel
def _follow(unit: Any, step: Any, i: Int, account: Any, out: Any, meta: Any) -> None:
    """Let a step change the unit of its account.

    A day is over by its time alone: venues number their days differently, and one order in a night
    session shall not hide what comes on other venues until then.
    """
    if unit["is_open"] and step["time_ns"] >= unit["day_end_ns"]:
        _end_day(unit, account, out, meta)
    if step["what"] & c.NEW and not unit["is_open"]:
        _begin_day(unit, step, meta)
    if unit["is_open"]:
        _count_day(unit, step)
    if step["what"] & c.NEW:
        _enter(unit, step, i, account, out, meta)
    elif unit["is_open"]:
        _follow_order(unit, step, account, out, meta)


@kernel
def follow_units(units: Any, accounts: Any, out: Any, meta: Any, steps: Any, groups: Any) -> None:
    """Let steps change the units of their accounts, and write tallies.

    Parameters
    ----------
    units
        Shape (accounts,), dtype ``UNIT_AT_HAND``.
    accounts
        Shape (accounts,), dtype ``ACCOUNT``.
    out
        Shape (``TALLIES_A_STEP`` n,), dtype ``TALLY``: receives tallies.
    meta
        Shape (2,), int64: when the earliest open day ends, how many stand in ``out``.
    steps
        Shape (n,), dtype ``STEP``.
    groups
        Shape (n,) or (0,), int32: the group that the row puts its account in; -1 for none.
    """
    for i in range(len(steps)):
        step = steps[i]
        if i + _AHEAD < len(steps) and steps[i + _AHEAD]["account"] >= 0:
            fetch(units, steps[i + _AHEAD]["account"])
        if step["account"] < 0:
            continue
        unit = units[step["account"]]
        if len(groups) and groups[i] >= 0:
            unit["group"] = groups[i]
        if step["what"] & _LOOKED_AT != 0 or step["open_change"] < 0:
            _follow(unit, step, np.int64(i), accounts[step["account"]], out, meta)


@kernel
def end_days(units: Any, accounts: Any, out: Any, meta: Any, watermark_ns: Int) -> None:
    """End every open day that is over by the watermark; ``out`` has room for two tallies each."""
    meta[DUE_NS] = NEVER_DUE
    for i in range(len(units)):
        unit = units[i]
        if unit["is_open"] == 0:
            continue
        if unit["day_end_ns"] <= watermark_ns:
            _end_day(unit, accounts[i], out, meta)
        else:
            meta[DUE_NS] = min(meta[DUE_NS], unit["day_end_ns"])
