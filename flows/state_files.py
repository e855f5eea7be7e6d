"""A shard's state in files of its own, so that a snapshot is a pointer to them.

The engine pickles and stores whole every snapshot it is given, which takes seconds once state is
large. Beyond a bound a shard's arrays therefore go to ``DATA/state/shard-NN``: a base, and behind
it a log of the pages that changed, durable before the pointer is returned. When the log has grown
twice as long as the base, another thread writes both together as a new base, from the files alone;
a few shards at a time, and the others once it is their turn.

A run goes on from the last epoch that was complete everywhere. So a file stays until three newer
snapshots of its shard do without it: the epoch before the one in flight is durable by then.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

import numpy as np

from flows.packing import pack_tree, unpack_tree
from flows.state_pages import Bytes, Indices, PageHashes, page_count
from flows.state_segments import Segment, SegmentFile, read_segments, sync_folder

POINTERS_KEPT: Final = 3
LOG_SHARE: Final = 2  # of the base: writing bases more often would cost what the log saves
LOG_SHARE_MOST: Final = 4  # of the base: no shard waits for its turn beyond that
JOBS_AT_ONCE: Final = 4  # shards grow alike: all at once would take a processor for seconds
_UNFINISHED: Final = ".new"


class ArrayPlace(NamedTuple):
    """Stands in a tree where an array was taken out."""

    name: str


class StatePointer(NamedTuple):
    """Where a shard's arrays lie.

    Attributes
    ----------
    generation
        Counts the snapshots with pointers.
    segments
        A base, and what changed since, in order.
    size
        Bytes of the arrays.
    """

    generation: int
    segments: tuple[Segment, ...]
    size: int


class PointedState(NamedTuple):
    """A snapshot whose arrays lie in files."""

    rest: Any
    pointer: StatePointer


class Compactor:
    """The one thread of a process that writes bases anew; begins with the first job.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._lock = Lock()

    @property
    def has_room(self) -> bool:
        """Say whether few enough jobs wait that another shard's turn has come."""
        return self._waiting < JOBS_AT_ONCE

    def submit(self, job: Callable[[], Segment]) -> "Future[Segment]":
        """Do a job soon."""
        with self._lock:
            self._waiting += 1
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "tapewatch-state")
            future = self._executor.submit(job)
        future.add_done_callback(self._done)
        return future

    def _done(self, _future: "Future[Segment]") -> None:
        with self._lock:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for the job under way, drop the others: nobody writes once a folder is let go."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)


