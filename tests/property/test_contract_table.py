"""The table of contracts and their round trips behaves as a dictionary does."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.core.account_state import AccountState
from detectors.core.contract_table import (
    add_contract,
    contract_key,
    find_contract,
    give_trip,
    take_trip,
)
from detectors.core.tables import insert

ACCOUNTS, INSTRUMENTS = 40, 5
Pair = tuple[int, int]
PAIRS = st.tuples(st.integers(0, ACCOUNTS - 1), st.integers(0, INSTRUMENTS - 1))
ACTS = st.lists(st.tuples(st.sampled_from(["add", "add", "trip", "remove"]), PAIRS), max_size=300)


def new_state() -> AccountState:
    """Return a state with accounts and instruments of few keys, so that chains are long."""
    state = AccountState()
    for table, count in ((state.accounts, ACCOUNTS), (state.instruments, INSTRUMENTS)):
        for number in range(1, count + 1):
            keys = np.uint64(number % 3 + 1), np.uint64(number)
            insert(table.heads, table.rows, table.counters, *keys)
    return state


def key_of(state: AccountState, pair: Pair) -> Any:
    account, instrument = state.accounts.rows[pair[0]], state.instruments.rows[pair[1]]
    with np.errstate(over="ignore"):  # words wrap around; only uncompiled kernels warn
        return np.uint64(contract_key(account["key_1"], instrument["key_1"]))


def found(state: AccountState, pair: Pair) -> int:
    table = state.contracts
    return int(find_contract(table.heads, table.rows, key_of(state, pair), *pair))


def positions(state: AccountState) -> dict[Pair, int]:
    """Return the position of each contract that its pair leads to; 0 without a round trip."""
    held = {}
    pairs = [(a, i) for a in range(ACCOUNTS) for i in range(INSTRUMENTS)]
    for pair in pairs:
        if (index := found(state, pair)) >= 0:
            trip = int(state.contracts.rows["trip"][index])
            held[pair] = int(state.contracts.trips["position_e8"][trip - 1]) if trip else 0
    return held


def act(state: AccountState, twin: dict[Pair, int], what: str, pair: Pair, number: int) -> None:
    """Add a contract, begin or end its round trip, or remove it if it has none."""
    state.contracts.reserve(1)
    arrays = state.arrays(None, None)
    index = found(state, pair)
    if what == "add" and index < 0:
        add_contract(arrays, key_of(state, pair), *pair)
        twin[pair] = 0
    elif what == "trip" and index >= 0 and twin[pair] == 0:
        state.contracts.trips["position_e8"][take_trip(arrays, index)] = number
        twin[pair] = number
    elif what == "trip" and index >= 0:
        give_trip(arrays, index)
        twin[pair] = 0
    elif what == "remove" and index >= 0 and twin[pair] == 0:
        state.contracts.remove(np.array([index]))
        del twin[pair]


@given(ACTS)
@settings(max_examples=30, deadline=None)
def test_contracts_are_found_grown_removed_and_taken_up(acts: list[tuple[str, Pair]]) -> None:
    state, twin = new_state(), dict[Pair, int]()
    for number, (what, pair) in enumerate(acts, 1):
        act(state, twin, what, pair, number)
    assert positions(state) == twin
    assert len(state.contracts) == len(twin) == len(state.contracts.live_indices())
    again = AccountState.load(state.dump())
    assert positions(again) == twin
    assert again.contracts.trip_counters.tolist() == state.contracts.trip_counters.tolist()


def test_many_contracts_and_trips_have_room() -> None:
    state, twin = new_state(), dict[Pair, int]()
    pairs = [(a, i) for a in range(ACCOUNTS) for i in range(INSTRUMENTS)]
    for what in ("add", "trip"):
        for number, pair in enumerate(pairs, 1):
            act(state, twin, what, pair, number)
    assert positions(state) == {pair: number for number, pair in enumerate(pairs, 1)}
    assert len(state.contracts.rows) <= len(state.contracts.heads)
