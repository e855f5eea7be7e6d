"""Where a row belongs: its account, its instrument, both together, and its trading day."""

from typing import Any, Final

import numpy as np

from detectors.core.contract_table import add_contract, contract_key, find_contract
from detectors.core.registrations import registered
from detectors.core.tables import find, insert
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

DAY_NS: Final = 86_400 * SECOND_NS


@kernel
def _day_index(starts: Any, time_ns: Int) -> Any:
    """Return the last index whose start is at or before the time; -1 for none. Bisection."""
    low, high = np.int64(0), np.int64(len(starts))
    while low < high:
        middle = (low + high) // 2
        if starts[middle] <= time_ns:
            low = middle + 1
        else:
            high = middle
    return low - 1


@kernel
def _look_up_day(arrays: Any, instrument: Any, time_ns: Int, zone_day_ns: Int) -> None:
    """Note the trading day: the calendar's, or a day of UTC shifted by ``zone_day_ns``."""
    if instrument["calendar"] > 0:
        starts = arrays.day_starts[instrument["calendar"] - 1]
        index = _day_index(starts, time_ns)
        if 0 <= index < len(starts) - 1:
            instrument["day"] = arrays.day_numbers[instrument["calendar"] - 1, index]
            instrument["day_start_ns"] = starts[index]
            instrument["day_end_ns"] = starts[index + 1]
            return
    day = (time_ns - zone_day_ns) // DAY_NS
    instrument["day"] = day
    instrument["day_start_ns"] = day * DAY_NS + zone_day_ns
    instrument["day_end_ns"] = (day + 1) * DAY_NS + zone_day_ns


@inlined
def account_of(arrays: Any, row: Any) -> Any:
    """Return the account's row, or -1."""
    return find(arrays.account_heads, arrays.accounts, row["account_1"], row["account_2"])


@kernel
def new_account(arrays: Any, row: Any) -> Any:
    """Give the row's account, which has none, a row in the table; return its index."""
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
    account["last_s"] = 0
    return index


@inlined
def is_silent(last_ns: Int, settings: Any, time_ns: Int) -> Any:
    """Say whether what ended at some time has been silent for so long that it begins anew."""
    return settings.silent_ns > 0 and last_ns + settings.silent_ns <= time_ns


@inlined
def instrument_of(arrays: Any, row: Any) -> Any:
    """Return the instrument's row, or -1."""
    heads, instruments = arrays.instrument_heads, arrays.instruments
    return find(heads, instruments, row["instrument_1"], row["venue_1"])


@kernel
def contract_of(arrays: Any, row: Any, account: Int, instrument: Int) -> Any:
    """Return the row of account x instrument, a new one where it is new."""
    key = contract_key(row["account_1"], row["instrument_1"])
    index = find_contract(arrays.contract_heads, arrays.contracts, key, account, instrument)
    return index if index >= 0 else add_contract(arrays, key, account, instrument)


@kernel
def place(arrays: Any, settings: Any, step: Any, contract: Int) -> None:
    """Fill in what follows from the instrument: rules, exemptions, trading day."""
    step["contract"] = contract
    instrument = arrays.instruments[arrays.contracts[contract]["instrument"]]
    step["rules"] = instrument["rules"]
    link = np.int64(arrays.accounts[step["account"]]["registrations"])
    if link > 0:
        step["registered"] = registered(
            arrays.registrations, link, instrument["key_1"], step["time_ns"]
        )
    if not instrument["day_start_ns"] <= step["time_ns"] < instrument["day_end_ns"]:
        _look_up_day(arrays, instrument, step["time_ns"], settings.zone_day_ns)
    step["day"] = instrument["day"]
    step["day_end_ns"] = instrument["day_end_ns"]
