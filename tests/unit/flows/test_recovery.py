"""The engine's recovery store, and what unfinished epochs leave in it."""

import pickle
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main

from flows.recovery import FIRST_EPOCH, open_recovery, purge, resume_epoch

Sums = list[tuple[str, int]]


class PowerCutError(RuntimeError):
    """Ends a run before its time."""


class Part(StatefulSourcePartition[tuple[str, int], int]):
    """Gives the numbers from 0 to ``until``, an epoch each; then ends, or idles and dies."""

    def __init__(self, first: int, until: int, idle_epochs: int | None) -> None:
        self._next, self._until, self._idle_epochs = first, until, idle_epochs

    def next_batch(self) -> Iterable[tuple[str, int]]:
        if self._next >= self._until:
            if self._idle_epochs is None:
                raise StopIteration
            if self._idle_epochs == 0:
                raise PowerCutError
            self._idle_epochs -= 1
            return []
        self._next += 1
        return [("key", self._next - 1)]

    def snapshot(self) -> int:
        return self._next


class Numbers(FixedPartitionedSource[tuple[str, int], int]):
    def __init__(self, until: int, idle_epochs: int | None) -> None:
        self._until, self._idle_epochs = until, idle_epochs

    def list_parts(self) -> list[str]:
        return ["only"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Part:
        assert (step_id, for_part) == ("flow.numbers", "only")
        return Part(resume_state or 0, self._until, self._idle_epochs)


class Sum(StatefulBatchLogic[int, int, int]):
    """Adds up; ``on_eof`` does nothing, as ours."""

    def __init__(self, state: int | None) -> None:
        self._sum = state or 0

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        self._sum += sum(values)
        return [self._sum], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[int], bool]:
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        return self._sum


def run_until(until: int, recovery: RecoveryConfig, idle_epochs: int | None = None) -> Sums:
    out: Sums = []
    flow = Dataflow("flow")
    numbers = op.input("numbers", flow, Numbers(until, idle_epochs))
    sums = op.stateful_batch("sum", numbers, Sum)
    op.output("out", sums, TestingSink(out))
    run_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    return out


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.sqlite3"))


def rows(files: list[Path], query: str) -> list[Any]:
    found = []
    for file in files:
        with closing(sqlite3.connect(file)) as connection:
            found += connection.execute(query).fetchall()
    return found


def plant(files: list[Path], epoch: int, state: int) -> None:
    """Leave a snapshot of the sum as an epoch would that began but never completed."""
    for file in files:
        with closing(sqlite3.connect(file)) as connection, connection:
            held = connection.execute(
                "SELECT step_id, state_key FROM snaps WHERE step_id = 'flow.sum' LIMIT 1"
            ).fetchone()
            if held is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO snaps (step_id, state_key, snap_epoch, ser_change)"
                    " VALUES (?, ?, ?, ?)",
                    (*held, epoch, pickle.dumps(state)),
                )
                return
    raise AssertionError("no snapshot to imitate")


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, int]:
    """Return a store after a run over 0 … 4, and the epoch it resumes from."""
    assert run_until(5, open_recovery(tmp_path)) == [("key", n) for n in (0, 1, 3, 6, 10)]
    return tmp_path, resume_epoch(files_of(tmp_path))


def test_a_fresh_store_begins_at_the_first_epoch(tmp_path: Path) -> None:
    open_recovery(tmp_path)
    assert resume_epoch(files_of(tmp_path)) == FIRST_EPOCH


def test_a_run_goes_on_from_its_snapshot(stopped: tuple[Path, int]) -> None:
    folder, _ = stopped
    assert run_until(7, open_recovery(folder)) == [("key", 15), ("key", 21)]


def test_the_resume_epoch_is_the_one_the_engine_takes(stopped: tuple[Path, int]) -> None:
    folder, epoch = stopped
    run_until(7, open_recovery(folder))
    newest = max(rows(files_of(folder), "SELECT ex_num, resume_epoch FROM exs"))
    assert newest[1] == epoch


def die_idle(recovery: RecoveryConfig) -> None:
    """Run through some epochs that have nothing for the sum, so none of its snapshots, and die."""
    with pytest.raises(BytewaxRuntimeError):
        run_until(5, recovery, idle_epochs=20)


def test_a_stale_row_is_taken_by_a_later_run_without_the_purge(stopped: tuple[Path, int]) -> None:
    folder, epoch = stopped
    plant(files_of(folder), epoch + 1, 1_000)  # a run that died in this epoch left it
    die_idle(RecoveryConfig(folder))  # a second crash, some epochs later
    assert resume_epoch(files_of(folder)) > epoch + 1
    assert run_until(6, RecoveryConfig(folder)) == [("key", 1_005)]


def test_a_stale_row_is_gone_with_the_purge(stopped: tuple[Path, int]) -> None:
    folder, epoch = stopped
    plant(files_of(folder), epoch + 1, 1_000)
    die_idle(open_recovery(folder))
    assert resume_epoch(files_of(folder)) > epoch + 1
    assert run_until(6, open_recovery(folder)) == [("key", 15)]


def test_the_purge_deletes_unfinished_epochs_only(stopped: tuple[Path, int]) -> None:
    folder, epoch = stopped
    files = files_of(folder)
    before = rows(files, "SELECT step_id, snap_epoch FROM snaps")
    plant(files, epoch, 1_000)
    plant(files, epoch + 3, 1_000)

    assert purge(files) == 2
    assert rows(files, "SELECT step_id, snap_epoch FROM snaps") == before
    assert purge(files) == 0


def test_a_store_half_made_is_made_anew(tmp_path: Path) -> None:
    open_recovery(tmp_path)
    files_of(tmp_path)[1].unlink()
    open_recovery(tmp_path)
    assert len(files_of(tmp_path)) == 2
    assert run_until(1, open_recovery(tmp_path)) == [("key", 0)]


def test_a_store_that_died_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "making").mkdir()
    (tmp_path / "making" / "part-0.sqlite3").write_bytes(b"half")
    open_recovery(tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["part-0.sqlite3", "part-1.sqlite3"]
    assert resume_epoch(sorted(tmp_path.iterdir())) == FIRST_EPOCH


def test_a_worker_that_reported_nothing_stands_where_its_run_began(tmp_path: Path) -> None:
    open_recovery(tmp_path)
    files = files_of(tmp_path)
    with closing(sqlite3.connect(files[0])) as connection, connection:
        connection.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
        connection.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (1, 2, 4)")
        connection.execute(
            "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (1, 0, 9)"
        )
    assert resume_epoch(files) == 4
    with closing(sqlite3.connect(files[1])) as connection, connection:
        connection.execute(
            "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (1, 1, 7)"
        )
    assert resume_epoch(files) == 7
