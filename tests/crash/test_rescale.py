"""More processes and fewer, in the middle of a run, with kills between: the same content."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from plan_parts import FLAGS, make_plan
from servers.mock_kafka import MockKafka

from flows.crash import VARIABLE
from flows.monitor import WRITER_SHARD, shard_key
from flows.plan import Plan
from flows.processes import EXIT_PEER_LOST
from flows.replay import Outcome, RunOptions, run
from flows.writer import Progress
from lab.bench import inputs, processes, topics
from lab.bench.content import compare, read_content

pytestmark = pytest.mark.long

EVENTS, SEED, ACCOUNTS = 16_000, 3, 600
SHARDS, PARTITIONS = 8, 4
A_WHILE = EVENTS // 10
SETTINGS = (
    f"shards={SHARDS}",
    "epoch_seconds=0.1",
    "intake.block_bytes=32768",
    "intake.unacknowledged_bytes_max=65536",
    "intake.idle_seconds=3600",  # a heartbeat would let a clock have its say
    "kafka.messages_at_once=150",
    "detectors.order_to_trade.ratio_max=3",
    "detectors.win_rate.threshold=0.5",
)
ALL: Callable[[Progress], None] = lambda _progress: None  # noqa: E731


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return inputs.roughen(inputs.market_lines(EVENTS, SEED, ACCOUNTS), SEED)


@pytest.fixture(params=["file", "kafka"])
def place(
    request: pytest.FixtureRequest, lines: list[bytes], tmp_path: Path, mock_kafka: MockKafka
) -> str:
    """Return where the day is: a file, or two topics."""
    if request.param == "file":
        inputs.write_lines(tmp_path / "day.ndjson", lines)
        return str(tmp_path / "day.ndjson")
    for topic in ("orders", "app"):
        mock_kafka.create_topic(topic, PARTITIONS)
    topics.publish(mock_kafka.bootstrap, lines, "orders", "app")
    return f"kafka://{mock_kafka.bootstrap}/orders,app?until=end"


def plan_of(place: str, data: Path) -> Plan:
    return make_plan(data, [place], SETTINGS)


def live(
    place: str, data: Path, count: int, on_progress: Callable[[Progress], None] = ALL
) -> Outcome:
    """Run in so many processes, of which this one is the first."""
    options = RunOptions(
        processes=count,
        worker_command=(sys.executable, "-m", "console.cli", "worker"),
        flags=(*FLAGS, *SETTINGS),
    )
    return run(plan_of(place, data), options, on_progress)


def stop_after_a_while(place: str, data: Path, count: int) -> None:
    began: list[int] = []

    def look(progress: Progress) -> None:
        began.append(progress.events)
        if progress.events > began[0] + A_WHILE:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not live(place, data, count, look).is_complete


def die(place: str, data: Path, count: int, point: str) -> None:
    command = processes.replay_command([place], data, count, (*FLAGS, *SETTINGS))
    done = subprocess.run(
        command, env=processes.environment({VARIABLE: point}), capture_output=True, check=False
    )
    # Process 0 is told by the signal; of another one it tells by its exit code.
    assert done.returncode in {-signal.SIGKILL, EXIT_PEER_LOST}, done.stderr


def keys_of(data: Path, step: str) -> set[str]:
    """Return under which names a step has left state."""
    found = set()
    for file in plan_of("-", data).paths.recovery.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(file)) as store:
            query = "SELECT DISTINCT state_key FROM snaps WHERE step_id = ?"
            found |= {key for (key,) in store.execute(query, (f"tapewatch.{step}",))}
    return found


@pytest.mark.slow
def test_a_run_rescaled_in_its_middle_and_killed_between_leaves_the_same(
    place: str, tmp_path: Path
) -> None:
    assert live(place, tmp_path / "unbroken", 1).is_complete

    data = tmp_path / "data"
    stop_after_a_while(place, data, 1)
    die(place, data, 2, "snapshot.account:9")
    stop_after_a_while(place, data, 1)
    stop_after_a_while(place, data, 2)
    die(place, data, 4, "between:9")
    assert live(place, data, 1).is_complete

    expected = read_content(tmp_path / "unbroken")
    assert len(expected.parts["alerts"]) > 60
    difference = compare(expected, read_content(data))
    assert difference.is_none, difference
    for each in (data, tmp_path / "unbroken"):
        assert keys_of(each, "accounts") == {shard_key(shard, SHARDS) for shard in range(SHARDS)}
        assert keys_of(each, "write") == {shard_key(WRITER_SHARD, SHARDS, "w")}
