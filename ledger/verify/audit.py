"""One log after the other: database, files and entries held against each other."""

import gc
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .chain import WIDTH, Chain
from .database import Committed, look
from .fault import AuditError
from .files import check_files, fault_file, list_bundles, read_full, require_applied

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """What was verified: `size` entries under the root `head`, `staged` of them not in files."""

    verdict: str
    folder: str
    origin: str
    size: int
    head: str
    staged: int
    opened_ns: int
    last_ns: int


def verify(
    folder: Path, progress: Progress | None = None, *, trusted: tuple[int, str] | None = None
) -> Report:
    """Verify one log completely.

    Parameters
    ----------
    folder
        The log's folder. Nothing in it is written or locked; a writer may go on meanwhile.
    progress
        Called with (entries done, entries in all) about every 65,536 entries.
    trusted
        A head (size, root in hex) noted earlier: the log must still begin with it. Without one,
        a log cut off or rewritten as a whole cannot be told from an honest one.

    Raises
    ------
    AuditError
        And nothing else, whatever the bytes.
    """
    was_collecting = gc.isenabled()
    gc.disable()  # parsing makes no cycles, and looking for them takes a third of the time
    try:
        return _verify(Path(folder), progress or _no_progress, trusted)
    except (
        OSError,
        sqlite3.Error,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise AuditError(str(folder), f"cannot be read as a log ({error}).") from error
    finally:
        if was_collecting:
            gc.enable()


def verify_data(data: Path, progress: Progress | None = None) -> list[Report]:
    """Verify every log of a data folder.

    Raises
    ------
    AuditError
        At the first fault, or if there is no log.
    """
    ledger = Path(data, "ledger")
    logs = sorted(path for path in ledger.iterdir() if path.is_dir()) if ledger.is_dir() else []
    if not logs:
        raise AuditError(str(data), "holds no log: name a folder that has ledger/ in it.")
    return [verify(log, progress) for log in logs]


def _no_progress(done: int, in_all: int) -> None:
    """Tell nobody."""


def _verify(folder: Path, progress: Progress, trusted: tuple[int, str] | None) -> Report:
    files = list_bundles(folder)  # before the database: so no file may be ahead of it
    committed = look(folder)
    for number, widths in files.items():
        if number * WIDTH + max(widths) > committed.size:
            fault_file(number, max(widths), "is ahead of the database: that was rolled back.")
    chain = Chain(committed.origin, committed.eids, trusted[0] if trusted else 0)
    for number in range(committed.staged_from // WIDTH):
        entries = read_full(folder, number)
        check_files(folder, number, files.get(number, set()) - {WIDTH}, entries)
        chain.take(entries)
        if number % WIDTH == 0:
            progress(chain.size, committed.size)
    for first in range(0, len(committed.stage), WIDTH):
        entries = committed.stage[first : first + WIDTH]
        number = chain.size // WIDTH
        check_files(folder, number, files.get(number, set()), entries)
        chain.take(entries)
    require_applied(folder, committed.applied)
    progress(chain.size, committed.size)
    return _conclude(folder, committed, chain, trusted)


def _conclude(
    folder: Path, committed: Committed, chain: Chain, trusted: tuple[int, str] | None
) -> Report:
    if not chain.size:
        raise AuditError(str(folder), "the log has no entry, not even the one that opens it.")
    if chain.root_at(chain.size) != committed.root:
        raise AuditError(str(folder), "the entries do not give the root that was committed.")
    if len(committed.eids) != chain.size:
        raise AuditError("eid index", "it names entries that are not in the log.")
    if trusted is not None:
        size, root = trusted
        if not 0 <= size <= chain.size:
            raise AuditError(str(folder), f"the log ends at {chain.size} and once had {size}.")
        if chain.root_at(size).hex() != root:
            raise AuditError(str(folder), f"the first {size} entries are not those trusted.")
    return Report(
        verdict="sound",
        folder=str(folder),
        origin=committed.origin,
        size=chain.size,
        head=committed.root.hex(),
        staged=chain.size - committed.applied,
        opened_ns=chain.opened_ns,
        last_ns=chain.last_ns,
    )
