"""The data folder: one writer at a time, one run, and a manifest that says which.

Only the writer locks. Readers open the store, the ledger and the manifest as they are.
"""

import errno
import fcntl
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self, TypeAlias

import msgspec

from detectors.core.blocks import BlockChange, changes_between
from flows.manifest import (
    MANIFEST_NAME,
    DataFolderError,
    InputSource,
    Manifest,
    Rules,
    describe_run,
    is_same_run,
    layout_problem,
    read_manifest,
    what_differs,
    write_manifest,
)

LOCK_NAME: Final = "tapewatch.lock"
RunState: TypeAlias = Literal["fresh", "resume", "completed"]


class DataFolderBusyError(DataFolderError):
    """Another process is writing to the folder."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything lies inside a data folder."""

    root: Path

    @property
    def store(self) -> Path:
        """The SQLite file of the store."""
        return self.root / "store.sqlite3"

    @property
    def arrivals(self) -> Path:
        """The SQLite file of the arrival log."""
        return self.root / "arrivals.sqlite3"

    @property
    def control(self) -> Path:
        """The SQLite file of the control log."""
        return self.root / "control.sqlite3"

    @property
    def ledger(self) -> Path:
        """The folder of the ledger."""
        return self.root / "ledger"

    @property
    def recovery(self) -> Path:
        """The folder of the dataflow's snapshots."""
        return self.root / "recovery"

    @property
    def state(self) -> Path:
        """The folder of large shards' state, which snapshots point into."""
        return self.root / "state"

    @property
    def spool(self) -> Path:
        """The folder of what came in and is not yet processed."""
        return self.root / "spool"

    @property
    def keys(self) -> Path:
        """The folder of secrets; `ledger.tokens` makes the first of them."""
        return self.root / "keys"

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.root / MANIFEST_NAME

    @property
    def lock(self) -> Path:
        """The file the writer locks."""
        return self.root / LOCK_NAME


class Run:
    """The one run of a data folder.

    Attributes
    ----------
    state
        ``fresh``: nothing was processed yet; ``resume``: go on from the last snapshot;
        ``completed``: all input was read, nothing is left to do.
    manifest
        As it stands on disk.
    changes
        Rules whose memory begins anew or is let go with this start.
    """

    def __init__(
        self,
        paths: Paths,
        state: RunState,
        manifest: Manifest,
        wanted: Manifest,
    ) -> None:
        self._paths = paths
        self._wanted = wanted
        self.state = state
        self.manifest = manifest
        self.changes: tuple[BlockChange, ...] = (
            changes_between(manifest.state.blocks, wanted.state.blocks) if state == "resume" else ()
        )

    @property
    def key(self) -> str:
        """Return the run's identity, 64 hex digits: from inputs, configuration and shards."""
        return self.manifest.run_key

    def settle_rules(self) -> None:
        """Note that the rules are those of this start; durable on return."""
        wanted, found = self._wanted, self.manifest
        count = found.state.changes + bool(self.changes)
        self.manifest = msgspec.structs.replace(
            found,
            config_hash=wanted.config_hash,
            state=msgspec.structs.replace(wanted.state, changes=count),
        )
        if self.manifest != found:
            write_manifest(self._paths.root, self.manifest)

    def complete(self) -> None:
        """Note that all input was read; durable on return."""
        self.manifest = msgspec.structs.replace(self.manifest, completed=True)
        self.state = "completed"
        write_manifest(self._paths.root, self.manifest)


class DataFolder:
    """A data folder held for writing, until ``close`` or the end of the process.

    Processes started by fork hold it too until they end; started by spawn or exec they do not.

    Parameters
    ----------
    root
        Made where it is missing, readable by its owner only.
    command
        What to name to others who find the folder busy; by default this process's command.

    Raises
    ------
    DataFolderBusyError
        If another process holds it.
    DataFolderError
        If it holds something else, or cannot be made.
    """

    def __init__(self, root: Path, command: str = "") -> None:
        self.paths = Paths(root)
        try:
            _require_ours(self.paths)
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self.paths, command or _command())
            for folder in (self.paths.recovery, self.paths.spool, self.paths.keys):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataFolderError(
                f"Cannot use the data folder {root}: {error.strerror}. Choose another --data."
            ) from error

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        """Return the folder itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Let go of the folder."""
        self.close()

    def open_run(
        self,
        inputs: Iterable[InputSource],
        config_hash: str,
        shards: int,
        rules: Rules | None = None,
    ) -> Run:
        """Begin the run, or find the same run begun before.

        Raises
        ------
        DataFolderError
            If the folder holds another run, or one whose state this version cannot take up; the
            sentence names what differs.
        """
        rules = rules or Rules()
        wanted = describe_run(tuple(inputs), config_hash, shards, rules)
        found = read_manifest(self.paths.root)
        if found is None:
            write_manifest(self.paths.root, wanted)
            return Run(self.paths, "fresh", wanted, wanted)
        if not is_same_run(found, wanted, rules_may_change=rules.may_change):
            raise DataFolderError(what_differs(self.paths.root, found, wanted))
        problem = layout_problem(self.paths.root, found)
        if problem is not None:
            raise DataFolderError(problem)
        return Run(self.paths, "completed" if found.completed else "resume", found, wanted)


def _require_ours(paths: Paths) -> None:
    """Refuse a folder that holds something else, before anything is written into it."""
    if not paths.root.is_dir() or paths.lock.exists() or paths.manifest.exists():
        return
    stranger = next(paths.root.iterdir(), None)
    if stranger is not None:
        raise DataFolderError(
            f"{paths.root} holds {stranger.name}, so it is no Tapewatch data folder. Choose a new "
            "or empty folder with --data."
        )


def _lock(paths: Paths, command: str) -> BinaryIO:
    file = paths.lock.open("ab+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(500).decode(errors="replace").strip() or "another process"
        file.close()
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        raise DataFolderBusyError(
            f"The data folder {paths.root} is in use by {holder}. Stop that process, or choose "
            "another --data."
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} ({command})".encode())
    file.flush()
    return file


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
