"""The dataflow's own parts, and what it takes for granted of the engine."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main

from detectors.core.registry import params_types
from flows.config import load
from flows.lanes import LaneBlock, ShardBlock, deal
from flows.monitor import AccountLogic, Hooks, LanePart, Pace, WriterLogic, shard_key
from flows.plan import InputSpec, Plan
from flows.processes import free_addresses
from flows.snapshots import Snapshots
from flows.sources import in_order
from lab.bench import inputs, processes

SHARDS = 32


class Keep(StatefulBatchLogic[int, int, int]):
    """Passes on, so that what comes out of a key comes out where the key is."""

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        return values, StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        return 0


class Where(DynamicSink[tuple[str, int]]):
    """Writes down at which worker each value arrives."""

    def __init__(self, seen: dict[int, int]) -> None:
        self._seen = seen

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "WherePart":
        del step_id, worker_count
        return WherePart(self._seen, worker_index)


class WherePart(StatelessSinkPartition[tuple[str, int]]):
    def __init__(self, seen: dict[int, int], worker: int) -> None:
        self._seen, self._worker = seen, worker

    def write_batch(self, items: list[tuple[str, int]]) -> None:
        self._seen.update({shard: self._worker for _, shard in items})


def where_flow(seen: dict[int, int], shards: int) -> Dataflow:
    flow = Dataflow("where")
    keyed = [(shard_key(shard, shards), shard) for shard in range(shards)]
    kept = op.stateful_batch("keep", op.input("in", flow, TestingSource(keyed)), lambda _: Keep())
    op.output("out", kept, Where(seen))
    return flow


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_engine_puts_shard_s_on_worker_s_modulo_the_workers(workers: int) -> None:
    seen: dict[int, int] = {}
    cluster_main(where_flow(seen, SHARDS), [], 0, worker_count_per_proc=workers)
    assert seen == {shard: shard % workers for shard in range(SHARDS)}


def test_two_processes_share_the_shards_in_the_same_way() -> None:
    addresses = free_addresses(2)
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from test_monitor import where_flow, SHARDS, cluster_main\n"
        "seen = {}\n"
        "cluster_main(where_flow(seen, SHARDS), sys.argv[3:], int(sys.argv[2]))\n"
        "print(sorted(seen.items()))\n"
    )
    folder = str(Path(__file__).parent)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, folder, str(process), *addresses],
            stdout=subprocess.PIPE,
            env=processes.environment(),
        )
        for process in range(2)
    ]
    # The engine tells on standard output that it waits for its peer; what we print comes last.
    seen = [each.communicate()[0].decode().strip().splitlines()[-1] for each in started]
    assert seen == [str([(s, w) for s in range(SHARDS) if s % 2 == w]) for w in range(2)]


def test_every_shard_has_a_key_of_its_own_that_never_changes() -> None:
    assert [shard_key(shard, 4) for shard in range(4)] == ["s4", "s0", "s2", "s1"]
    assert len({shard_key(shard, 1_024) for shard in range(1_024)}) == 1_024


@dataclass
class Item:
    """A block that nobody scans."""

    number: int
    size: int = 10

    def scan(self) -> LaneBlock:
        raise NotImplementedError


def parts(pace: Pace, count: int, blocks: int, epoch_bytes: int = 1_000) -> list[LanePart]:
    def items(part: int) -> Iterator[Item]:
        del part
        return (Item(number) for number in range(blocks))

    return [LanePart(n, 0, items(n), epoch_bytes, pace, lambda: False) for n in range(count)]


def give(part: LanePart) -> list[int]:
    return [item.number for item in part.next_batch()]


def test_parts_give_blocks_in_order_whoever_is_asked() -> None:
    one, two = parts(Pace(8), 2, blocks=2)
    assert give(two) == [0]
    assert give(two) == []
    assert give(one) == [0]
    assert (give(one), give(one)) == ([1], [])
    assert give(two) == [1]


def test_a_part_that_has_ended_holds_nobody_back() -> None:
    one, two = parts(Pace(8), 2, blocks=1)
    assert (give(one), give(two)) == ([0], [0])
    for part in (one, two):
        with pytest.raises(StopIteration):
            part.next_batch()


def test_a_part_finds_its_end_though_no_room_is_left() -> None:
    pace = Pace(1)
    pace.applied(0, 3)  # all three blocks there are; this part would go on with the eleventh
    part = LanePart(2, 10, iter([]), 1_000, pace, lambda: False)
    with pytest.raises(StopIteration):
        part.next_batch()


def test_parts_wait_for_the_slowest_shard() -> None:
    pace = Pace(2)
    (part,) = parts(pace, 1, blocks=9)
    pace.applied(0, 0)
    pace.applied(1, 0)
    assert (give(part), give(part), give(part)) == ([0], [1], [])
    pace.applied(0, 2)
    assert give(part) == []
    pace.applied(1, 1)
    assert (give(part), give(part)) == ([2], [])


def test_an_epoch_is_bounded_until_its_snapshot_is_durable() -> None:
    (part,) = parts(Pace(8), 1, blocks=9, epoch_bytes=20)
    assert (give(part), give(part), give(part)) == ([0], [1], [])
    assert part.snapshot() == 2
    assert give(part) == [2]


def test_a_stop_ends_every_part_and_keeps_its_place() -> None:
    stop = [False]
    pace = Pace(8)
    part = LanePart(0, 0, iter([Item(0), Item(1)]), 1_000, pace, lambda: stop[0])
    assert give(part) == [0]
    stop[0] = True
    with pytest.raises(StopIteration):
        part.next_batch()
    assert part.snapshot() == 1


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "day.ndjson"
    inputs.write_lines(path, inputs.market_lines(3_000, 1, 100))
    flags = ["shards=1", "intake.block_bytes=65536", "detectors.order_to_trade.ratio_max=1"]
    data = tmp_path / "data"
    data.mkdir()
    config = load(flags, {"data": str(data)}, detectors=params_types(), environment={})
    return Plan(data, (InputSpec(name=str(path)),), config)


@pytest.fixture
def blocks(plan: Plan) -> list[ShardBlock]:
    return [deal(item.scan(), 1)[0] for item in in_order(plan.source())]


def account_logic(plan: Plan, state: dict[str, Any] | None = None) -> AccountLogic:
    make_stage = plan.stage_factory(plan.source())

    def start(shard: int, state: Any) -> Any:
        return plan.account_step(shard, make_stage, state)

    return AccountLogic(start, plan, Pace(8), state, Snapshots(2))


def test_a_shards_snapshot_is_a_copy_and_resuming_uses_it(
    plan: Plan, blocks: list[ShardBlock]
) -> None:
    whole, logic = account_logic(plan), account_logic(plan)
    middle = len(blocks) // 2
    logic.on_batch(blocks[:middle])
    whole.on_batch(blocks[:middle])
    taken = logic.snapshot()
    as_taken = pickle.dumps(taken)
    logic.on_batch(blocks[middle:])

    assert pickle.dumps(taken) == as_taken
    resumed = account_logic(plan, copy.deepcopy(taken))
    expected, _ = whole.on_batch(blocks[middle:])
    assert resumed.on_batch(blocks[middle:])[0] == expected
    assert any(message.findings for message in expected)


def test_blocks_that_wait_for_their_turn_survive_a_snapshot(
    plan: Plan, blocks: list[ShardBlock]
) -> None:
    whole, logic = account_logic(plan), account_logic(plan)
    assert logic.on_batch(blocks[1:3])[0] == []
    resumed = account_logic(plan, pickle.loads(pickle.dumps(logic.snapshot())))
    expected, _ = whole.on_batch(blocks[:3])
    assert resumed.on_batch(blocks[:1])[0] == expected


def test_a_block_that_comes_again_stops_the_process(plan: Plan, blocks: list[ShardBlock]) -> None:
    logic = account_logic(plan)
    logic.on_batch(blocks[:2])
    with pytest.raises(AssertionError, match="block 1 came again, 2 is next"):
        logic.on_batch(blocks[1:2])


def test_the_end_of_a_stopped_input_flushes_nothing(plan: Plan, blocks: list[ShardBlock]) -> None:
    account = account_logic(plan)
    messages, _ = account.on_batch(blocks[:3])
    before = pickle.dumps(account.snapshot())
    assert account.on_eof() == ([], StatefulBatchLogic.RETAIN)
    assert pickle.dumps(account.snapshot()) == before

    writer = WriterLogic(plan.writer_step("run", None), plan)
    writer.on_batch(messages)
    taken = writer.snapshot()
    assert writer.on_eof() == ([], StatefulBatchLogic.RETAIN)
    assert writer.snapshot() == taken
    writer._step.close()


def test_the_writers_snapshot_is_a_copy(plan: Plan, blocks: list[ShardBlock]) -> None:
    messages, _ = account_logic(plan).on_batch(blocks)
    writer = WriterLogic(plan.writer_step("run", None), plan)
    writer.on_batch(messages[:1])
    taken = writer.snapshot()
    as_taken = copy.deepcopy(taken)
    writer.on_batch(messages[1:])
    assert taken == as_taken
    assert writer.snapshot() != as_taken
    writer._step.close()


def test_nobody_asks_a_run_to_stop_by_default() -> None:
    assert Hooks().should_stop() is False
