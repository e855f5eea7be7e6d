"""Which events were seen lately: two sets of 128-bit keys that rotate with the lane's time.

An event is a duplicate if its key stands in the set of the current window or of the one before;
so a repeat is found for at least one window and at most two after the original. A set that is full
is rotated before its time, which is counted; it depends on the events alone, never on batches.

A set's keys stand in the order in which they came, and slots, found by hash, say where. Only the
keys are state: between two snapshots they grow at their end, and a rotation leaves them empty.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.core.room import zeroed
from detectors.core.tables import fetch
from schemas.jit import Int, inlined, kernel

# ``meta``: which set is current, how many keys it holds, which window it is for, how often a full
# one was rotated, how many keys the set before holds.
SEEN_CURRENT, SEEN_COUNT, SEEN_WINDOW, SEEN_FORCED, SEEN_BEFORE = range(5)
SEEN_SLOTS_MIN: Final = 1024
WINDOW_NONE: Final = -(2**62)
_META_NEW: Final = (0, 0, WINDOW_NONE, 0, 0)
_INDEX_BITS: Final = np.uint64(2**32 - 1)  # of a slot: where its key stands + 1, under half a key
_KEY_BITS: Final = ~_INDEX_BITS

Keys = NDArray[np.uint64]
Slots = NDArray[np.uint64]


@inlined
def _slot(slots: Any, keys: Any, key_1: Int, key_2: Int) -> Any:
    """Return the key's slot, or -1 - (the free slot where it belongs)."""
    mask = np.int64(len(slots) - 1)
    slot = np.int64(key_1 & np.uint64(mask))
    while True:
        held = slots[slot]
        if held == 0:
            return -1 - slot
        if held & _KEY_BITS == key_1 & _KEY_BITS:
            index = np.int64(held & _INDEX_BITS) - 1
            if keys[index, 0] == key_1 and keys[index, 1] == key_2:
                return slot
        slot = (slot + 1) & mask


@inlined
def fetch_keys(slots: Any, key_1: Int) -> None:
    """Ask for where the key stands or belongs, in both sets."""
    slot = np.int64(key_1 & np.uint64(slots.shape[1] - 1))
    fetch(slots[0], slot)
    fetch(slots[1], slot)


@kernel
def _enter(slots: Any, keys: Any) -> None:
    """Fill empty slots, shape (capacity,), for keys of shape (n, 2), n at most half as many."""
    for index in range(len(keys)):
        slot = _slot(slots, keys, keys[index, 0], keys[index, 1])
        slots[-1 - slot] = (keys[index, 0] & _KEY_BITS) | np.uint64(index + 1)


@kernel
def _rotate(slots: Any, meta: Any) -> None:
    """Make the older set, emptied, the current one."""
    meta[SEEN_CURRENT] = 1 - meta[SEEN_CURRENT]
    meta[SEEN_BEFORE] = meta[SEEN_COUNT]
    meta[SEEN_COUNT] = 0
    emptied = slots[meta[SEEN_CURRENT]]
    for slot in range(len(emptied)):
        emptied[slot] = 0


@kernel
def is_duplicate(slots: Any, keys: Any, meta: Any, row: Any, window: Int, count_max: Int) -> Any:
    """Say whether the event was seen in this window or the one before; remember it.

    ``keys`` has shape (2, n, 2), with room for what the batch brings or ``count_max``, whichever is
    less; ``slots`` shape (2, capacity), capacity a power of two of at least 2 n.
    """
    key_1, key_2 = row["event_1"], row["event_2"]
    if window > meta[SEEN_WINDOW]:
        if meta[SEEN_WINDOW] != WINDOW_NONE and window > meta[SEEN_WINDOW] + 1:
            _rotate(slots, meta)
        _rotate(slots, meta)
        meta[SEEN_WINDOW] = window
    elif meta[SEEN_COUNT] >= count_max:
        _rotate(slots, meta)
        meta[SEEN_FORCED] += 1
    current = meta[SEEN_CURRENT]
    slot = _slot(slots[current], keys[current], key_1, key_2)
    if slot >= 0 or _slot(slots[1 - current], keys[1 - current], key_1, key_2) >= 0:
        return True
    count = meta[SEEN_COUNT]
    keys[current, count, 0] = key_1
    keys[current, count, 1] = key_2
    slots[current, -1 - slot] = (key_1 & _KEY_BITS) | np.uint64(count + 1)
    meta[SEEN_COUNT] = count + 1
    return False


def _slots_for(room: int) -> int:
    return max(SEEN_SLOTS_MIN, 1 << (2 * room - 1).bit_length())


@dataclass(slots=True)
class Seen:
    """The two sets of one lane.

    Attributes
    ----------
    slots
        Shape (2, capacity), uint64.
    keys
        Shape (2, capacity / 2, 2), uint64.
    meta
        Shape (5,), int64.
    """

    slots: Slots = field(default_factory=lambda: np.zeros((2, SEEN_SLOTS_MIN), np.uint64))
    keys: Keys = field(default_factory=lambda: np.zeros((2, SEEN_SLOTS_MIN // 2, 2), np.uint64))
    meta: NDArray[np.int64] = field(default_factory=lambda: np.array(_META_NEW, np.int64))

    @property
    def held(self) -> tuple[Keys, Keys]:
        """The keys of each set, shape (n, 2), in the order in which they came."""
        current = int(self.meta[SEEN_CURRENT])
        counts = [0, 0]
        counts[current] = int(self.meta[SEEN_COUNT])
        counts[1 - current] = int(self.meta[SEEN_BEFORE])
        return self.keys[0, : counts[0]], self.keys[1, : counts[1]]

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return self.slots.nbytes + self.keys.nbytes

    def reserve(self, rows: int, count_max: int) -> None:
        """Make room for the keys of ``rows`` rows; no set holds more than ``count_max``."""
        need = min(int(self.meta[SEEN_COUNT]) + rows, count_max)
        if need > self.keys.shape[1]:
            self._place(self.held, need)

    def _place(self, held: tuple[Keys, Keys], need: int) -> None:
        """Put keys into sets of the right size for ``need`` keys or as many as there are."""
        capacity = _slots_for(max(need, *map(len, held)))
        self.keys = zeroed((2, capacity // 2, 2), np.uint64)
        self.slots = zeroed((2, capacity), np.uint64)
        for side, keys in enumerate(held):
            self.keys[side, : len(keys)] = keys
            _enter(self.slots[side], keys)

    def dump(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
        """Return what is state, for a snapshot to copy."""
        first, second = (keys.reshape(-1).view(np.uint8) for keys in self.held)
        return first, second, self.meta.tolist()

    @classmethod
    def load(cls, dumped: tuple[Any, Any, list[int]]) -> Self:
        """Rebuild from a dump."""
        *held, meta = dumped
        seen = cls(meta=np.array(meta, np.int64))
        first, second = (np.frombuffer(keys, np.uint64).reshape(-1, 2) for keys in held)
        seen._place((first, second), 0)
        return seen
