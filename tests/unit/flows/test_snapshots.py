"""Snapshots of a process's shards, several at a time: each is of its epoch's end, never older."""

import pickle
from pathlib import Path
from threading import Barrier, Event, Timer
from typing import Any

import pytest
from plan_parts import make_plan

from flows.lanes import deal
from flows.snapshots import THREADS_MAX, Snapshots, threads_for
from flows.sources import in_order
from flows.state_files import PointedState
from lab.bench.load import Load


class Counted:
    """A step whose state is a number."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.count = 0
        self.taken = 0

    def snapshot(self) -> dict[str, Any]:
        self.taken += 1
        return {"count": self.count}


class Slow(Counted):
    """Snapshots of it wait until they may go on, and then read what is there."""

    def __init__(self, shard: int) -> None:
        super().__init__(shard)
        self.begun, self.go_on = Event(), Event()

    def snapshot(self) -> dict[str, Any]:
        self.begun.set()
        assert self.go_on.wait(30)
        return super().snapshot()


class Meeting(Counted):
    """Snapshots of two of them end only if both are under way."""

    def __init__(self, shard: int, barrier: Barrier) -> None:
        super().__init__(shard)
        self._barrier = barrier

    def snapshot(self) -> dict[str, Any]:
        self._barrier.wait(30)
        return super().snapshot()


def change(snapshots: Snapshots, *steps: Counted) -> None:
    for step in steps:
        snapshots.will_change(step)
        step.count += 1


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_snapshot_is_of_the_state_at_the_epochs_end(threads: int) -> None:
    snapshots = Snapshots(threads)
    steps = [Counted(shard) for shard in range(5)]
    for epoch in range(1, 4):
        change(snapshots, *steps)
        assert [snapshots.of(step) for step in steps] == [{"count": epoch}] * 5
        assert [step.taken for step in steps] == [epoch] * 5


def test_all_that_changed_begin_with_the_first() -> None:
    snapshots, barrier = Snapshots(2), Barrier(2)
    steps = [Meeting(shard, barrier) for shard in range(2)]
    change(snapshots, *steps)
    assert [snapshots.of(step) for step in steps] == [{"count": 1}] * 2


def test_a_step_that_nobody_asked_for_is_taken_anew_when_it_changes() -> None:
    snapshots = Snapshots(2)
    asked, other = Counted(0), Counted(1)
    change(snapshots, asked, other)
    assert snapshots.of(asked) == {"count": 1}
    change(snapshots, other)
    assert snapshots.of(other) == {"count": 2}
    assert snapshots.of(other) == {"count": 2}, "unchanged, it is asked once more"


def test_a_step_changes_only_once_nobody_reads_it() -> None:
    snapshots = Snapshots(2)
    asked, slow = Counted(0), Slow(1)
    change(snapshots, asked, slow)
    assert snapshots.of(asked) == {"count": 1}
    assert slow.begun.wait(30)
    Timer(0.1, slow.go_on.set).start()
    snapshots.will_change(slow)
    assert slow.taken == 1, "it has been read by now"


def test_what_fails_is_raised_where_it_is_asked_for() -> None:
    class Broken(Counted):
        def snapshot(self) -> dict[str, Any]:
            raise OSError("no room")

    snapshots = Snapshots(2)
    fine, broken = Counted(0), Broken(1)
    change(snapshots, fine, broken)
    assert snapshots.of(fine) == {"count": 1}
    with pytest.raises(OSError, match="no room"):
        snapshots.of(broken)


def test_after_closing_nobody_reads_or_writes() -> None:
    snapshots = Snapshots(2)
    asked, slow, *others = Counted(0), Slow(1), Slow(2), Counted(3), Counted(4)
    change(snapshots, asked, slow, *others)
    assert snapshots.of(asked) == {"count": 1}
    assert slow.begun.wait(30)
    for one in (slow, others[0]):
        Timer(0.1, one.go_on.set).start()
    snapshots.close()
    assert slow.taken == 1, "what was under way has ended"
    taken = [one.taken for one in others]
    assert taken == [one.taken for one in others]
    assert sum(taken) < len(others), "what waited was dropped"


def test_processes_share_the_processors() -> None:
    assert 1 <= threads_for(1) <= THREADS_MAX
    assert threads_for(1_000) == 1


def test_what_a_pointed_snapshot_gives_the_engine_does_not_grow_with_accounts(
    tmp_path: Path,
) -> None:
    """The engine stores it at every epoch: of a million accounts it once was 35 MB."""
    load = Load(accounts=4_000, burst_share=10, self_share=100)
    path = tmp_path / "day.ndjson"
    path.write_bytes(load.lines(0, 8_000))
    plan = make_plan(tmp_path / "data", [path], ["shards=1", "state.pointer_from_bytes=1"])
    step = plan.account_step(0, plan.stage_factory(plan.source()), None)
    sizes = []
    for item in in_order(plan.source()):
        step.take(deal(item.scan(), 1)[0])
        state = step.snapshot()
        assert isinstance(state["stage"], PointedState)
        sizes.append(len(pickle.dumps(state)))
    assert step.totals()["events"] == 16_000
    assert sizes[-1] < 16_384
