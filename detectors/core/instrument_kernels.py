"""The instrument stage's kernels: from rows in order of time to trades with both their sides.

A trade may be reported by either side or by both, by the same ``fill_id``; a report may name its
counterparty. Whatever comes first, a trade within one party is told once.
"""

from typing import Any, Final

import numpy as np

from detectors.core import contract as c
from detectors.core.holder_kernels import greet, holder_of, new_holder, note_name, party_of
from detectors.core.instrument_state import (
    BY_ACCOUNT,
    BY_GROUP,
    BY_NOTHING,
    BY_OWNER,
    FILLS,
    FORGOTTEN_EARLY,
    OLDEST,
    ONE_SIDED,
    SIDE_ALONE,
    SIDE_APART,
    SIDE_DONE,
    SIDE_TOLD,
    YOUNGEST,
)
from detectors.core.order_kernels import take_order
from detectors.core.pair_kernels import (
    count_counterparty,
    count_own,
    follows_traders,
    note_trader,
    on_second_of_strangers,
    on_strangers,
    trader_of,
)
from detectors.core.registrations import registered
from detectors.core.tables import LIVE, find, insert, mix, remove
from schemas.columns import FLAG_REGISTRATIONS, FLAG_SIMULATED, KIND
from schemas.jit import Int, inlined, kernel

_FILL: Final = KIND["fill"]
_FILE: Final = KIND["ref.account"]
# Why ``take_trades`` returned.
DONE, MEET, FILE, LEARN = range(4)


@inlined
def _side_keys(row: Any) -> Any:
    """Return the key of a trade's reports: where it was made, and its id there."""
    return mix(row["link_1"], row["instrument_1"]), mix(row["instrument_1"], row["venue_1"])


@kernel
def _forget_oldest(arrays: Any) -> None:
    """Let go of the first report that came first."""
    index = np.int64(arrays.fifo[OLDEST] - 1)
    younger = np.int64(arrays.sides[index]["younger"])
    arrays.fifo[OLDEST] = younger
    if younger == 0:
        arrays.fifo[YOUNGEST] = 0
    remove(arrays.side_heads, arrays.sides, arrays.side_counters, index)


@kernel
def _forget_sides(arrays: Any, settings: Any, time_ns: Int) -> None:
    """Let go of first reports that are too old, and of one more where there is no room."""
    while arrays.fifo[OLDEST] > 0:
        oldest = arrays.sides[arrays.fifo[OLDEST] - 1]
        if oldest["time_ns"] > time_ns - settings.side_window_ns:
            break
        _forget_oldest(arrays)
    if arrays.side_counters[LIVE] >= settings.sides_max:
        _forget_oldest(arrays)
        arrays.totals[FORGOTTEN_EARLY] += 1


@kernel
def _keep_side(arrays: Any, row: Any, state: Int) -> None:
    """Keep a trade's first report until the second comes."""
    key_1, key_2 = _side_keys(row)
    index = insert(arrays.side_heads, arrays.sides, arrays.side_counters, key_1, key_2)
    side = arrays.sides[index]
    side["younger"] = 0
    side["account_1"] = row["account_1"]
    side["account_2"] = row["account_2"]
    side["time_ns"] = row["event_time_ns"]
    side["position"] = row["position"]
    side["day"] = row["day"]
    side["side"] = row["side"]
    side["state"] = state
    if arrays.fifo[YOUNGEST] > 0:
        arrays.sides[arrays.fifo[YOUNGEST] - 1]["younger"] = index + 1
    else:
        arrays.fifo[OLDEST] = index + 1
    arrays.fifo[YOUNGEST] = index + 1


@kernel
def _shared(arrays: Any, row: Any, other_1: Int, other_2: Int) -> Any:
    """Return what the row's account and another share, and its hash; ``BY_NOTHING`` for strangers.

    A control group counts as one client, so it goes before an owner, and an owner before an
    account that traded with itself.
    """
    own = holder_of(arrays, row["account_1"], row["account_2"])
    other = holder_of(arrays, other_1, other_2)
    if own >= 0 and other >= 0:
        group_1, owner_1 = arrays.holders[own]["group_1"], arrays.holders[own]["owner_1"]
        if group_1 != 0 and group_1 == arrays.holders[other]["group_1"]:
            return BY_GROUP, group_1
        if owner_1 != 0 and owner_1 == arrays.holders[other]["owner_1"]:
            return BY_OWNER, owner_1
    if row["account_1"] == other_1 and row["account_2"] == other_2:
        return BY_ACCOUNT, row["account_1"]
    return BY_NOTHING, np.uint64(0)


