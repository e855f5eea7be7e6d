"""A dataflow that does nothing but change state and snapshot it, in a process of its own.

Every epoch a tenth of all rows changes, anywhere. A barrier is the time from an epoch's first
snapshot to the next time the source may read: by then state is copied or written, pickled,
committed, and the source is let on.
"""

import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from msgspec import json as msgspec_json

from flows import clock
from flows.recovery import open_recovery
from flows.state_files import Compactor, ShardFiles

SHARDS: Final = 32
SEED: Final = 5
DIRTY_SHARE: Final = 0.1
ROW_WORDS: Final = 16  # a row of a rule's memory, half of it zeros, as they mostly are
_NEVER: Final = 2**62
_NANOSECONDS: Final = 1e9


class Barriers:
    """When barriers began and ended."""

    def __init__(self) -> None:
        self.began_ns = 0
        self.seconds: list[float] = []

    def begin(self) -> None:
        """Note a snapshot."""
        self.began_ns = self.began_ns or clock.monotonic_ns()

    def end(self) -> None:
        """Note that the source may go on."""
        if self.began_ns:
            self.seconds.append((clock.monotonic_ns() - self.began_ns) / _NANOSECONDS)
            self.began_ns = 0


class Epochs(StatefulSourcePartition[tuple[str, int], int]):
    """Gives every shard one item an epoch."""

    def __init__(self, count: int, barriers: Barriers) -> None:
        self._left = count
        self._barriers = barriers

    def next_batch(self) -> list[tuple[str, int]]:
        """Give an epoch's items."""
        self._barriers.end()
        if self._left == 0:
            raise StopIteration
        self._left -= 1
        return [(f"s{shard}", self._left) for shard in range(SHARDS)]

    def snapshot(self) -> int:
        """Begin the barrier."""
        self._barriers.begin()
        return self._left


class EpochSource(FixedPartitionedSource[tuple[str, int], int]):
    """The one part."""

    def __init__(self, count: int, barriers: Barriers) -> None:
        self._part = Epochs(count, barriers)

    def list_parts(self) -> list[str]:
        """Name it."""
        return ["epochs"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Epochs:
        """Open it."""
        del step_id, for_part, resume_state
        return self._part


class Rows(StatefulBatchLogic[int, int, Any]):
    """One shard's rows."""

    def __init__(self, seed: int, size: int, files: ShardFiles, barriers: Barriers) -> None:
        self._rng = np.random.default_rng(seed)
        count = size // (8 * ROW_WORDS)
        self._rows = np.zeros((count, ROW_WORDS), np.uint64)
        self._rows[:, ::2] = self._rng.integers(1, 2**62, (count, ROW_WORDS // 2), np.uint64)
        self._files = files
        self._barriers = barriers

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        """Change some rows."""
        count = len(self._rows)
        changed = self._rng.choice(count, int(count * DIRTY_SHARE), replace=False)
        self._rows[changed, 0] += np.uint64(1)
        del values
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        """Copy the rows, or write what changed."""
        self._barriers.begin()
        return self._files.keep({"rows": self._rows.reshape(-1).view(np.uint8)})


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_NowherePart":
        del step_id, worker_index, worker_count
        return _NowherePart()


class _NowherePart(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        assert not items


def main(form: str, size: int, epochs: int) -> None:
    """Run some epochs and print how long their barriers took, in seconds."""
    barriers, compactor = Barriers(), Compactor()
    numbers: Iterator[int] = iter(range(SHARDS))

    with tempfile.TemporaryDirectory(prefix="tapewatch-snapshot-") as name:
        folder = Path(name)

        def start(_state: Any) -> Rows:
            number = next(numbers)
            bound = 0 if form == "pointers" else _NEVER
            files = ShardFiles(folder / "state" / str(number), bound, compactor)
            return Rows(SEED + number, size // SHARDS, files, barriers)

        flow = Dataflow("snapshot")
        items = op.input("epochs", flow, EpochSource(epochs, barriers))
        done = op.stateful_batch("rows", items, start)
        op.output("nowhere", done, _Nowhere())
        recovery = open_recovery(folder / "recovery")
        run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)  # type: ignore[no-untyped-call]
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    # The first writes everything, whatever the form.
    figures = {"seconds": barriers.seconds[1:], "first_seconds": barriers.seconds[0], "disk": disk}
    sys.stdout.buffer.write(msgspec_json.encode(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
