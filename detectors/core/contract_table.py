"""The contract table: one small row an account x instrument, and one more while its trip is open.

A contract is found by its account's and its instrument's row numbers, which it has to hold anyway;
where its chain begins follows from their keys, so that it can be asked for before they are found.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.tables import (
    CAPACITY_MIN,
    FREE,
    LIVE,
    USED,
    Chained,
    Table,
    empty_heads,
    grown,
    mix,
)
from schemas.jit import Int, inlined, kernel
from schemas.whole_rows import copied, put

CONTRACT: Final = np.dtype(
    [
        ("account", "<i4"),  # row of the account table; -1: a free row
        ("instrument", "<i4"),  # row of the instrument table
        ("next", "<i4"),
        ("trip", "<i4"),  # index + 1 of its open round trip; 0 for none
    ]
)
# A round trip that has begun: nothing of it is needed once the position is zero again.
OPEN_TRIP: Final = np.dtype(
    [
        ("position_e8", "<i8"),
        ("cash_high", "<i8"),  # 10^-16 units
        ("cash_low", "<u8"),
        ("given_pnl_e8", "<i8"),  # realized profit that the sender gave
        ("without_pnl", "u1"),  # the sender gave no profit on some closing fill
        ("padding", "u1"),
        ("last_day", "<u2"),  # of its latest fill, days since 1970
        ("next", "<i4"),  # index + 1 of the next free one
    ]
)


@inlined
def contract_key(account_1: Int, instrument_1: Int) -> Any:
    """Return what says in which chain a contract stands."""
    return mix(account_1, instrument_1)


@inlined
def find_contract(heads: Any, rows: Any, key: Int, account: Int, instrument: Int) -> Any:
    """Return the index of a contract's row, or -1."""
    index = np.int64(heads[key & np.uint64(len(heads) - 1)])
    while index >= 0:
        row = rows[index]
        if row["account"] == account and row["instrument"] == instrument:
            return index
        index = np.int64(row["next"])
    return np.int64(-1)


@kernel
def add_contract(arrays: Any, key: Int, account: Int, instrument: Int) -> Any:
    """Give a contract that has none a row; return its index."""
    counters, rows, heads = arrays.contract_counters, arrays.contracts, arrays.contract_heads
    if counters[FREE] > 0:
        index = np.int64(counters[FREE] - 1)
        counters[FREE] = rows[index]["next"]
    else:
        index = np.int64(counters[USED])
        counters[USED] += 1
    counters[LIVE] += 1
    slot = key & np.uint64(len(heads) - 1)
    rows[index]["account"] = account
    rows[index]["instrument"] = instrument
    rows[index]["trip"] = 0
    rows[index]["next"] = heads[slot]
    heads[slot] = index
    return index


@kernel
def take_trip(arrays: Any, contract: Int) -> Any:
    """Give a contract a round trip; return its index.

    Its fields are whatever its last user left: the caller sets them all.
    """
    counters = arrays.trip_counters
    if counters[FREE] > 0:
        index = np.int64(counters[FREE] - 1)
        counters[FREE] = arrays.trips[index]["next"]
    else:
        index = np.int64(counters[USED])
        counters[USED] += 1
    counters[LIVE] += 1
    arrays.contracts[contract]["trip"] = index + 1
    return index


@kernel
def give_trip(arrays: Any, contract: Int) -> None:
    """End a contract's round trip."""
    counters = arrays.trip_counters
    index = np.int64(arrays.contracts[contract]["trip"]) - 1
    arrays.contracts[contract]["trip"] = 0
    arrays.trips[index]["next"] = counters[FREE]
    counters[FREE] = index + 1
    counters[LIVE] -= 1


@kernel
def _slot_of(heads: Any, contract: Any, accounts: Any, instruments: Any) -> Any:
    account, instrument = accounts[contract["account"]], instruments[contract["instrument"]]
    key = contract_key(account["key_1"], instrument["key_1"])
    return key & np.uint64(len(heads) - 1)


@kernel
def _chain_all(heads: Any, rows: Any, indices: Any, accounts: Any, instruments: Any) -> None:
    for index in indices:
        slot = _slot_of(heads, rows[index], accounts, instruments)
        rows[index]["next"] = heads[slot]
        heads[slot] = index