@kernel
def _renames(arrays: Any, row: Any) -> Any:
    """Say whether a file changes who is behind an account that has a row."""
    index = holder_of(arrays, row["account_1"], row["account_2"])
    if index < 0:
        return False
    holder = arrays.holders[index]
    return holder["owner_1"] != row["counter_1"] or holder["group_1"] != row["counter_2"]


@kernel
def _on_file(arrays: Any, row: Any, i: Int, step: Any, notes: Any) -> Any:
    """Take a file on an account; say whether Python must replace its registrations.

    Who has nothing on file needs no row.
    """
    lists = row["flags"] & FLAG_REGISTRATIONS != 0
    index = holder_of(arrays, row["account_1"], row["account_2"])
    if index < 0:
        if row["counter_1"] == 0 and row["counter_2"] == 0 and not lists:
            return False
        index = new_holder(arrays, row["account_1"], row["account_2"])
        note_name(i, notes)
    elif row["line_length"] > 0 and _renames(arrays, row):  # what is forgotten leaves the name
        note_name(i, notes)
    holder = arrays.holders[index]
    holder["owner_1"] = row["counter_1"]
    holder["group_1"] = row["counter_2"]
    step["account"] = index
    return lists or holder["registrations"] > 0


@kernel
def _join(arrays: Any, row: Any, step: Any, other: Any, shared: Any, notes: Any) -> None:
    """Fill in that both sides are one party; the row's own account has a row by now.

    ``other`` is the key of the other side's account, ``shared`` what ``_shared`` returned,
    ``notes`` as ``take_trades`` has them.
    """
    by, shared_1 = shared
    step["shared_by"] = by
    step["counter"] = holder_of(arrays, other[0], other[1])
    step["contract"] = party_of(arrays, step, row, shared_1, notes)
    for holder in (step["account"], step["counter"]):
        link = np.int64(arrays.holders[holder]["registrations"])
        if link > 0:
            step["registered"] |= registered(
                arrays.registrations, link, row["instrument_1"], step["time_ns"]
            )


@kernel
def _on_second(
    arrays: Any, settings: Any, row: Any, i: Int, step: Any, index: Int, notes: Any
) -> None:
    """Take the second report of a trade; ``notes`` as ``take_trades`` has them."""
    first = arrays.sides[index]
    if first["side"] == row["side"] or first["state"] == SIDE_DONE:
        return  # the same side again, or a third report
    was = first["state"]
    first["state"] = SIDE_DONE
    instrument = arrays.instruments[step["instrument"]]
    if was == SIDE_ALONE:
        arrays.totals[ONE_SIDED] -= 1
        if first["day"] == instrument["day"]:
            instrument["one_sided"] -= 1
            step["one_sided"] = instrument["one_sided"]
    other = (first["account_1"], first["account_2"])
    step["other_position"] = first["position"]
    if was == SIDE_APART:
        on_second_of_strangers(arrays, row, step, other)
        return
    is_followed = was == SIDE_ALONE and follows_traders(step, settings)
    is_other = row["account_1"] != other[0] or row["account_2"] != other[1]
    own = np.int64(-1)
    if is_followed and is_other:
        own = count_own(arrays, settings, row, i, step, notes)
    elif is_followed:  # counted when it told the other side
        note_trader(arrays, row, step, trader_of(arrays, row, other[0], other[1]), np.int64(0))
    shared = _shared(arrays, row, other[0], other[1])
    if shared[0] == BY_NOTHING:
        if is_followed:
            traders = (own, trader_of(arrays, row, other[0], other[1]))
            on_strangers(arrays, settings, row, step, traders)
        return
    step["account"] = greet(arrays, row, i, notes)
    _join(arrays, row, step, other, shared, notes)
    step["what"] |= c.OTHER_SIDE if was == SIDE_TOLD else c.SELF_TRADE


