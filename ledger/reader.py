"""Read a log while its writer goes on: committed entries, applied to files or not."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ledger.bundles import read_bundle
from ledger.database import Head, load_head, load_stage, look
from ledger.errors import LedgerDamaged
from ledger.tree import BUNDLE_WIDTH


class TreeHead(Struct, frozen=True):
    """Which log, how many entries, and the Merkle root over them (hex)."""

    origin: str
    size: int
    root: str


def read_head(folder: Path) -> TreeHead:
    """Return the head as committed.

    Raises
    ------
    LedgerDamaged
        If the folder holds no log that can be read.
    """
    head = look(folder, load_head)
    return TreeHead(head.origin, head.size, head.root.hex())


def read_entries(folder: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (index, entry bytes) from `start` to the size at the moment of the first step.

    Entries appended meanwhile are left out. Nothing is verified: `ledger.verify` does that.

    Raises
    ------
    LedgerDamaged
        If the database cannot be read or a bundle is missing or torn.
    """
    head, stage = look(folder, _head_and_stage)
    if start < head.staged_from:
        for number in range(start // BUNDLE_WIDTH, head.staged_from // BUNDLE_WIDTH):
            first = number * BUNDLE_WIDTH
            for index, entry in enumerate(read_bundle(folder, number), first):
                if index >= start:
                    yield index, entry
    for index, entry in enumerate(stage, head.staged_from):
        if index >= start:
            yield index, entry


def find(folder: Path, eid: bytes) -> tuple[int, bytes] | None:
    """Return (index, entry bytes) of the entry with this eid, or None if the log has none.

    Raises
    ------
    LedgerDamaged
        If the database cannot be read, or it points at an entry that is not there.
    """

    def ask(database: sqlite3.Connection) -> tuple[int, int, list[bytes]] | None:
        row = database.execute("SELECT i FROM eid WHERE eid = ?", (eid,)).fetchone()
        if row is None:
            return None
        head, stage = _head_and_stage(database)
        return row[0], head.staged_from, stage

    found = look(folder, ask)
    if found is None:
        return None
    index, staged_from, stage = found
    if index < staged_from:
        return index, read_bundle(folder, index // BUNDLE_WIDTH)[index % BUNDLE_WIDTH]
    if index - staged_from >= len(stage):
        raise LedgerDamaged(f"The index names entry {index}, which is not there: run the audit.")
    return index, stage[index - staged_from]


def _head_and_stage(database: sqlite3.Connection) -> tuple[Head, list[bytes]]:
    head = load_head(database)
    return head, load_stage(database, head)