class ShardFiles:
    """The files of one shard.

    Parameters
    ----------
    folder
        Its own.
    pointer_from_bytes
        State of this size goes to files; smaller state goes into the snapshot whole.
    compactor
        Shared by the shards of a process.
    on_point
        Passed where a crash must do no harm.
    """

    def __init__(
        self,
        folder: Path,
        pointer_from_bytes: int,
        compactor: Compactor,
        on_point: Callable[[str], None] = lambda _point: None,
    ) -> None:
        self._folder = folder
        self._bound = pointer_from_bytes
        self._compactor = compactor
        self._on_point = on_point
        self._generation = 0
        self._segments: list[Segment] = []
        self._log: SegmentFile | None = None  # the last segment, where it is this process's
        self._hashes = PageHashes()
        self._sizes: dict[str, int] = {}
        self._job: tuple[Future[Segment], int] | None = None  # and how many segments it replaces
        self._recent: deque[frozenset[str]] = deque(maxlen=POINTERS_KEPT)
        self._named: set[str] = set()

    def take_up(self, state: Any) -> Any:
        """Return the tree that a snapshot holds, and forget what no snapshot can need.

        Raises
        ------
        StateFileError
            If a file is missing or damaged.
        """
        if not isinstance(state, PointedState):
            self._clear(frozenset())
            return None if state is None else unpack_tree(state)
        pointer = state.pointer
        parts = read_segments(self._folder, pointer.segments)
        self._generation = pointer.generation
        self._segments = list(pointer.segments)
        self._hashes.changed(parts)
        names = frozenset(segment.name for segment in pointer.segments)
        self._recent.append(names)
        self._named = set(names)
        self._clear(names)
        return _join(state.rest, parts)

    def keep(self, tree: Any) -> Any:
        """Return what a snapshot of a tree is to hold: a copy, or a pointer to durable files."""
        parts: dict[str, Bytes] = {}
        rest = _split(tree, "", parts)
        size = sum(len(data) for data in parts.values())
        # Files stay in use until state is much smaller, or a shard might change to and fro.
        if size < (self._bound // 2 if self._segments else self._bound):
            self._leave_files()
            return pack_tree(tree)
        self._adopt_base()
        self._generation += 1
        self._write(parts)
        self._on_point("state.written")
        self._compact_when_due()
        self._forget()
        return PointedState(rest, StatePointer(self._generation, tuple(self._segments), size))

    def _write(self, parts: dict[str, Bytes]) -> None:
        """Write what changed, or everything where there is no base yet."""
        pages = self._hashes.changed(parts)
        sizes = {name: len(data) for name, data in parts.items()}
        if self._segments and sizes == self._sizes and not any(map(len, pages.values())):
            return
        self._sizes = sizes
        if not self._segments:
            self._segments.append(_write_base(self._folder, self._generation, parts, pages))
            return
        if self._log is None:
            self._log = SegmentFile(self._folder / f"log-{self._generation:010}")
        else:
            self._segments.pop()  # the same file goes on
        self._segments.append(self._log.append(self._generation, parts, pages))

    def _compact_when_due(self) -> None:
        """Have base and log written together, once the log is long."""
        base, *logs = self._segments
        share = sum(log.size for log in logs) / base.size
        is_due = share >= LOG_SHARE and (self._compactor.has_room or share >= LOG_SHARE_MOST)
        if self._job is not None or not is_due:
            return
        self._log = None  # what changes from here on goes to another file
        segments, name = tuple(self._segments), f"base-{self._generation:010}"
        folder, on_point = self._folder, self._on_point

        def compact() -> Segment:
            return _compact(folder, segments, name, on_point)

        self._job = self._compactor.submit(compact), len(segments)

    def _adopt_base(self) -> None:
        """Take a base that is finished in place of what it was made of."""
        if self._job is not None and self._job[0].done():
            future, count = self._job
            self._job = None
            self._segments[:count] = [future.result()]

    def _leave_files(self) -> None:
        """Go back to whole snapshots."""
        if not self._segments and not self._named:
            return
        if self._job is not None:
            self._job[0].result()  # so that no file appears later; state is small by now
            self._job = None
        self._log = None
        self._segments = []
        self._hashes = PageHashes()
        self._forget()

    def _forget(self) -> None:
        """Delete the files that none of the last snapshots points to."""
        now = frozenset(segment.name for segment in self._segments)
        self._recent.append(now)
        self._named |= now
        needed = frozenset().union(*self._recent)
        for name in self._named - needed:
            (self._folder / name).unlink(missing_ok=True)
        self._named &= needed

    def _clear(self, needed: frozenset[str]) -> None:
        """Delete what runs left that died: no snapshot can point there any more."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in needed:
                    path.unlink()


def _write_base(
    folder: Path, generation: int, parts: dict[str, Bytes], pages: dict[str, Indices]
) -> Segment:
    """Write a base whole, then give it its name; durable on return."""
    name = f"base-{generation:010}"
    aside = folder / f"{name}{_UNFINISHED}"
    written = SegmentFile(aside).append(generation, parts, pages)
    aside.rename(folder / name)
    sync_folder(folder)
    return Segment(name, written.size, written.sha256)


def _compact(
    folder: Path, segments: tuple[Segment, ...], name: str, on_point: Callable[[str], None]
) -> Segment:
    """Write what segments amount to as one."""
    parts = read_segments(folder, segments)
    pages = {n: np.arange(page_count(len(data)), dtype=np.int32) for n, data in parts.items()}
    on_point("state.compacting")
    base = _write_base(folder, int(name.removeprefix("base-")), parts, pages)
    on_point("state.compacted")
    return base


def _split(tree: Any, name: str, parts: dict[str, Bytes]) -> Any:
    """Return the tree without its arrays, which are put into ``parts`` by their path."""
    if isinstance(tree, np.ndarray):
        parts[name] = tree
        return ArrayPlace(name)
    if isinstance(tree, dict):
        return {key: _split(value, f"{name}/{key}", parts) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_split(v, f"{name}/{k}", parts) for k, v in enumerate(tree))
    return tree


def _join(tree: Any, parts: dict[str, Bytes]) -> Any:
    if isinstance(tree, ArrayPlace):
        return parts[tree.name]
    if isinstance(tree, dict):
        return {key: _join(value, parts) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_join(value, parts) for value in tree)
    return tree
