"""What one shard remembers of its accounts: accounts, orders, contracts, instruments, duplicates.

One row an account, an open order, an account x instrument and an instrument, in chained tables
(for the third see ``detectors.core.contract_table``);
duplicates in two sets of 128-bit keys that rotate with the lane's own time.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract_table import ContractTable
from detectors.core.duplicates import SEEN_FORCED, Seen
from detectors.core.registrations import REGISTRATION, Registrations
from detectors.core.tables import Table

_KEYS: Final = [("key_1", "<u8"), ("key_2", "<u8"), ("next", "<i4")]

ACCOUNT: Final = np.dtype(
    [
        *_KEYS,
        ("registrations", "<i4"),  # index + 1 of its first registration; 0 for none
        ("flags", "u1"),
        ("claimed", "u1"),
        ("padding", "u1", (2,)),
        ("last_s", "<u4"),  # latest event time, seconds since 1970
    ]
)
SENDS_TRIPS: Final = 1  # the sender counts round trips itself: ours are not built
FILED: Final = 2  # an owner or a control group was put on file, which instrument shards keep

ORDER: Final = np.dtype(
    [
        *_KEYS,
        ("contract", "<i4"),
        ("quantity_e8", "<i8"),  # entered or replaced to, less what was withdrawn
        ("filled_e8", "<i8"),
        ("entered_ns", "<i8"),
        ("filled_ns", "<i8"),  # of the latest fill; 0 for none
        ("ended_ns", "<i8"),  # when nothing was left of it; 0 for not yet
        ("pnl_e8", "<i8"),  # of its closing fills so far
        ("day", "<i4"),
        ("time_in_force", "u1"),
        ("state", "u1"),
        ("what", "u1"),  # SIMULATED_ORDER
        ("side", "u1"),
    ]
)
ORDER_CANCELED: Final = 1  # the customer has cancelled of it
ORDER_CLOSING: Final = 2  # it has had a closing fill
ORDER_DONE: Final = 4  # nothing is left of it
ORDER_UNSEEN: Final = 8  # only its fills are known
SIMULATED_ORDER: Final = 1

INSTRUMENT: Final = np.dtype(
    [
        *_KEYS,
        ("calendar", "<i4"),
        ("rules", "<u8"),
        ("day_start_ns", "<i8"),  # the trading day last looked up, so that most rows need not
        ("day_end_ns", "<i8"),
        ("day", "<i4"),
        ("padding", "u1", (4,)),
    ]
)

# ``totals``: counts since the beginning, part of the state.
TOTAL_NAMES: Final = (
    "events",
    "late",
    "duplicates",
    "unknown_orders",
    "repeated_orders",
    "without_account",
    "unseen_positions",
    "accounts_let_go",
    "accounts_forgotten",
    "positions_forgotten",
)
EVENTS, LATE, DUPLICATES, UNKNOWN_ORDERS, REPEATED, WITHOUT_ACCOUNT, UNSEEN = range(7)
LET_GO, FORGOTTEN, POSITIONS_FORGOTTEN = range(7, len(TOTAL_NAMES))


class StageArrays(NamedTuple):
    """Everything the kernel touches, as one argument."""

    account_heads: NDArray[np.int32]
    accounts: NDArray[np.void]
    account_counters: NDArray[np.int64]
    order_heads: NDArray[np.int32]
    orders: NDArray[np.void]
    order_counters: NDArray[np.int64]
    contract_heads: NDArray[np.int32]
    contracts: NDArray[np.void]
    contract_counters: NDArray[np.int64]
    trips: NDArray[np.void]
    trip_counters: NDArray[np.int64]
    instrument_heads: NDArray[np.int32]
    instruments: NDArray[np.void]
    registrations: NDArray[np.void]
    seen_slots: NDArray[np.uint64]
    seen_keys: NDArray[np.uint64]
    seen_meta: NDArray[np.int64]
    totals: NDArray[np.int64]
    day_starts: NDArray[np.int64]
    day_numbers: NDArray[np.int32]


class StageSettings(NamedTuple):
    """Fixed numbers of a run, as the kernel takes them.

    Attributes
    ----------
    lateness_ns
        How far behind its lane's time a row may stand.
    lateness_most_ns
        The most that any source is allowed.
    late_sources, late_ns
        Shape (k,): sources (``source_1``) with a lateness of their own, and what it is.
    duplicate_window_ns
        How often the duplicate sets rotate, lane time.
    duplicates_max
        Keys a duplicate set holds before it is rotated early.
    order_age_ns
        An order older than this is taken as gone.
    silent_ns
        Who had no event for so long begins anew, as does a position without fills; 0: nobody.
    rules_anywhere
        Rules that apply to rows without an instrument.
    zone_day_ns
        Where a day begins on the default calendar, ns after midnight UTC.
    """

    lateness_ns: int
    lateness_most_ns: int
    late_sources: NDArray[np.uint64]
    late_ns: NDArray[np.int64]
    duplicate_window_ns: int
    duplicates_max: int
    order_age_ns: int
    silent_ns: int
    rules_anywhere: np.uint64
    zone_day_ns: int


@dataclass(slots=True)
class AccountState:
    """The tables of one shard."""

    accounts: Table = field(default_factory=lambda: Table.of(ACCOUNT))
    orders: Table = field(default_factory=lambda: Table.of(ORDER))
    instruments: Table = field(default_factory=lambda: Table.of(INSTRUMENT))
    registrations: Registrations = field(default_factory=Registrations)
    seen: Seen = field(default_factory=Seen)
    totals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TOTAL_NAMES), np.int64))

    # Lanes other than the one whose turn it is. Each one's sets rotate by its own lane's time.
    seen_elsewhere: dict[int, Seen] = field(default_factory=dict)
    lane: int = 0
    contracts: ContractTable = field(init=False)

    def __post_init__(self) -> None:
        """Make an empty table of contracts."""
        self.contracts = ContractTable.of(self.accounts, self.instruments)

    def turn_to(self, lane: int) -> None:
        """Take the duplicate sets of a lane for the rows to come."""
        if lane == self.lane:
            return
        self.seen_elsewhere[self.lane] = self.seen
        self.lane = lane
        self.seen = self.seen_elsewhere.pop(lane) if lane in self.seen_elsewhere else Seen()

    @property
    def forced_rotations(self) -> int:
        """How often a full set was rotated early."""
        lanes = [self.seen, *self.seen_elsewhere.values()]
        return sum(int(seen.meta[SEEN_FORCED]) for seen in lanes)

    def arrays(self, day_starts: Any, day_numbers: Any) -> StageArrays:
        """Bundle the arrays for the kernel."""
        return StageArrays(
            self.accounts.heads,
            self.accounts.rows,
            self.accounts.counters,
            self.orders.heads,
            self.orders.rows,
            self.orders.counters,
            self.contracts.heads,
            self.contracts.rows,
            self.contracts.counters,
            self.contracts.trips,
            self.contracts.trip_counters,
            self.instruments.heads,
            self.instruments.rows,
            self.registrations.entries,
            self.seen.slots,
            self.seen.keys,
            self.seen.meta,
            self.totals,
            day_starts,
            day_numbers,
        )

    def dump(self) -> dict[str, Any]:
        """Return everything, for a snapshot to copy."""
        return {
            "tables": [t.dump() for t in (self.accounts, self.orders, self.instruments)],
            "contracts": self.contracts.dump(),
            "registrations": (self.registrations.entries.view(np.uint8), self.registrations.free),
            "seen": {
                self.lane: self.seen.dump(),
                **{lane: seen.dump() for lane, seen in self.seen_elsewhere.items()},
            },
            "lane": self.lane,
            "totals": self.totals.tolist(),
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "AccountState":
        """Rebuild from a dump."""
        dtypes = (ACCOUNT, ORDER, INSTRUMENT)
        tables = [Table.load(d, t) for d, t in zip(dtypes, dumped["tables"], strict=True)]
        elsewhere = {lane: Seen.load(seen) for lane, seen in dumped["seen"].items()}
        entries, free = dumped["registrations"]
        accounts, orders, instruments = tables
        state = cls(
            accounts,
            orders,
            instruments,
            registrations=Registrations(np.frombuffer(entries, REGISTRATION).copy(), free),
            seen=elsewhere.pop(dumped["lane"]),
            seen_elsewhere=elsewhere,
            lane=dumped["lane"],
            totals=np.array(dumped["totals"], np.int64),
        )
        state.contracts = ContractTable.load(accounts, instruments, dumped["contracts"])
        return state
