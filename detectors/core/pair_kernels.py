"""Who trades with whom: each account's trades of the day in an instrument, and those of each pair.

A trade counts once for each of its sides: for the account that reports it first, and for the other
as soon as anybody says who that is. Kept only where a rule on pairs or traders looks. An account
that there is no room for is left out for its day in the instrument, with whoever comes after it: of
a pair that is told, all trades of both were counted.
"""

from typing import Any, Final

import numpy as np

from detectors.core import contract as c
from detectors.core.holder_kernels import greet, greet_counterparty
from detectors.core.instrument_state import LEFT_OUT
from detectors.core.registrations import registered
from detectors.core.tables import LIVE, find, insert, mix
from detectors.core.wide import add_held
from schemas.columns import SIDE
from schemas.jit import Int, inlined, kernel

_BUY: Final = SIDE["buy"]


@inlined
def follows_traders(step: Any, settings: Any) -> Any:
    """Say whether a rule on pairs or traders looks at the step's instrument."""
    return step["rules"] & settings.trader_rules != 0


@inlined
def _trader_keys(row: Any, account_1: Int, account_2: Int) -> Any:
    return mix(account_1, row["instrument_1"]), mix(account_2, row["venue_1"])


@kernel
def trader_of(arrays: Any, row: Any, account_1: Int, account_2: Int) -> Any:
    """Return the row of an account in the row's instrument, or -1."""
    key_1, key_2 = _trader_keys(row, account_1, account_2)
    return find(arrays.trader_heads, arrays.traders, key_1, key_2)


@kernel
def _add_trader(arrays: Any, step: Any, keys: Any, holder: Int) -> Any:
    index = insert(arrays.trader_heads, arrays.traders, arrays.trader_counters, keys[0], keys[1])
    trader = arrays.traders[index]
    trader["holder"] = holder
    trader["instrument"] = step["instrument"]
    trader["day"] = -1
    trader["day_end_ns"] = 0
    trader["trades"] = 0
    return index


@kernel
def note_trader(arrays: Any, row: Any, step: Any, index: Int, side: Int) -> None:
    """Fill in who stands on one of the step's sides, if anybody: 0 is the row's own account."""
    step["traders"][side] = index
    if index < 0:
        return
    link = np.int64(arrays.holders[arrays.traders[index]["holder"]]["registrations"])
    if link > 0:
        step["trader_registered"][side] = registered(
            arrays.registrations, link, row["instrument_1"], step["time_ns"]
        )


@kernel
def _roll(trader: Any, step: Any) -> None:
    if step["day"] > trader["day"]:
        trader["day"] = step["day"]
        trader["day_end_ns"] = step["day_end_ns"]
        trader["trades"] = 0


@kernel
def _count(arrays: Any, row: Any, step: Any, index: Int, side: Int) -> None:
    trader = arrays.traders[index]
    _roll(trader, step)
    trader["trades"] += 1
    note_trader(arrays, row, step, index, side)


@kernel
def _is_left_out(arrays: Any, settings: Any, step: Any) -> Any:
    """Say whether an account without a row stays without; count where it does."""
    instrument = arrays.instruments[step["instrument"]]
    is_full = arrays.trader_counters[LIVE] >= settings.traders_max
    if not is_full and instrument["full_day"] != step["day"]:
        return False
    instrument["full_day"] = step["day"]
    arrays.totals[LEFT_OUT] += 1
    return True


