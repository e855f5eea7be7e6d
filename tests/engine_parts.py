"""Parts for tests that show what the engine itself does: a source by script, a step that logs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

EACH = timedelta(0)  # an epoch for every batch
ONE = timedelta(hours=1)  # all batches in one epoch
Log = list[Any]
Batch = list[tuple[str, Any]]


class PanicException(BaseException):
    """What the engine raises where processes lose each other, whatever the reason was."""


class Script(FixedPartitionedSource[Any, int]):
    """Gives the batches of a script, one after the other, and goes on where it stood.

    A batch may be a function, which is called for what it does and gives nothing. After the last
    batch it gives nothing until ``may_end`` says that it may end.
    """

    def __init__(
        self,
        batches: list[Any],
        log: Log | None = None,
        may_end: Callable[[], bool] = lambda: True,
        part: str = "only",
    ) -> None:
        self._batches, self._may_end, self._part = batches, may_end, part
        self._log = [] if log is None else log

    def list_parts(self) -> list[str]:
        return [self._part]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "ScriptPart":
        del step_id, for_part
        return ScriptPart(self._batches, resume_state or 0, self._log, self._may_end)


class ScriptPart(StatefulSourcePartition[Any, int]):
    def __init__(
        self, batches: list[Any], first: int, log: Log, may_end: Callable[[], bool]
    ) -> None:
        self._batches, self._next, self._log = batches, first, log
        self._may_end = may_end

    def next_batch(self) -> Batch:
        if self._next >= len(self._batches):
            if self._may_end():
                raise StopIteration
            return []
        batch = self._batches[self._next]
        self._next += 1
        self._log.append(("next", self._next))
        if callable(batch):
            batch()
            return []
        return list(batch)

    def snapshot(self) -> int:
        self._log.append(("place", self._next))
        return self._next


class Sum(StatefulBatchLogic[int, int, int]):
    """Adds up, and gives the sum so far."""

    def __init__(self, state: int | None) -> None:
        self.sum = state or 0

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        self.sum += sum(values)
        return [self.sum], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[int], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return self.sum


def numbers(count: int, key: str = "key") -> list[Batch]:
    return [[(key, number)] for number in range(1, count + 1)]


def flow_of(source: Any, build: Callable[[Any], Any], out: Log | Any) -> Dataflow:
    flow = Dataflow("flow")
    given = op.input("in", flow, source)
    done = op.stateful_batch("step", given, build)
    op.output("out", done, TestingSink(out) if isinstance(out, list) else out)
    return flow


def run_flow(
    source: Any,
    build: Callable[[Any], Any],
    out: Log | Any,
    epoch: timedelta,
    folder: Path | None = None,
) -> None:
    """Run a flow; in a folder it goes on from where the last run there stood."""
    recovery = None
    if folder is not None:
        if not any(folder.glob("part-*.sqlite3")):
            init_db_dir(folder, 1)
        recovery = RecoveryConfig(folder)
    run_main(flow_of(source, build, out), epoch_interval=epoch, recovery_config=recovery)
