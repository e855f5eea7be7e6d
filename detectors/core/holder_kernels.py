"""Holders and parties in kernels: who is behind an account, and whose name is to be learnt."""

from typing import Any

import numpy as np

from detectors.core.tables import find, insert, mix
from schemas.jit import Int, inlined, kernel


@kernel
def holder_of(arrays: Any, account_1: Int, account_2: Int) -> Any:
    """Return the account's row, or -1."""
    return find(arrays.holder_heads, arrays.holders, account_1, account_2)


@kernel
def new_holder(arrays: Any, account_1: Int, account_2: Int) -> Any:
    """Give an account a row with nothing on file."""
    index = insert(
        arrays.holder_heads, arrays.holders, arrays.holder_counters, account_1, account_2
    )
    holder = arrays.holders[index]
    holder["registrations"] = 0
    holder["owner_1"] = 0
    holder["group_1"] = 0
    holder["name_start"] = 0
    holder["name_size"] = 0
    return index


@inlined
def note_name(i: Int, notes: Any) -> None:
    """Note that row ``i``'s account needs the names that stand there; -1 - i: its counterparty."""
    fresh, _, progress = notes
    fresh[progress[1]] = i
    progress[1] += 1


@kernel
def greet(arrays: Any, row: Any, i: Int, notes: Any) -> Any:
    """Return the row of the row's account, a new one where it has none."""
    index = holder_of(arrays, row["account_1"], row["account_2"])
    if index < 0:
        index = new_holder(arrays, row["account_1"], row["account_2"])
        note_name(i, notes)
    return index


@kernel
def greet_counterparty(arrays: Any, row: Any, i: Int, notes: Any) -> Any:
    """Return the row of the counterparty that the row names, a new one where it has none."""
    index = holder_of(arrays, row["counter_1"], row["counter_2"])
    if index < 0:
        index = new_holder(arrays, row["counter_1"], row["counter_2"])
        note_name(-1 - i, notes)
    return index


@kernel
def party_of(arrays: Any, step: Any, row: Any, shared_1: Int, notes: Any) -> Any:
    """Return the party's row in the row's instrument, a new one where it has none.

    ``shared_1`` is the hash of what its accounts share.
    """
    by = np.uint64(step["shared_by"])
    key_1 = mix(shared_1, row["instrument_1"] + by)
    key_2 = mix(row["instrument_1"], shared_1 ^ row["venue_1"])
    index = find(arrays.party_heads, arrays.parties, key_1, key_2)
    if index >= 0:
        return index
    index = insert(arrays.party_heads, arrays.parties, arrays.party_counters, key_1, key_2)
    party = arrays.parties[index]
    party["instrument"] = step["instrument"]
    party["holder"] = step["account"]
    party["shared_by"] = step["shared_by"]
    _, founded, progress = notes
    founded[progress[2]] = index
    progress[2] += 1
    return index
