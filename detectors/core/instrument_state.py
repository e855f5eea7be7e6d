"""What one instrument shard remembers: who is behind accounts, trades' first reports, parties.

Its rows come in order of time (``flows.align``), so what is too old is always what came first.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.registrations import REGISTRATION, Registrations
from detectors.core.tables import Table

_KEYS: Final = [("key_1", "<u8"), ("key_2", "<u8"), ("next", "<i4")]

# An account with an owner, a control group or a registration on file, or that traded with itself.
HOLDER: Final = np.dtype(
    [
        *_KEYS,
        ("registrations", "<i4"),  # index + 1 of its first registration; 0 for none
        ("owner_1", "<u8"),
        ("group_1", "<u8"),
        ("name_start", "<i8"),  # into ``InstrumentState.names``
        ("name_size", "<i4"),
        ("padding", "u1", (4,)),
    ]
)
TRADED: Final = np.dtype(
    [
        *_KEYS,
        ("day", "<i4"),
        ("rules", "<u8"),
        ("day_end_ns", "<i8"),
        ("fills", "<i8"),  # of the day so far
        ("one_sided", "<i8"),  # of these, fills of which nobody has said with whom
        ("full_day", "<i4"),  # the last on which an account of it was left out; -1: none
    ]
)
# The first report of a trade, kept until the other side's has come or can come no more.
SIDE: Final = np.dtype(
    [
        *_KEYS,
        ("younger", "<i4"),  # index + 1 of the one that came next; 0 for none
        ("account_1", "<u8"),
        ("account_2", "<u8"),
        ("time_ns", "<i8"),
        ("position", "<i8"),
        ("day", "<i4"),
        ("side", "u1"),
        ("state", "u1"),
        ("padding", "u1", (2,)),
    ]
)
SIDE_ALONE: Final = 0  # nobody has said who stood on the other side
SIDE_TOLD: Final = 1  # a self-trade, told
SIDE_DONE: Final = 2  # both sides are known; nothing more can come of it
SIDE_APART: Final = 3  # a trade of strangers, told
PARTY: Final = np.dtype(
    [
        *_KEYS,
        ("instrument", "<i4"),
        ("holder", "<i4"),  # an account of it, which knows its name
        ("shared_by", "u1"),
        ("padding", "u1", (3,)),
    ]
)
# An account in an instrument that it traded, where a rule on pairs or traders looks.
TRADER: Final = np.dtype(
    [
        *_KEYS,
        ("holder", "<i4"),
        ("instrument", "<i4"),
        ("day", "<i4"),
        ("day_end_ns", "<i8"),
        ("trades", "<i8"),  # of the day, those with itself too; told by whom it may be
    ]
)
# Two accounts that are no one party and traded with each other in an instrument.
PAIR: Final = np.dtype(
    [
        *_KEYS,
        ("traders", "<i4", (2,)),
        ("day", "<i4"),
        ("day_end_ns", "<i8"),
        ("onset_ns", "<i8"),  # first trade of the day
        ("trades", "<i8"),
        ("bought_e8", "<i8", (2,)),  # what each of them bought from the other
    ]
)
# What two accounts share that makes them one party; the widest that holds counts.
BY_NOTHING, BY_ACCOUNT, BY_OWNER, BY_GROUP = range(4)

TRADE: Final = np.dtype(
    [
        ("rules", "<u8"),  # bit per rule under which the instrument falls
        ("what", "<u4"),
        ("registered", "u1"),  # exemptions on file for either side at this moment
        ("claimed", "u1"),
        ("shared_by", "u1"),
        ("kind", "u1"),
        ("account", "<i4"),  # row of the table of holders; -1 for none
        ("counter", "<i4"),  # that of the other side; -1 where it is unknown or no holder
        ("contract", "<i4"),  # row of the table of parties, where both sides are one; else -1
        ("instrument", "<i4"),
        ("day", "<i4"),
        ("side", "u1"),
        ("is_first_report", "u1"),  # 1: nobody told the trade before
        # What is on file for the row's account and for its counterparty, where they are traders.
        ("trader_registered", "u1", (2,)),
        ("time_ns", "<i8"),
        ("day_end_ns", "<i8"),
        ("position", "<i8"),
        ("other_position", "<i8"),  # of the first report, where this one is the second; else -1
        ("quantity_e8", "<i8"),
        ("price_e8", "<i8"),
        ("age_ns", "<i8"),
        ("fills", "<i8"),  # of the instrument's day, this one included
        ("one_sided", "<i8"),  # of these, fills of which nobody has said with whom
        # Rows of the table of traders: the row's account and its counterparty, each where the row
        # is the first to say that it was on that side; else -1.
        ("traders", "<i4", (2,)),
        # Where both sides are no one party: row of the table of pairs, else -1; and what is known
        # of its day, this trade included.
        ("pair", "<i4"),
        ("pair_holders", "<i4", (2,)),
        ("pair_onset_ns", "<i8"),
        ("pair_trades", "<i8"),
        ("pair_bought_e8", "<i8", (2,)),  # what each bought from the other
        ("pair_all_trades", "<i8", (2,)),  # what each traded in the instrument, with whomever
    ]
)

TOTAL_NAMES: Final = (
    "aligned_fills",
    "one_sided_fills",
    "sides_forgotten_early",
    "trades_left_out_of_pairs",
)
FILLS, ONE_SIDED, FORGOTTEN_EARLY, LEFT_OUT = range(len(TOTAL_NAMES))
OLDEST, YOUNGEST = range(2)  # ``fifo``: index + 1 of the sides that came first and last; 0: none


class InstrumentArrays(NamedTuple):
    """Everything the kernel touches, as one argument."""

    holder_heads: NDArray[np.int32]
    holders: NDArray[np.void]
    holder_counters: NDArray[np.int64]
    instrument_heads: NDArray[np.int32]
    instruments: NDArray[np.void]
    side_heads: NDArray[np.int32]
    sides: NDArray[np.void]
    side_counters: NDArray[np.int64]
    fifo: NDArray[np.int64]
    party_heads: NDArray[np.int32]
    parties: NDArray[np.void]
    party_counters: NDArray[np.int64]
    trader_heads: NDArray[np.int32]
    traders: NDArray[np.void]
    trader_counters: NDArray[np.int64]
    pair_heads: NDArray[np.int32]
    pairs: NDArray[np.void]
    pair_counters: NDArray[np.int64]
    registrations: NDArray[np.void]
    totals: NDArray[np.int64]


class InstrumentSettings(NamedTuple):
    """Fixed numbers of a run, as the kernel takes them.

    Attributes
    ----------
    side_window_ns
        How long a trade's first report waits for the second, event time.
    sides_max
        First reports held at once; the oldest is let go beyond.
    traders_max
        Accounts in an instrument held at once, and as many pairs; later ones are left out beyond.
    trader_rules
        Bits of ``TRADE.rules``: rules on pairs or traders that look at trades.
    pair_rules
        Of these, those on pairs.
    order_trader_rules, order_party_rules
        Rules on traders, and on parties, that look at orders.
    """

    side_window_ns: int
    sides_max: int
    traders_max: int
    trader_rules: np.uint64
    pair_rules: np.uint64
    order_trader_rules: np.uint64
    order_party_rules: np.uint64


@dataclass(slots=True)
class InstrumentState:
    """The tables of one instrument shard.

    Attributes
    ----------
    names
        Of each holder that has one: tenant, account, owner and control group, zero bytes between.
    """

    holders: Table = field(default_factory=lambda: Table.of(HOLDER))
    instruments: Table = field(default_factory=lambda: Table.of(TRADED))
    sides: Table = field(default_factory=lambda: Table.of(SIDE))
    parties: Table = field(default_factory=lambda: Table.of(PARTY))
    traders: Table = field(default_factory=lambda: Table.of(TRADER))
    pairs: Table = field(default_factory=lambda: Table.of(PAIR))
    registrations: Registrations = field(default_factory=Registrations)
    fifo: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    totals: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TOTAL_NAMES), np.int64))
    names: bytearray = field(default_factory=bytearray)
    dead_bytes: int = 0  # of ``names``, in nobody's use

    def arrays(self) -> InstrumentArrays:
        """Bundle the arrays for the kernel."""
        return InstrumentArrays(
            self.holders.heads,
            self.holders.rows,
            self.holders.counters,
            self.instruments.heads,
            self.instruments.rows,
            self.sides.heads,
            self.sides.rows,
            self.sides.counters,
            self.fifo,
            self.parties.heads,
            self.parties.rows,
            self.parties.counters,
            self.traders.heads,
            self.traders.rows,
            self.traders.counters,
            self.pairs.heads,
            self.pairs.rows,
            self.pairs.counters,
            self.registrations.entries,
            self.totals,
        )

    def name_of(self, holder: int) -> list[str]:
        """Return tenant, account, owner and control group of a holder, empty where it has none."""
        row = self.holders.rows[holder]
        start = int(row["name_start"])
        return self.names[start : start + int(row["name_size"])].decode().split("\0")

    def set_names(self, holders: NDArray[np.int32], names: list[bytes]) -> None:
        """Give holders their names, each in the place of the one it had; the last one stands."""
        sizes = np.array([len(name) for name in names])
        rows = self.holders.rows
        rows["name_start"][holders] = len(self.names) + np.cumsum(sizes) - sizes
        changed = np.unique(holders)
        before = int(rows["name_size"][changed].sum())
        rows["name_size"][holders] = sizes
        after = int(rows["name_size"][changed].sum())
        self.names += b"".join(names)
        self.dead_bytes += before + int(sizes.sum()) - after
        if 2 * self.dead_bytes > len(self.names):
            self._pack_names()

    def drop_names(self, holders: NDArray[np.int64]) -> None:
        """Let go of the names of holders whose rows others may have from now on."""
        rows = self.holders.rows
        self.dead_bytes += int(rows["name_size"][holders].sum())
        rows["name_size"][holders] = 0
        if 2 * self.dead_bytes > len(self.names):
            self._pack_names()

    def _pack_names(self) -> None:
        packed = bytearray()
        for index in self.holders.live_indices():
            row = self.holders.rows[index]
            start, size = int(row["name_start"]), int(row["name_size"])
            row["name_start"] = len(packed)
            packed += self.names[start : start + size]
        self.names, self.dead_bytes = packed, 0

    def _tables(self) -> tuple[Table, ...]:
        own = self.holders, self.instruments, self.sides, self.parties
        return (*own, self.traders, self.pairs)

    def dump(self) -> dict[str, Any]:
        """Copy everything, for a snapshot."""
        return {
            "tables": [table.dump() for table in self._tables()],
            "registrations": (self.registrations.entries.tobytes(), self.registrations.free),
            "fifo": self.fifo.tolist(),
            "totals": self.totals.tolist(),
            "names": bytes(self.names),
            "dead_bytes": self.dead_bytes,
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "InstrumentState":
        """Rebuild from a dump."""
        dtypes = (HOLDER, TRADED, SIDE, PARTY, TRADER, PAIR)
        tables = [Table.load(d, t) for d, t in zip(dtypes, dumped["tables"], strict=True)]
        holders, instruments, sides, parties, traders, pairs = tables
        entries, free = dumped["registrations"]
        return cls(
            holders,
            instruments,
            sides,
            parties,
            traders,
            pairs,
            registrations=Registrations(np.frombuffer(entries, REGISTRATION).copy(), free),
            fifo=np.array(dumped["fifo"], np.int64),
            totals=np.array(dumped["totals"], np.int64),
            names=bytearray(dumped["names"]),
            dead_bytes=dumped["dead_bytes"],
        )
