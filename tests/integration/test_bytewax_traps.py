"""What the engine does that would lose, double or delay: each shown, with what guards us from it.

docs/explanation/engine.md lists them. Stale snapshots of unfinished epochs (trap 5) are shown in
tests/unit/flows/test_recovery.py.
"""

import ast
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as windows
import pytest
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from confluent_kafka import KafkaError
from engine_parts import EACH, ONE, Log, Script, Sum, flow_of, numbers, run_flow
from kafka_parts import ListReader, lanes_reader, line, numbered
from servers.mock_kafka import PRODUCE_API, MockKafka

from flows import clock
from flows.edges.kafka_sink import KafkaSink as OurSink
from flows.edges.kafka_url import KafkaLanes, KafkaProblem
from flows.guard import GuardedLogic
from flows.live_flow import LivePart
from flows.monitor import AccountLogic, WriterLogic, shard_key
from flows.observe.watching import WatchedLogic
from flows.processes import free_addresses
from lab.bench import processes

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0
OURS = [AccountLogic, WriterLogic, WatchedLogic, GuardedLogic]
# The store is read by another process: it has another SQLite than the engine, and closing a file
# lets go of all locks that the same process holds on it.
READ_STORE = """
import json, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
front = store.execute("SELECT max(worker_frontier) FROM fronts").fetchone()[0]
steps = store.execute("SELECT step_id, max(snap_epoch) FROM snaps GROUP BY step_id").fetchall()
print(json.dumps([front, dict(steps)]))
"""


class PowerCutError(RuntimeError):
    """Ends a run before its time."""


def cut_power() -> None:
    raise PowerCutError


def read_store(folder: Path) -> Any:
    (file,) = folder.glob("part-*.sqlite3")
    words = [sys.executable, "-I", "-c", READ_STORE, str(file)]
    return json.loads(subprocess.run(words, capture_output=True, check=True).stdout)


AS_PEOPLE_USE_IT = ROOT / "lab" / "bench" / "peer_part.py"  # measured beside ours


def imports_of(room: Path) -> set[str]:
    names = set()
    for path in set(room.rglob("*.py")) - {AS_PEOPLE_USE_IT}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


# 1 and 10: when a source is asked for more


def test_a_source_is_asked_again_only_when_the_last_epoch_is_in_the_store(tmp_path: Path) -> None:
    found: Log = []
    batches = [batch for n in range(1, 4) for batch in ([("key", n)], look(found, tmp_path))]
    run_flow(Script(batches), Sum, [], EACH, tmp_path)
    # Batches and looks take turns, an epoch each; a look sees the epoch before it, whole.
    assert found == [[2 * n, {"flow.in": 2 * n - 1, "flow.step": 2 * n - 1}] for n in range(1, 4)]


def look(found: Log, folder: Path) -> Callable[[], None]:
    return lambda: found.append(read_store(folder))


def test_offsets_are_committed_when_a_part_is_asked_after_its_snapshot(tmp_path: Path) -> None:
    event = {"kind": "app.event", "source": "s", "event_time_ns": 1_772_584_453_835_693_051}
    values = [line(event | {"event_id": str(n), "account_id": "A", "name": "o"}) for n in range(4)]
    source = ListReader({0: numbered(values)}, [(0, 2)])
    reader = lanes_reader(source, tmp_path / "control.sqlite3")
    part = LivePart(0, reader, KafkaLanes(("orders",)), 1 << 20, lambda: False, None)
    part.next_batch()  # tells where the lane stands
    part.next_batch()
    assert part.snapshot()[0][0] == 2
    assert source.committed == {}  # a crash now would go back to before the two
    part.next_batch()
    assert source.committed == {0: 2}


class Wait(Sum):
    """Takes its first value only when the source has given all there is."""

    def __init__(self, given: threading.Event) -> None:
        super().__init__(None)
        self._given = given

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        assert self._given.wait(WAIT_SECONDS), "the source was held back"
        return super().on_batch(values)


def test_within_an_epoch_nothing_holds_a_source_back() -> None:
    given, out = threading.Event(), []  # type: ignore[var-annotated]
    script = Script([*numbers(500, shard_key(1, 2)), given.set])
    flow = flow_of(script, lambda _: Wait(given), out)
    # Two workers: the source is on one of them, what it gives goes to the other.
    cluster_main(flow, [], 0, epoch_interval=ONE, worker_count_per_proc=2)
    assert out[-1][1] == sum(range(501))


# 2 and 3: what becomes of a snapshot


class Pickled:
    """State that tells when it is pickled."""

    def __init__(self, name: str, log: Log) -> None:
        self.name, self.log = name, log

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        self.log.append(("pickled", self.name))
        return str, (self.name,)