@kernel
def _remove_all(table: Any, indices: Any, accounts: Any, instruments: Any) -> None:
    heads, rows, counters = table
    for index in indices:
        slot = _slot_of(heads, rows[index], accounts, instruments)
        if heads[slot] == index:
            heads[slot] = rows[index]["next"]
        else:
            before = np.int64(heads[slot])
            while rows[before]["next"] != index:
                before = np.int64(rows[before]["next"])
            rows[before]["next"] = rows[index]["next"]
        rows[index]["account"] = -1
        rows[index]["next"] = counters[FREE]
        counters[FREE] = index + 1
        counters[LIVE] -= 1


@dataclass(slots=True)
class ContractTable(Chained):
    """Contracts of a shard and their open round trips; see the module's words.

    Attributes
    ----------
    rows
        Of dtype ``CONTRACT``.
    accounts, instruments
        The tables that contracts' keys stand in.
    trips, trip_counters
        Of dtype ``OPEN_TRIP``, and used, free, live.
    """

    accounts: Table
    instruments: Table
    trips: NDArray[np.void]
    trip_counters: NDArray[np.int64]

    @classmethod
    def of(cls, accounts: Table, instruments: Table) -> "ContractTable":
        """Make an empty table."""
        rows, trips = np.zeros(CAPACITY_MIN, CONTRACT), np.zeros(CAPACITY_MIN, OPEN_TRIP)
        counters, trip_counters = np.zeros(3, np.int64), np.zeros(3, np.int64)
        heads = empty_heads(CAPACITY_MIN)
        return cls(rows, heads, counters, accounts, instruments, trips, trip_counters)

    @property
    def spare(self) -> int:
        """How many rows that bring a contract or begin a round trip there is room for."""
        trips = len(self.trips) - int(self.trip_counters[LIVE])
        return min(len(self.rows) - len(self), trips)

    def reserve(self, extra: int) -> None:
        """Make room for ``extra`` contracts, and for as many round trips."""
        trips_used, trips = (int(self.trip_counters[k]) for k in (USED, LIVE))
        self.trips = grown(self.trips, trips_used, trips + extra)
        self.rows = grown(self.rows, self.used, len(self) + extra)
        if len(self.rows) > len(self.heads):
            self._chain()

    def _chain(self) -> None:
        self.heads = empty_heads(len(self.rows))
        keys = self.accounts.rows, self.instruments.rows
        with np.errstate(over="ignore"):  # only uncompiled kernels warn
            _chain_all(self.heads, self.rows, self.live_indices(), *keys)

    def live_indices(self) -> NDArray[np.int64]:
        """Return the indices in use, ascending."""
        return np.flatnonzero(self.rows["account"][: self.used] >= 0)

    def remove(self, indices: NDArray[np.int64]) -> None:
        """Take contracts without an open round trip out; their accounts must still be there."""
        keys = self.accounts.rows, self.instruments.rows
        with np.errstate(over="ignore"):  # as above
            _remove_all((self.heads, self.rows, self.counters), indices, *keys)

    def dump(self) -> dict[str, Any]:
        """Return what has been used, for a snapshot to copy."""
        trips = int(self.trip_counters[USED])
        return {
            "rows": self.rows[: self.used].view(np.uint8),
            "counters": self.counters.tolist(),
            "capacity": len(self.rows),
            "trips": self.trips[:trips].view(np.uint8),
            "trip_counters": self.trip_counters.tolist(),
        }

    @classmethod
    def load(cls, accounts: Table, instruments: Table, dumped: dict[str, Any]) -> "ContractTable":
        """Rebuild a table from its dump."""
        table = cls.of(accounts, instruments)
        table.counters[:], table.trip_counters[:] = dumped["counters"], dumped["trip_counters"]
        table.rows = np.zeros(dumped["capacity"], CONTRACT)
        put(table.rows[: table.used], np.frombuffer(dumped["rows"], CONTRACT))
        table.trips = copied(np.frombuffer(dumped["trips"], OPEN_TRIP))
        # ``next`` of free rows is the free list and stays; chains of live rows are made anew.
        table._chain()  # noqa: SLF001 - of the same class
        return table
