"""Events as columns: numbers only, one row an event; strings stay in the raw bytes.

A row is 184 bytes of numbers. Identifiers are keyed 64-bit or 128-bit hashes, money and quantity
are int64 in units of 10^-8, times are int64 nanoseconds, choices are small codes (0 = absent).
The bytes the rows were read from travel beside them, and are looked at only for an alert, a dead
letter or a rare kind of event.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from schemas import events

# Codes: position in the tuple; 0 always means absent.
KIND_CODES: Final = ("", *events.KINDS)
SIDE_CODES: Final = ("", *get_args(events.Side))
ORDER_TYPE_CODES: Final = ("", *get_args(events.OrderType))
TIME_IN_FORCE_CODES: Final = ("", *get_args(events.TimeInForce))
SESSION_PHASE_CODES: Final = ("", *get_args(events.SessionPhase))
CANCEL_REASON_CODES: Final = ("", *get_args(events.CancelReason))
LIQUIDITY_CODES: Final = ("", *get_args(events.Liquidity))
CAPACITY_CODES: Final = ("", *get_args(events.Capacity))

KIND: Final = {name: code for code, name in enumerate(KIND_CODES) if name}
SIDE: Final = {name: code for code, name in enumerate(SIDE_CODES) if name}
CANCEL_REASON: Final = {name: code for code, name in enumerate(CANCEL_REASON_CODES) if name}
TIME_IN_FORCE: Final = {name: code for code, name in enumerate(TIME_IN_FORCE_CODES) if name}

# Bits of ``flags``: what the sender says of the row.
FLAG_SIMULATED: Final = 1
FLAG_CLAIMS_MARKET_MAKER: Final = 2
FLAG_CLAIMS_HEDGE: Final = 4
FLAG_REGISTRATIONS: Final = 8  # ref.account: at least one registration is listed
# Bits of ``has``: which optional numbers are present (a present zero differs from absent).
HAS_PRICE: Final = 1
HAS_QUANTITY: Final = 2
HAS_AMOUNT: Final = 4

ROW: Final = np.dtype(
    [
        ("line_start", "<i8"),  # into ``EventColumns.raw``
        ("line_length", "<i4"),  # without the line feed
        ("kind", "u1"),  # KIND_CODES
        ("side", "u1"),
        ("order_type", "u1"),
        ("time_in_force", "u1"),
        ("event_time_ns", "<i8"),
        ("high_before_ns", "<i8"),  # lane time at this row, see flows.lanes
        ("clock_ns", "<i8"),  # the same over all merged lanes, see flows.lanes
        ("line_number", "<i8"),  # 0-based, within the block until the lane adds its own count
        ("event_1", "<u8"),  # 128 bits of (source, event_id): the duplicate key
        ("event_2", "<u8"),
        ("account_1", "<u8"),  # 128 bits of (tenant, account_id); 0, 0 where there is none
        ("account_2", "<u8"),
        ("order_1", "<u8"),  # order_id
        ("link_1", "<u8"),  # replaces_order_id; fill_id for fills, busts and corrections
        ("instrument_1", "<u8"),
        ("venue_1", "<u8"),
        ("source_1", "<u8"),
        # app.event: name; fill: low half of the counterparty, as account_1; ref.account: owner
        ("name_1", "<u8"),
        # app.event: notice_id; fill: high half, as account_2; ref.account: control group
        ("notice_1", "<u8"),
        ("price_e8", "<i8"),  # also equity
        ("quantity_e8", "<i8"),
        ("amount_e8", "<i8"),  # realized_pnl; cash.flow amount; equity exposure
        ("opened_ns", "<i8"),  # position.closed
        ("account_murmur2", "<u4"),  # of the account_id bytes, as Kafka's partitioner computes it
        ("session_phase", "u1"),
        ("reason", "u1"),  # CANCEL_REASON_CODES, order.cancel only
        ("liquidity", "u1"),
        ("capacity", "u1"),
        ("flags", "u1"),
        ("has", "u1"),
        ("lane", "<u2"),  # which of a merged batch's lanes the row stood on
        ("padding", "u1", (4,)),
    ]
)

Bytes = NDArray[np.uint8]
Rows = NDArray[np.void]  # of dtype ROW


class Lines(Protocol):
    """Writes the lines of rows that did not come as lines, when somebody asks for them."""

    def write(self, rows: "Rows") -> "tuple[Rows, Bytes]":
        """Return the rows' lines, and copies of the rows that point into them."""

    def __len__(self) -> int:
        """Return how many bytes the rows came in."""


@dataclass(frozen=True, slots=True)
class EventColumns:
    """Some events of one lane, in lane order.

    Attributes
    ----------
    rows
        Shape (n,), dtype ``ROW``.
    raw
        The bytes that the rows' ``line_start`` and ``line_length`` point into, or what writes
        their lines.
    """

    rows: Rows
    raw: "Bytes | Lines"

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def line(self, row_index: int) -> bytes:
        """Return the bytes row ``row_index`` was read from, without the line feed."""
        rows, raw = EventColumns(self.rows[row_index : row_index + 1], self.raw).lines()
        start = int(rows["line_start"][0])
        return bytes(raw[start : start + int(rows["line_length"][0])])

    def lines(self) -> tuple[Rows, Bytes]:
        """Return rows that point into bytes, and these bytes; written now if they never were."""
        if isinstance(self.raw, np.ndarray):
            return self.rows, self.raw
        return self.raw.write(self.rows)

    @classmethod
    def empty(cls) -> "EventColumns":
        """Return columns without a row."""
        return cls(np.zeros(0, ROW), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True)
class Rejected:
    """One refused line: bad input is data.

    Attributes
    ----------
    reason
        A code from ``schemas.reasons``.
    stage
        ``scan``, ``validate``, ``order`` or ``adapt``.
    path
        Field path such as ``$.price``; empty where the line as a whole is at fault.
    expected, got
        Two halves of the sentence people read.
    line_number
        0-based, within the block until the lane adds its own count.
    byte_offset
        Of the line's first byte, within the block until the lane adds its own.
    raw
        The original bytes, cut at ``RAW_SIZE_MAX``.
    """

    reason: str
    stage: str
    path: str
    expected: str
    got: str
    line_number: int
    byte_offset: int
    raw: bytes

    @property
    def sentence(self) -> str:
        """One sentence with place, expected and got."""
        place = f" at {self.path}" if self.path else ""
        return f"expected {self.expected}{place}, got {self.got}"


RAW_SIZE_MAX: Final = 4_096


@dataclass(slots=True)
class Scanned:
    """What one block of lines turned into.

    Attributes
    ----------
    columns
        The accepted events, in line order.
    rejected
        The refused lines, in line order.
    line_count
        Lines in the block, refused ones included.
    unknown_fields
        How often each field we do not know stood on an accepted event.
    """

    columns: EventColumns
    rejected: list[Rejected]
    line_count: int
    unknown_fields: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HashKey:
    """The key of every identifier hash; it lives with the data folder and never in an id."""

    low: int = 0
    high: int = 0

    def as_array(self) -> NDArray[np.uint64]:
        """Return shape (2,) uint64, as kernels take it."""
        return np.array([self.low, self.high], dtype=np.uint64)


def code_table(names: tuple[str, ...]) -> dict[str, int]:
    """Return name -> code, leaving out the code 0 of absence."""
    return {name: code for code, name in enumerate(names) if name}


def describe_row(row: Any) -> dict[str, int]:
    """Return one row as a dict of plain numbers, for messages and tests."""
    return {name: int(row[name]) for name in ROW.names or () if name != "padding"}