class Named(Sum):
    def __init__(self, log: Log) -> None:
        super().__init__(None)
        self._log, self._name = log, ""

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        self._name = values[-1]
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Pickled:
        self._log.append(("snapshot", self._name))
        return Pickled(self._name, self._log)


def test_a_key_is_pickled_whole_in_every_epoch_that_touches_it_and_in_no_other(
    tmp_path: Path,
) -> None:
    log: Log = []
    batches = [[("a", "a"), ("b", "b")], [("a", "a")], [("a", "a")], cut_power]
    with pytest.raises(BytewaxRuntimeError):
        run_flow(Script(batches), lambda _: Named(log), [], EACH, tmp_path)
    pickled = [name for what, name in log if what == "pickled"]
    assert (pickled.count("a"), pickled.count("b")) == (3, 1)


def test_a_snapshot_is_pickled_after_others_were_taken_so_it_must_be_a_copy(
    tmp_path: Path,
) -> None:
    log: Log = []
    run_flow(Script([[("a", "a"), ("b", "b")]]), lambda _: Named(log), [], EACH, tmp_path)
    assert [what for what, _ in log[:4]] == ["snapshot", "snapshot", "pickled", "pickled"]


@pytest.mark.parametrize(("build", "sums"), [(Sum, [15, 21]), (lambda _: Sum(None), [5, 11])])
def test_a_builder_that_drops_its_state_begins_anew_and_nobody_complains(
    tmp_path: Path, build: Callable[[Any], Sum], sums: list[int]
) -> None:
    run_flow(Script(numbers(4)), build, [], EACH, tmp_path)
    out: Log = []
    run_flow(Script(numbers(6)), build, out, EACH, tmp_path)
    assert [value for _, value in out] == sums


# 4: sinks


def test_a_sink_gets_again_what_a_crash_made_undone(tmp_path: Path) -> None:
    out: Log = []
    with pytest.raises(BytewaxRuntimeError):
        run_flow(Script([*numbers(3), cut_power]), Sum, out, ONE, tmp_path)
    run_flow(Script(numbers(5)), Sum, out, ONE, tmp_path)
    assert [value for _, value in out] == [1, 3, 6, 1, 3, 6, 10, 15]


# 6 to 8: threads, the clock, timers


class Spin(Sum):
    """Keeps the interpreter busy."""

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        sum(range(1_000_000))
        return super().on_batch(values)


def test_two_workers_of_a_process_share_one_processor_so_each_process_has_one() -> None:
    names = [shard_key(worker, 2) for worker in range(2)]
    batch = [(name, 1) for name in names]
    flow = flow_of(Script([batch] * 8), lambda _: Spin(None), [])
    wall, used = clock.monotonic_ns(), time.process_time_ns()
    cluster_main(flow, [], 0, epoch_interval=EACH, worker_count_per_proc=2)
    wall, used = clock.monotonic_ns() - wall, time.process_time_ns() - used
    assert used < 1.5 * wall  # two processors would give 2, however busy the machine is
    asked = [p for p in (ROOT / "flows").rglob("*.py") if "worker_count_per_proc" in p.read_text()]
    assert asked == []


def late(seconds_a_look: float) -> int:
    """Count what the engine's windows find late, when its clock moves so fast."""
    start = datetime(2026, 3, 2, tzinfo=UTC)
    now = [start]

    def tick() -> datetime:
        now[0] += timedelta(seconds=seconds_a_look)
        return now[0]

    out: Log = []
    flow = Dataflow("windows")
    times = [start + timedelta(seconds=second) for second in (0, 10, 5, 11)]
    given = op.input("in", flow, TestingSource([("key", each) for each in times], batch_size=1))
    event_clock = windows.EventClock(lambda value: value, timedelta(seconds=6), now_getter=tick)
    minutes = windows.TumblingWindower(length=timedelta(minutes=1), align_to=start)
    found = windows.collect_window("window", given, event_clock, minutes)
    op.output("late", found.late, TestingSink(out))
    op.output("out", found.down, TestingSink([]))
    run_main(flow)
    return len(out)


def test_its_windows_judge_the_same_events_by_the_clock_on_the_wall() -> None:
    assert (late(0), late(3)) == (0, 2)


@pytest.mark.parametrize("room", ["schemas", "detectors", "ledger", "flows", "lab", "console"])
def test_no_room_uses_its_windows_or_connectors(room: str) -> None:
    used = {name for name in imports_of(ROOT / room) if name.startswith("bytewax")}
    assert not [n for n in used if n.startswith(("bytewax.connectors", "bytewax.operators.w"))]
    if room not in ("flows", "lab"):  # benches run dataflows of their own
        assert used == set()