@kernel
def _on_first(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> None:
    """Take the first report of a trade; ``notes`` as ``take_trades`` has them."""
    is_followed = follows_traders(step, settings)
    step["is_first_report"] = 1
    own, other = np.int64(-1), np.int64(-1)
    if is_followed:
        own = count_own(arrays, settings, row, i, step, notes)
    if row["counter_1"] == 0 and row["counter_2"] == 0:
        instrument = arrays.instruments[step["instrument"]]
        instrument["one_sided"] += 1
        step["one_sided"] = instrument["one_sided"]
        arrays.totals[ONE_SIDED] += 1
        _keep_side(arrays, row, SIDE_ALONE)
        return
    is_other = row["account_1"] != row["counter_1"] or row["account_2"] != row["counter_2"]
    if is_followed and is_other:
        other = count_counterparty(arrays, settings, row, i, step, notes)
    elif is_followed:
        note_trader(arrays, row, step, own, np.int64(1))
    shared = _shared(arrays, row, row["counter_1"], row["counter_2"])
    if shared[0] == BY_NOTHING:
        _keep_side(arrays, row, SIDE_APART)
        if is_followed:
            on_strangers(arrays, settings, row, step, (own, other))
        return
    _keep_side(arrays, row, SIDE_TOLD)
    step["account"] = greet(arrays, row, i, notes)
    _join(arrays, row, step, (row["counter_1"], row["counter_2"]), shared, notes)
    step["what"] |= c.SELF_TRADE


@kernel
def _roll(instrument: Any, row: Any) -> None:
    """Begin the instrument's day with its first row."""
    if row["day"] > instrument["day"]:
        instrument["day"] = row["day"]
        instrument["day_end_ns"] = row["day_end_ns"]
        instrument["fills"] = 0
        instrument["one_sided"] = 0


@kernel
def _on_fill(arrays: Any, settings: Any, row: Any, i: Int, step: Any, notes: Any) -> None:
    instrument = arrays.instruments[step["instrument"]]
    instrument["fills"] += 1
    arrays.totals[FILLS] += 1
    step["what"] = c.FILL | (c.SIMULATED if row["flags"] & FLAG_SIMULATED else 0)
    step["fills"] = instrument["fills"]
    step["one_sided"] = instrument["one_sided"]
    key_1, key_2 = _side_keys(row)
    index = find(arrays.side_heads, arrays.sides, key_1, key_2)
    if index >= 0 and arrays.sides[index]["time_ns"] > step["time_ns"] - settings.side_window_ns:
        _on_second(arrays, settings, row, i, step, index, notes)
        return
    _forget_sides(arrays, settings, step["time_ns"])
    _on_first(arrays, settings, row, i, step, notes)


@inlined
def _clear(step: Any, row: Any) -> None:
    step["rules"] = 0
    step["what"] = 0
    step["registered"] = 0
    step["claimed"] = row["claimed"]
    step["account"] = -1
    step["counter"] = -1
    step["contract"] = -1
    step["instrument"] = -1
    step["day"] = row["day"]
    step["time_ns"] = row["event_time_ns"]
    step["day_end_ns"] = row["day_end_ns"]
    step["position"] = row["position"]
    step["other_position"] = -1
    step["quantity_e8"] = row["quantity_e8"]
    step["price_e8"] = row["price_e8"]
    step["age_ns"] = row["age_ns"]
    step["fills"] = 0
    step["one_sided"] = 0
    step["shared_by"] = BY_NOTHING
    step["kind"] = row["kind"]
    step["side"] = row["side"]
    step["pair"] = -1
    step["is_first_report"] = 0
    for k in range(2):
        step["traders"][k] = -1
        step["trader_registered"][k] = 0


@kernel
def take_trades(arrays: Any, settings: Any, rows: Any, steps: Any, notes: Any) -> Any:
    """Turn rows into trades, in their order, until all are taken or Python must do something.

    Parameters
    ----------
    arrays, settings
        ``InstrumentArrays`` with room for ``len(rows)`` inserts, ``InstrumentSettings``.
    rows
        Shape (n,), dtype ``SENT``, in order of time.
    steps
        Shape (n,), dtype ``TRADE``, filled here.
    notes
        ``fresh``, shape (2n,), int64: receives the rows whose account needs the names on them, and
        -1 - row for those whose counterparty does; ``founded``, shape (n,), int64: parties that
        need one; and ``progress``, shape (3,), int64: rows
        taken so far, and how many stand in ``fresh`` and in ``founded``.

    Returns
    -------
    int
        ``DONE``; ``MEET`` where the next row brings an instrument that has no row; ``FILE`` where
        the last row taken replaces registrations; ``LEARN`` where the next changes a name, and
        those noted so far must be learnt before.
    """
    progress = notes[2]
    for i in range(progress[0], len(rows)):
        row, step = rows[i], steps[i]
        if row["kind"] == _FILE:
            # Parties are called as they were when they got their row.
            is_due = progress[1] > 0 or progress[2] > 0
            if is_due and _renames(arrays, row):
                return LEARN
            progress[0] = i + 1
            _clear(step, row)
            if _on_file(arrays, row, np.int64(i), step, notes):
                return FILE
            continue
        instrument = find(
            arrays.instrument_heads, arrays.instruments, row["instrument_1"], row["venue_1"]
        )
        if instrument < 0:
            return MEET
        progress[0] = i + 1
        _clear(step, row)
        step["instrument"] = instrument
        step["rules"] = arrays.instruments[instrument]["rules"]
        _roll(arrays.instruments[instrument], row)
        if row["kind"] == _FILL:
            _on_fill(arrays, settings, row, np.int64(i), step, notes)
        else:
            take_order(arrays, settings, row, np.int64(i), step, notes)
    return DONE