@kernel
def _own_trader(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> Any:
    """Return the row of the row's account in the instrument, a new one where there is room."""
    index = trader_of(arrays, row, row["account_1"], row["account_2"])
    if index < 0:
        if _is_left_out(arrays, settings, step):
            return index
        step["account"] = greet(arrays, row, i, notes)
        keys = _trader_keys(row, row["account_1"], row["account_2"])
        index = _add_trader(arrays, step, keys, np.int64(step["account"]))
    return index


@kernel
def meet_own(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> None:
    """Fill in the row's account as one of the instrument's traders, who did not trade here."""
    index = _own_trader(arrays, settings, row, i, step, notes)
    if index >= 0:
        _roll(arrays.traders[index], step)
    note_trader(arrays, row, step, index, np.int64(0))


@kernel
def count_own(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> Any:
    """Count a trade of the row's account; return its row in the instrument, or -1."""
    index = _own_trader(arrays, settings, row, i, step, notes)
    if index >= 0:
        _count(arrays, row, step, index, np.int64(0))
    return index


@kernel
def count_counterparty(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> Any:
    """Count a trade of the counterparty that the row names; return its row, or -1."""
    index = trader_of(arrays, row, row["counter_1"], row["counter_2"])
    if index < 0:
        if _is_left_out(arrays, settings, step):
            return index
        step["counter"] = greet_counterparty(arrays, row, i, notes)
        keys = _trader_keys(row, row["counter_1"], row["counter_2"])
        index = _add_trader(arrays, step, keys, np.int64(step["counter"]))
    _count(arrays, row, step, index, np.int64(1))
    return index


@inlined
def _pair_keys(arrays: Any, traders: Any) -> Any:
    """Return a pair's key: the same whichever of the two comes first."""
    one, other = arrays.traders[traders[0]], arrays.traders[traders[1]]
    return mix(one["key_1"] ^ other["key_1"], one["key_1"] + other["key_1"]), mix(
        one["key_2"] ^ other["key_2"], one["key_2"] + other["key_2"]
    )


@kernel
def _find_pair(arrays: Any, traders: Any) -> Any:
    key_1, key_2 = _pair_keys(arrays, traders)
    return find(arrays.pair_heads, arrays.pairs, key_1, key_2)


@kernel
def _add_pair(arrays: Any, traders: Any) -> Any:
    key_1, key_2 = _pair_keys(arrays, traders)
    index = insert(arrays.pair_heads, arrays.pairs, arrays.pair_counters, key_1, key_2)
    pair = arrays.pairs[index]
    for k in range(2):
        pair["traders"][k] = traders[k]
    pair["day"] = -1
    return index


@kernel
def _count_pair(pair: Any, row: Any, step: Any, own: Int) -> None:
    """Count a trade between the two, of which the row's account is ``own``."""
    if step["day"] > pair["day"]:
        pair["day"] = step["day"]
        pair["day_end_ns"] = step["day_end_ns"]
        pair["onset_ns"] = step["time_ns"]
        pair["trades"] = 0
        pair["bought_e8"][0] = 0
        pair["bought_e8"][1] = 0
    pair["trades"] += 1
    is_first = pair["traders"][0] == own
    buyer = 0 if is_first == (row["side"] == _BUY) else 1
    pair["bought_e8"][buyer] = add_held(pair["bought_e8"][buyer], step["quantity_e8"])


@kernel
def _tell(arrays: Any, row: Any, step: Any, index: Int) -> None:
    """Fill in what is known of a pair's day, and what is on file for either."""
    pair = arrays.pairs[index]
    step["pair"] = index
    step["pair_onset_ns"] = pair["onset_ns"]
    step["pair_trades"] = pair["trades"]
    for k in range(2):
        trader = arrays.traders[pair["traders"][k]]
        step["pair_holders"][k] = trader["holder"]
        step["pair_all_trades"][k] = trader["trades"]
        step["pair_bought_e8"][k] = pair["bought_e8"][k]
        link = np.int64(arrays.holders[trader["holder"]]["registrations"])
        if link > 0:
            step["registered"] |= registered(
                arrays.registrations, link, row["instrument_1"], step["time_ns"]
            )


@kernel
def on_strangers(arrays: Any, settings: Any, row: Any, step: Any, traders: Any) -> None:
    """Take a trade of two accounts that are no one party, the row's account first."""
    if step["rules"] & settings.pair_rules == 0:
        return
    if traders[0] < 0 or traders[1] < 0:
        return  # counted when there was no room for one of them
    index = _find_pair(arrays, traders)
    if index < 0:
        if arrays.pair_counters[LIVE] >= settings.traders_max:
            arrays.totals[LEFT_OUT] += 1
            return
        index = _add_pair(arrays, traders)
    _count_pair(arrays.pairs[index], row, step, np.int64(traders[0]))
    step["what"] |= c.MATCHED
    _tell(arrays, row, step, index)


@kernel
def on_second_of_strangers(arrays: Any, row: Any, step: Any, other: Any) -> None:
    """Take the second report of such a trade; ``other`` is the key of the first one's account.

    What is told of the pair is as of its latest trade, which may be of an earlier day.
    """
    own = trader_of(arrays, row, row["account_1"], row["account_2"])
    first = trader_of(arrays, row, other[0], other[1])
    if own < 0 or first < 0:
        return
    index = _find_pair(arrays, (own, first))
    if index >= 0:
        step["what"] |= c.OTHER_SIDE
        _tell(arrays, row, step, index)