def from_now(seconds: float) -> datetime:
    return datetime.fromtimestamp(clock.now_ns() / 1e9 + seconds, UTC)


class Timed(Sum):
    """Wants to be woken after its first value, and no more after its second."""

    def __init__(self, log: Log) -> None:
        super().__init__(None)
        self._log = log
        self._wake_at: datetime | None = None

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        is_first = values == [1]
        self._wake_at = from_now(0.2) if is_first else None
        return [], StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[int], bool]:
        self._log.append("woken")
        return [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self._wake_at


def test_a_timer_that_was_taken_back_still_fires() -> None:
    log: Log = []
    until = from_now(WAIT_SECONDS)
    script = Script(numbers(2), may_end=lambda: bool(log) or from_now(0) > until)
    run_flow(script, lambda _: Timed(log), [], EACH)
    assert log == ["woken"]


@pytest.mark.parametrize("logic", OURS)
def test_no_step_of_ours_asks_to_be_woken(logic: type[StatefulBatchLogic[Any, Any, Any]]) -> None:
    for name in ("notify_at", "on_notify"):
        assert getattr(logic, name) is getattr(StatefulBatchLogic, name)


# 9: its Kafka


def test_its_kafka_sink_loses_what_is_refused_and_ours_stops(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("lossy", 1)
    too_large = KafkaError.MSG_SIZE_TOO_LARGE
    mock_kafka.refuse(PRODUCE_API, too_large)
    flow = Dataflow("lossy")
    messages = [KafkaSinkMessage(None, b"lost")]
    given = op.input("in", flow, TestingSource(messages))
    op.output("out", given, KafkaSink([mock_kafka.bootstrap], "lossy"))
    run_main(flow)  # as if all were well

    mock_kafka.refuse(PRODUCE_API, too_large)
    ours = OurSink(f"kafka://{mock_kafka.bootstrap}/lossy", {})
    with pytest.raises(KafkaProblem, match="did not take a message for topic lossy"):
        ours.send([("key", b"value")])
    ours.close()


# 11: stopping


class Flush(Sum):
    """Gives its sum when the input ends, as examples do."""

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        super().on_batch(values)
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[int], bool]:
        return [self.sum], StatefulBatchLogic.RETAIN


def test_a_step_cannot_tell_a_stop_from_the_end_so_it_must_not_flush(tmp_path: Path) -> None:
    out: Log = []
    run_flow(Script(numbers(3)), Flush, out, EACH, tmp_path)  # stopped after three
    run_flow(Script(numbers(5)), Flush, out, EACH, tmp_path)
    assert [value for _, value in out] == [6, 15]  # and 6 was never a result


def test_a_signal_ends_a_run_without_a_snapshot(tmp_path: Path) -> None:
    log: Log = []
    script = Script([*numbers(3), lambda: signal.raise_signal(signal.SIGINT)], log)
    with pytest.raises(BytewaxRuntimeError):
        run_flow(script, Sum, [], ONE, tmp_path)
    assert [what for what, _ in log] == ["next"] * 4
    assert read_store(tmp_path)[1] == {}


# 12 and 13: several processes

PEER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from bytewax.testing import cluster_main
from engine_parts import EACH, Script, Sum, flow_of
from flows.monitor import shard_key

class Message:
    def __reduce__(self):
        return print, (f"unpickled what {os.getpid()} sent",)

class Take(Sum):
    def on_batch(self, values):
        sys.stdout.flush()
        return [], False

me, addresses = int(sys.argv[2]), sys.argv[3:]
batches = [] if me else [[(shard_key(1, 2), Message())]]
script = Script(batches, may_end=lambda: False, part=f"part-{me}")
cluster_main(flow_of(script, Take, []), addresses, me, epoch_interval=EACH)
"""


def test_processes_trust_each_other_s_pickles_and_one_that_dies_ends_the_other() -> None:
    addresses = free_addresses(2)
    assert {address.partition(":")[0] for address in addresses} == {"127.0.0.1"}
    words = [sys.executable, "-c", PEER, str(ROOT / "tests")]
    peers = [
        subprocess.Popen(
            [*words, str(me), *addresses],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=processes.environment(),
        )
        for me in range(2)
    ]
    try:
        assert peers[1].stdout is not None
        told = [next(said for said in peers[1].stdout if said.startswith("unpickled"))]
        assert told == [f"unpickled what {peers[0].pid} sent\n"]  # and had print called for it
        peers[1].kill()
        _, said = peers[0].communicate(timeout=WAIT_SECONDS)
    finally:
        for peer in peers:
            peer.kill()
            peer.communicate()
    assert peers[0].returncode != 0
    assert "PanicException" in said
