"""What a writer checks before it goes on: nothing is trusted because it was there."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
from msgspec import Struct

from ledger.bundles import (
    bundle_path,
    drop_partials,
    encode_bundle,
    list_bundles,
    read_bundle,
)
from ledger.database import EID_TABLE, Head, load_head, load_stage
from ledger.entry import NO_PREVIOUS, leaf_hash
from ledger.errors import LedgerDamaged, LedgerRolledBack
from ledger.tree import BUNDLE_WIDTH, EMPTY_ROOT, Frontier


class LogState(Struct):
    """The writer's picture of its log.

    `bundles` are the Merkle roots of the full bundles; `stage` the committed entries from
    `head.staged_from` on; `prev` the hex leaf hash of the last entry.
    """

    head: Head
    frontier: Frontier
    bundles: list[bytes]
    stage: list[bytes]
    prev: str
    log_time_ns: int

    @classmethod
    def empty(cls, origin: str) -> "LogState":
        """Return the log before its first entry."""
        return cls(Head(origin, 0, EMPTY_ROOT, 0, 0), Frontier(), [], [], NO_PREVIOUS, 0)


def refuse_leftovers(folder: Path) -> None:
    """Refuse to begin a log where bundle files of one lie already.

    Raises
    ------
    LedgerRolledBack
        If there are any.
    """
    if any(list_bundles(folder)):
        raise LedgerRolledBack(
            f"{folder} holds bundle files and an empty database: restore the database from a"
            " copy. A log is never begun anew over its own entries."
        )


def load_log(folder: Path, database: sqlite3.Connection, origin: str) -> LogState:
    """Recompute the root from every entry and hold database and files against each other.

    Raises
    ------
    LedgerRolledBack
        If a file is ahead of the database.
    LedgerDamaged
        If they contradict each other, or the log has another origin.
    """
    head = load_head(database)
    if head.origin != origin:
        raise LedgerDamaged(f"{folder} is the log {head.origin}, not {origin}: name its own.")
    log = LogState.empty(origin)
    log.head = head
    log.stage = load_stage(database, head)
    last = b""
    for last in _entries(folder, log):
        log.frontier.append(leaf_hash(last))
    if not last or log.frontier.root() != head.root:
        raise LedgerDamaged(
            f"The entries in {folder} do not give the root that was committed for them: run the"
            " audit to find the place, and restore that file from a copy."
        )
    log.bundles, log.frontier.bundles = log.frontier.bundles, []
    log.prev = leaf_hash(last).hex()
    log.log_time_ns = int(orjson.loads(last)["log_time_ns"])
    _check_files(folder, log)
    _complete_eids(folder, database, log)
    return log


def _entries(folder: Path, log: LogState) -> Iterator[bytes]:
    for number in range(log.head.staged_from // BUNDLE_WIDTH):
        yield from read_bundle(folder, number)
    yield from log.stage


def _check_files(folder: Path, log: LogState) -> None:
    """Refuse files ahead of the database or unlike it; remove partials that were outgrown."""
    found = list(list_bundles(folder))
    for number, width in found:
        if number * BUNDLE_WIDTH + width > log.head.size:
            raise LedgerRolledBack(
                f"{folder / bundle_path(number, width)} is ahead of the database, which ends at"
                f" {log.head.size}: the database was rolled back. Restore its newest copy."
            )
        _check_bundle(folder, log, number, width)
    unfinished = divmod(log.head.applied, BUNDLE_WIDTH)
    if unfinished[1] and unfinished not in found:
        raise LedgerDamaged(
            f"{folder / bundle_path(*unfinished)} is missing: restore it from a copy."
        )


def _check_bundle(folder: Path, log: LogState, number: int, width: int) -> None:
    offset = number * BUNDLE_WIDTH - log.head.staged_from
    if offset >= 0:
        entries = log.stage[offset : offset + width]
    elif width == BUNDLE_WIDTH:
        return  # the root vouches for it
    else:
        entries = read_bundle(folder, number)[:width]
    if folder.joinpath(bundle_path(number, width)).read_bytes() != encode_bundle(entries):
        raise LedgerDamaged(
            f"{folder / bundle_path(number, width)} differs from what was committed:"
            " run the audit, and restore the file from a copy."
        )
    if offset < 0:
        drop_partials(folder, number, BUNDLE_WIDTH)


def _complete_eids(folder: Path, database: sqlite3.Connection, log: LogState) -> None:
    """Fill the eid index from the entries when rows of it are missing.

    Raises
    ------
    LedgerDamaged
        If two entries have one eid.
    """
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'eid'").fetchone() is None:
        database.execute(EID_TABLE)
    if database.execute("SELECT count(*) FROM eid").fetchone() == (log.head.size,):
        return
    rows = (
        (bytes.fromhex(orjson.loads(entry)["eid"]), index)
        for index, entry in enumerate(_entries(folder, log))
    )
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM eid")
        database.executemany("INSERT INTO eid VALUES (?, ?)", rows)
        database.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        raise LedgerDamaged(f"Two entries in {folder} have one eid: run the audit.") from error
