"""Append to a log: one SQLite transaction per call is the commit point, files follow it."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from ledger.batch import Batch, Receipt, opening
from ledger.bundles import clear_temporary, drop_partials, put_bundle, read_bundle, sync_folder
from ledger.database import (
    DATABASE,
    Head,
    connect_writer,
    create_tables,
    load_stage,
    prepare_writer,
)
from ledger.entry import WRITERS_OWN, EntryDraft, EntryError, leaf_hash, prepare
from ledger.errors import LedgerBusy, LedgerDamaged, LedgerError, LedgerLost, LedgerRolledBack
from ledger.recovery import LogState, load_log, refuse_leftovers
from ledger.tree import BUNDLE_WIDTH, root_of

__all__ = [
    "EntryDraft",
    "EntryError",
    "LedgerBusy",
    "LedgerDamaged",
    "LedgerError",
    "LedgerLost",
    "LedgerRolledBack",
    "LedgerWriter",
    "Receipt",
]

_EIDS_ASKED: Final = 500  # SQLite takes at least 999 parameters
_BUNDLES_KEPT: Final = 16  # for replays, which meet the old entries in order


def _nothing(point: str) -> None:
    """Stand in for a crash test's hook."""


class LedgerWriter:
    """The one writer of a log.

    Parameters
    ----------
    folder
        The log's folder; made at first use.
    origin
        The log's name for ever: visible ASCII without spaces or ``+`` (it names keys later).
    clock
        Nanoseconds since 1970. The log's own time never goes backwards, whatever it says.
    on_point
        Called with ``ledger.before_commit``, ``.after_commit``, ``.before_apply``,
        ``.mid_apply``, ``.after_apply``: crash tests die there.

    Raises
    ------
    LedgerBusy
        If another process writes this log.
    LedgerRolledBack
        If the database is older than the bundle files.
    LedgerDamaged
        If database and files contradict each other, or the log has another origin.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        clock: Callable[[], int],
        *,
        on_point: Callable[[str], None] = _nothing,
    ) -> None:
        if not origin or not all("!" <= letter <= "~" and letter != "+" for letter in origin):
            raise LedgerError(f"{origin!r} cannot name a log: use ASCII without spaces or '+'.")
        self.folder = folder
        self.origin = origin
        self._clock = clock
        self._on_point = on_point
        self._unusable = ""
        self._log = LogState.empty(origin)
        self._full_bundle = lru_cache(_BUNDLES_KEPT)(lambda number: read_bundle(folder, number))
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as resources:
            resources.enter_context(_lock(folder))
            self._database = resources.enter_context(closing(connect_writer(folder)))
            try:
                self._open()
            except sqlite3.Error as error:
                raise LedgerDamaged(
                    f"{folder / DATABASE} cannot be opened ({error}): check the disk, and restore"
                    " the file from a copy."
                ) from error
            self._resources = resources.pop_all()

    @property
    def head(self) -> tuple[int, str]:
        """Entries committed, and the Merkle root over them in hex."""
        return self._log.head.size, self._log.head.root.hex()

    def append(self, drafts: Sequence[EntryDraft]) -> list[Receipt]:
        """Commit the drafts as one batch; they are durable on return.

        Returns
        -------
        list[Receipt]
            One for each draft, in order.

        Raises
        ------
        EntryError
            If one of them cannot be an entry; then none was written.
        LedgerLost
            If the disk failed. The writer is of no use any more: start the process again and
            append the same drafts; what was durable is found by its eid.
        """
        self._require_usable()
        own = next((draft.kind for draft in drafts if draft.kind in WRITERS_OWN), None)
        if own is not None:
            raise EntryError(f"Only the writer itself appends {own} entries.")
        prepared = [prepare(draft) for draft in drafts]
        with self._all_or_unusable():
            batch = self._new_batch()
            receipts = batch.add(prepared)
            if batch.entries:
                with self._transaction():
                    self._store(batch)
                self._take_over(batch)
            if self._log.head.size - self._log.head.staged_from >= BUNDLE_WIDTH:
                self._apply(partial=False)
        return receipts

    def check_snapshot(self, size: int, root: str) -> None:
        """Hold the log against a head (size, root in hex) that was remembered elsewhere.

        Raises
        ------
        LedgerRolledBack
            If the log is shorter, or had another root at that size.
        """
        self._require_usable()
        with self._all_or_unusable():
            if not 0 <= size <= self._log.head.size:
                raise LedgerRolledBack(
                    f"{self.folder} holds {self._log.head.size} entries and held {size} before:"
                    " it was rolled back. Restore the newer copy; do not append to this one."
                )
            whole, rest = divmod(size, BUNDLE_WIDTH)
            leaves = [leaf_hash(entry) for entry in self._bundle(whole)[:rest]] if rest else []
            if root_of(leaves, self._log.bundles[:whole]).hex() != root:
                raise LedgerRolledBack(
                    f"{self.folder} had another root at size {size}: its history was replaced."
                    " Restore the copy this deployment wrote."
                )

    def flush(self) -> None:
        """Bring every committed entry into bundle files.

        Raises
        ------
        LedgerDamaged
            If a file exists that says otherwise.
        LedgerLost
            If the disk failed.
        """
        self._require_usable()
        with self._all_or_unusable():
            self._apply(partial=True)

    def close(self) -> None:
        """Flush and let the folder go; a second call does nothing."""
        try:
            if not self._unusable:
                self.flush()
        finally:
            self._unusable = self._unusable or f"The writer of {self.folder} is closed: open anew."
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        was_begun = prepare_writer(self._database)
        clear_temporary(self.folder)
        if was_begun:
            self._database.execute("UPDATE head SET generation = generation + 1")
            self._log = load_log(self.folder, self._database, self.origin)
            self._apply(partial=True)
        else:
            refuse_leftovers(self.folder)
            self._begin()

    def _begin(self) -> None:
        """Create the tables and the first entry in one transaction: no log without its opening."""
        with self._transaction():
            create_tables(self._database, self.origin)
            batch = self._new_batch()
            batch.add([prepare(opening(self.origin, self._log.log_time_ns))])
            self._store(batch)
        self._take_over(batch)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)

    def _new_batch(self) -> Batch:
        self._log.log_time_ns = max(self._log.log_time_ns, self._clock())
        return Batch(self._log, self._log.log_time_ns, self._look_up, self._entry)

    def _look_up(self, eids: Sequence[bytes]) -> dict[bytes, int]:
        held: dict[bytes, int] = {}
        for first in range(0, len(eids), _EIDS_ASKED):
            some = eids[first : first + _EIDS_ASKED]
            marks = ",".join("?" * len(some))
            query = f"SELECT eid, i FROM eid WHERE eid IN ({marks})"  # noqa: S608 - marks only
            held.update(self._database.execute(query, some))
        return held

    def _entry(self, index: int) -> bytes:
        return self._bundle(index // BUNDLE_WIDTH)[index % BUNDLE_WIDTH]

    def _bundle(self, number: int) -> Sequence[bytes]:
        """Return what is committed of a bundle, from its file or from the stage."""
        offset = number * BUNDLE_WIDTH - self._log.head.staged_from
        if offset < 0:
            return self._full_bundle(number)
        return self._log.stage[offset : offset + BUNDLE_WIDTH]

    def _store(self, batch: Batch) -> None:
        """Write the batch, on condition that the head is still the one it was laid out on."""
        old = self._log.head
        execute, many = self._database.execute, self._database.executemany
        many("INSERT INTO stage VALUES (?, ?)", enumerate(batch.entries, batch.start))
        many("INSERT INTO eid VALUES (?, ?)", batch.eids.items())
        cursor = execute(
            "UPDATE head SET size = ?, root = ? WHERE size = ? AND root = ? AND generation = ?",
            (batch.size, batch.frontier.root(), old.size, old.root, old.generation),
        )
        self._require_still_ours(cursor)

    def _take_over(self, batch: Batch) -> None:
        """Make the committed batch part of the state in memory."""
        log, old = self._log, self._log.head
        log.bundles.extend(batch.frontier.bundles)
        batch.frontier.bundles = []
        log.frontier, log.prev = batch.frontier, batch.prev
        log.stage.extend(batch.entries)
        root = log.frontier.root()
        log.head = Head(old.origin, batch.size, root, old.applied, old.generation)

    def _apply(self, *, partial: bool) -> None:
        """Write the stage to bundle files: full ones, and the unfinished one if asked."""
        head = self._log.head
        full = head.size - head.size % BUNDLE_WIDTH
        applied = head.size if partial else full
        if applied <= head.applied:
            return
        self._on_point("ledger.before_apply")
        stage = load_stage(self._database, head)
        pieces = []
        for first in range(head.staged_from, applied, BUNDLE_WIDTH):
            end = min(first + BUNDLE_WIDTH, applied) - head.staged_from
            pieces.append((first // BUNDLE_WIDTH, stage[first - head.staged_from : end]))
        self._write_files(pieces)
        cursor = self._database.execute("BEGIN IMMEDIATE")
        cursor.execute(
            "UPDATE head SET applied = ? WHERE generation = ?", (applied, head.generation)
        )
        self._require_still_ours(cursor)
        cursor.execute("DELETE FROM stage WHERE i < ?", (full,))
        cursor.execute("COMMIT")
        for number, entries in pieces:
            drop_partials(self.folder, number, len(entries))
        self._log.stage = stage[full - head.staged_from :]
        self._log.head = Head(head.origin, head.size, head.root, applied, head.generation)
        self._on_point("ledger.after_apply")

    def _write_files(self, pieces: list[tuple[int, list[bytes]]]) -> None:
        folders = {put_bundle(self.folder, number, entries) for number, entries in pieces}
        self._on_point("ledger.mid_apply")
        for folder in folders:
            sync_folder(folder)

    def _require_still_ours(self, cursor: sqlite3.Cursor) -> None:
        if cursor.rowcount != 1:
            raise LedgerLost(
                f"Another writer has taken {self.folder} over: stop one of the two processes."
            )

    def _require_usable(self) -> None:
        if self._unusable:
            raise LedgerLost(self._unusable)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        yield
        self._on_point("ledger.before_commit")
        self._database.execute("COMMIT")
        self._on_point("ledger.after_commit")

    @contextmanager
    def _all_or_unusable(self) -> Iterator[None]:
        """Whatever stops a change half-way makes the writer unusable: only a restart knows more."""
        try:
            yield
        except EntryError:
            raise  # refused while laying out: nothing was touched
        except BaseException as error:
            self._unusable = f"The writer of {self.folder} failed ({error}): start it again."
            with suppress(sqlite3.Error):  # a half-done transaction would lock the next writer out
                self._database.rollback()
            if isinstance(error, (OSError, sqlite3.Error)):
                raise LedgerLost(self._unusable) from error
            raise


def _lock(folder: Path) -> IO[str]:
    """Take the folder for this process, or say who has it."""
    file = folder.joinpath("lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(20).strip() or "unknown"
        file.close()
        raise LedgerBusy(
            f"{folder} is being written by process {holder}: stop that process,"
            " or use another data folder. Reading and verifying need no lock."
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
