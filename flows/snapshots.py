"""The snapshots of one process's shards, several taken at a time.

The engine asks one shard after the other, but only once an epoch's last row has had its effect. So
all that have changed begin when the first is asked for; the time goes to reading state, packing it
and waiting for the disk, and none of that holds the interpreter.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

THREADS_MAX: Final = 4  # beyond, memory is what they wait for


class Snapshotting(Protocol):
    """A shard's step, as far as it is needed here."""

    @property
    def shard(self) -> int:
        """Index of the shard."""

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash."""


def threads_for(processes: int) -> int:
    """Return how many threads each of so many processes has for its snapshots."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(THREADS_MAX, (cores or 1) // processes))


class Snapshots:
    """Takes them.

    Parameters
    ----------
    threads
        At most so many at a time; with one, each is taken when it is asked for.
    """

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "tapewatch-snapshot") if threads > 1 else None
        self._changed: dict[int, Snapshotting] = {}
        self._begun: dict[int, Future[dict[str, Any]]] = {}

    def will_change(self, step: Snapshotting) -> None:
        """Note that a step is about to change, once nobody reads it any more."""
        begun = self._begun.pop(step.shard, None)
        if begun is not None:
            begun.result()
        self._changed[step.shard] = step

    def of(self, step: Snapshotting) -> dict[str, Any]:
        """Return a step's snapshot; all others that have changed begin, too."""
        if self._executor is None:
            return step.snapshot()
        for shard, changed in self._changed.items():
            self._begun[shard] = self._executor.submit(changed.snapshot)
        self._changed.clear()
        begun = self._begun.pop(step.shard, None)
        return step.snapshot() if begun is None else begun.result()

    def close(self) -> None:
        """Wait for those under way, drop the others: nobody writes once a folder is let go."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
