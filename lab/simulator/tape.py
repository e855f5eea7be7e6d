"""The day as columns: one table of orders, one of the events that happen to them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.simulator.venues import Ints, Session
from schemas.columns import (
    CANCEL_REASON,
    LIQUIDITY_CODES,
    ORDER_TYPE_CODES,
    SIDE,
    TIME_IN_FORCE,
)

BUY: Final = SIDE["buy"]
SELL: Final = SIDE["sell"]
LIMIT: Final = ORDER_TYPE_CODES.index("limit")
MARKET: Final = ORDER_TYPE_CODES.index("market")
DAY: Final = TIME_IN_FORCE["day"]
IOC: Final = TIME_IN_FORCE["ioc"]
FOK: Final = TIME_IN_FORCE["fok"]
GTC: Final = TIME_IN_FORCE["gtc"]
GTD: Final = TIME_IN_FORCE["gtd"]
MAKER: Final = LIQUIDITY_CODES.index("maker")
TAKER: Final = LIQUIDITY_CODES.index("taker")
AUCTION: Final = LIQUIDITY_CODES.index("auction")
USER: Final = CANCEL_REASON["user"]
IMMEDIATE: Final = CANCEL_REASON["immediate"]
QUANTITY_SHOWN: Final = 128  # added to a cancel's reason code when its quantity is written
CLAIM_NONE: Final = 0
CLAIM_MARKET_MAKER: Final = 1
CLAIM_HEDGE: Final = 2

# Kinds in the order in which they may happen to one order.
NEW, REPLACE, FILL, CANCEL, REJECT, EXPIRE, APP, RECORD = range(8)
NO_UNIT: Final = -1

ORDER: Final = np.dtype(
    [
        ("account", "<i4"),
        ("instrument", "<i2"),
        ("side", "u1"),
        ("order_type", "u1"),
        ("time_in_force", "u1"),
        ("claim", "u1"),
        ("extra", "u1"),  # which optional field is written, see lab.simulator.lines
    ]
)
EVENT: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("subject", "<i4"),  # order; account for APP; ready line for RECORD
        ("price", "<i4"),  # cents
        ("quantity", "<i4"),
        ("unit", "<i4"),  # background is cut to size by whole units
        ("partner", "<i4"),  # FILL: the order on the other side plus one; 0 where none is known
        ("kind", "u1"),
        ("code", "u1"),  # NEW: phase; FILL: liquidity; CANCEL: reason; REJECT, EXPIRE, APP: text
    ]
)
Table = NDArray[np.void]


def order_table(count: int, **columns: object) -> Table:
    """Return ``count`` orders; columns not named are 0."""
    return _table(ORDER, count, columns)


def event_table(kind: int, subject: Ints, time_ns: Ints, **columns: object) -> Table:
    """Return one event for each subject; columns not named are 0."""
    return _table(
        EVENT, len(subject), {"kind": kind, "subject": subject, "time_ns": time_ns} | columns
    )


def _table(dtype: np.dtype[np.void], count: int, columns: dict[str, object]) -> Table:
    table = np.zeros(count, dtype)
    for name, values in columns.items():
        table[name] = values
    return table


def settle(session: Session, events: Table) -> Table:
    """Map events from session time to the wall clock and write phases on new orders.

    What would happen after the session does not happen: as each order's events are in time order,
    its earlier ones stay consistent.
    """
    kept: Table = events[events["time_ns"] < session.length_ns]
    time_ns = kept["time_ns"].copy()
    new = kept["kind"] == NEW
    kept["code"][new] = session.phase[session.segment_of(time_ns[new])]
    kept["time_ns"] = session.to_wall(time_ns)
    return kept


def join(parts: list[tuple[Table, Table]]) -> tuple[Table, Table]:
    """Lay (orders, events) pairs one after the other, renumbering the orders."""
    base = 0
    for orders, events in parts:
        events["subject"] += base
        events["partner"][events["partner"] > 0] += base
        base += len(orders)
    return (
        np.concatenate([np.zeros(0, ORDER), *(orders for orders, _ in parts)]),
        np.concatenate([np.zeros(0, EVENT), *(events for _, events in parts)]),
    )
