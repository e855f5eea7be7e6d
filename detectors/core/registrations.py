"""Exemptions on file: a list of entries for each account, in one array with a free list."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import REGISTRATIONS
from schemas.columns import HashKey
from schemas.events import TIME_MAX_NS, RefAccount
from schemas.hashing import hash_bytes
from schemas.jit import Int, kernel

REGISTRATION: Final = np.dtype(
    [
        ("instrument_1", "<u8"),  # 0: every instrument
        ("valid_from_ns", "<i8"),
        ("valid_until_ns", "<i8"),
        ("next", "<i4"),  # index + 1; 0 ends the list
        ("kind", "u1"),  # a bit of ``detectors.core.contract.REGISTRATIONS``
        ("padding", "u1", (3,)),
    ]
)
_CAPACITY_MIN: Final = 64

Entry = tuple[int, int, int, int]  # instrument_1, valid_from_ns, valid_until_ns, kind


@kernel
def registered(entries: Any, link: Int, instrument_1: Int, time_ns: Int) -> Any:
    """Return the exemptions of the list at ``link`` for this instrument at this time."""
    bits = 0
    while link > 0:
        entry = entries[link - 1]
        covers = entry["instrument_1"] == 0 or entry["instrument_1"] == instrument_1
        if covers and entry["valid_from_ns"] <= time_ns < entry["valid_until_ns"]:
            bits |= entry["kind"]
        link = np.int64(entry["next"])
    return bits


def entries_of(event: RefAccount, key: HashKey) -> list[Entry]:
    """Return what an event puts on file; an instrument as its hash, 0 for every instrument."""
    return [
        (
            hash_bytes(one.instrument.encode(), 0, key)[0] if one.instrument else 0,
            one.valid_from_ns,
            TIME_MAX_NS if one.valid_until_ns is None else one.valid_until_ns,
            REGISTRATIONS[one.registration],
        )
        for one in event.registrations
    ]


@dataclass(slots=True)
class Registrations:
    """All lists of one shard.

    Attributes
    ----------
    entries
        Shape (n,), dtype ``REGISTRATION``.
    free
        Index + 1 of the first unused entry; 0 for none.
    """

    entries: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, REGISTRATION))
    free: int = 0

    def replace(self, link: int, listed: list[Entry]) -> int:
        """Put a new list in the place of the one at ``link``; return where it begins."""
        while link:
            entry = self.entries[link - 1]
            after = int(entry["next"])
            entry["next"], entry["kind"] = self.free, 0
            self.free, link = link, after
        for instrument_1, from_ns, until_ns, kind in listed:
            index = self._take()
            self.entries[index] = (instrument_1, from_ns, until_ns, link, kind, 0)
            link = index + 1
        return link

    def have_ended(self, link: int, horizon_ns: int) -> bool:
        """Say whether none of the list at ``link`` covers the horizon or anything later."""
        while link:
            entry = self.entries[link - 1]
            if int(entry["valid_until_ns"]) > horizon_ns:
                return False
            link = int(entry["next"])
        return True

    def _take(self) -> int:
        if self.free == 0:
            self._grow()
        index = self.free - 1
        self.free = int(self.entries["next"][index])
        return index

    def _grow(self) -> None:
        used = len(self.entries)
        grown = np.zeros(max(_CAPACITY_MIN, 2 * used), REGISTRATION)
        grown[:used] = self.entries
        grown["next"][used:-1] = np.arange(used + 2, len(grown) + 1)
        self.entries, self.free = grown, used + 1
