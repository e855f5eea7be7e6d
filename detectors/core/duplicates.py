"""Which events were seen lately: two sets of 128-bit keys that rotate with the lane's time.

An event is a duplicate if its key stands in the set of the current window or of the one before;
so a repeat is found for at least one window and at most two after the original. A set that is full
is rotated before its time, which is counted; it depends on the events alone, never on batches.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.tables import fetch
from schemas.jit import Int, inlined, kernel

# ``meta``: which set is current, how many keys it holds, which window it is for, how often a full
# one was rotated.
SEEN_CURRENT, SEEN_COUNT, SEEN_WINDOW, SEEN_FORCED = range(4)
SEEN_CAPACITY_MIN: Final = 1024
WINDOW_NONE: Final = -(2**62)


@inlined
def _slot(keys: Any, key_1: Int, key_2: Int) -> Any:
    """Return the slot of the key, or -1 - (the free slot where it belongs)."""
    mask = np.int64(len(keys) - 1)
    slot = np.int64(key_1 & np.uint64(mask))
    while True:
        if keys[slot, 0] == key_1 and keys[slot, 1] == key_2:
            return slot
        if keys[slot, 0] == 0 and keys[slot, 1] == 0:
            return -1 - slot
        slot = (slot + 1) & mask


@inlined
def fetch_keys(sets: Any, key_1: Int) -> None:
    """Ask for where the key stands or belongs, in both sets."""
    slot = np.int64(key_1 & np.uint64(sets.shape[1] - 1))
    fetch(sets[0], slot)
    fetch(sets[1], slot)


@kernel
def insert_all(target: Any, keys: Any, order: Any) -> None:
    """Put keys[order] into an empty set that has room for them."""
    for index in order:
        slot = _slot(target, keys[index, 0], keys[index, 1])
        if slot < 0:
            target[-1 - slot, 0] = keys[index, 0]
            target[-1 - slot, 1] = keys[index, 1]


@kernel
def _rotate(sets: Any, meta: Any) -> None:
    """Make the older set, emptied, the current one."""
    meta[SEEN_CURRENT] = 1 - meta[SEEN_CURRENT]
    meta[SEEN_COUNT] = 0
    keys = sets[meta[SEEN_CURRENT]]
    for slot in range(len(keys)):
        keys[slot, 0] = 0
        keys[slot, 1] = 0


@kernel
def is_duplicate(sets: Any, meta: Any, row: Any, window: Int, count_max: Int) -> Any:
    """Say whether the event was seen in this window or the one before; remember it.

    ``sets`` has shape (2, capacity, 2), uint64, capacity a power of two of at least twice the keys
    it may come to hold: the smaller of ``count_max`` and what the batch brings.
    """
    key_1, key_2 = row["event_1"], row["event_2"]
    if window > meta[SEEN_WINDOW]:
        if meta[SEEN_WINDOW] != WINDOW_NONE and window > meta[SEEN_WINDOW] + 1:
            _rotate(sets, meta)
        _rotate(sets, meta)
        meta[SEEN_WINDOW] = window
    elif meta[SEEN_COUNT] >= count_max:
        _rotate(sets, meta)
        meta[SEEN_FORCED] += 1
    current = meta[SEEN_CURRENT]
    slot = _slot(sets[current], key_1, key_2)
    if slot >= 0 or _slot(sets[1 - current], key_1, key_2) >= 0:
        return True
    sets[current, -1 - slot, 0] = key_1
    sets[current, -1 - slot, 1] = key_2
    meta[SEEN_COUNT] += 1
    return False


def refill(target: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    """Put keys, shape (n, 2), into an empty set, shape (capacity, 2)."""
    insert_all(target, keys, np.arange(len(keys)))


def held(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the keys of a set, shape (n, 2), in slot order."""
    kept: NDArray[np.uint64] = keys[(keys[:, 0] != 0) | (keys[:, 1] != 0)]
    return kept
