"""Logs for tests: drafts by number, a clock that counts, and a forger who owns the disk."""

import itertools
import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.bundles import bundle_path, encode_bundle
from ledger.database import DATABASE
from ledger.entry import EntryDraft, canonical, leaf_hash
from ledger.tree import root_of
from ledger.writer import LedgerWriter

ORIGIN = "tapewatch.test/monitor"
START_NS = 1_700_000_000_000_000_000
WIDTH = 256


def eid_of(number: int) -> bytes:
    return sha256(b"draft %d" % number).digest()[:16]


def draft(number: int, **other: Any) -> EntryDraft:
    fields: dict[str, Any] = {
        "eid": eid_of(number),
        "kind": "alert",
        "event_time_ns": START_NS + number,
        "actor": "tapewatch",
        "src": [{"source": "orders", "partition": number % 4, "offset": number}],
        "rule": {"id": "order_rate", "version": 1, "config": "ab" * 16},
        "body": {"account": "c0ffee" * 5, "count": number, "why": "too many orders"},
    }
    return EntryDraft(**(fields | other))


def drafts(count: int, start: int = 0) -> list[EntryDraft]:
    return [draft(number) for number in range(start, start + count)]


def ticking() -> Callable[[], int]:
    ticks = itertools.count(START_NS)
    return lambda: next(ticks)


def writer(folder: Path, **options: Any) -> LedgerWriter:
    return LedgerWriter(folder, ORIGIN, ticking(), **options)


def make_log(folder: Path, count: int) -> list[bytes]:
    """Write a log of `count` entries, its opening included; return their bytes."""
    with writer(folder) as log:
        log.append(drafts(count - 1))
    return entries_of(folder)


def entries_of(folder: Path) -> list[bytes]:
    from ledger.reader import read_entries  # noqa: PLC0415 - a forger's tools do not need it

    return [entry for _, entry in read_entries(folder)]


def changed(entry: bytes, **fields: Any) -> bytes:
    """Return the entry with other fields, canonical again where that is possible."""
    held = json.loads(entry) | fields
    return canonical(held)


def chained(entries: Sequence[bytes]) -> list[bytes]:
    """Number and chain the entries anew, as someone would who rewrites history."""
    prev = "0" * 64
    result = []
    for index, entry in enumerate(entries):
        result.append(changed(entry, i=index, prev=prev))
        prev = leaf_hash(result[-1]).hex()
    return result


def forge(folder: Path, entries: Sequence[bytes]) -> None:
    """Replace a log by these entries, with files, root and eid index made to agree."""
    shutil.rmtree(folder / "tile")
    for number in range(-(-len(entries) // WIDTH)):
        part = entries[number * WIDTH : (number + 1) * WIDTH]
        path = folder / bundle_path(number, len(part))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_bundle(part))
    eids = {}
    for index, entry in enumerate(entries):
        eids[_eid(entry, index)] = index
    size = len(entries)
    first = size - size % WIDTH
    with sqlite3.connect(folder / DATABASE) as database:
        database.execute("PRAGMA synchronous = OFF")
        root = root_of(map(leaf_hash, entries))
        database.execute("UPDATE head SET size = ?, root = ?, applied = ?", (size, root, size))
        database.execute("DELETE FROM stage")
        database.executemany("INSERT INTO stage VALUES (?, ?)", enumerate(entries[first:], first))
        database.execute("DELETE FROM eid")
        database.executemany("INSERT INTO eid VALUES (?, ?)", eids.items())
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _eid(entry: bytes, index: int) -> bytes:
    try:
        return bytes.fromhex(json.loads(entry)["eid"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return b"%016d" % index


def execute(folder: Path, statement: str, *parameters: Any) -> None:
    """Change the log's database behind its back."""
    database = sqlite3.connect(folder / DATABASE)
    database.execute("PRAGMA synchronous = OFF")
    with database:
        database.execute(statement, parameters)
    database.close()
