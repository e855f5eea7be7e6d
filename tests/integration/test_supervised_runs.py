"""Runs under a supervisor: processes that die or stand still are replaced, refusals are not."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from plan_parts import FLAGS, make_plan
from servers.mock_kafka import PRODUCE_API, MockKafka

from console import exits
from flows.edges.kafka_sink import KafkaSink
from flows.replay import RunOptions, run
from lab.bench import inputs, processes
from lab.bench.content import compare, read_content
from lab.bench.crash import wait_for_work

pytestmark = pytest.mark.long

EVENTS, SEED, ACCOUNTS = 24_000, 5, 1_000
POLL_SECONDS = 0.02
SETTINGS = (
    "shards=4",  # an item for each shard of each block is what costs here
    "epoch_seconds=0.2",
    "intake.block_bytes=65536",
    "detectors.order_to_trade.ratio_max=3",
    "log.format=json",
    "supervisor.stall_seconds=2",
    "supervisor.start_seconds=10",
    "supervisor.pause_seconds=0.1",
)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    inputs.write_lines(path, inputs.roughen(inputs.market_lines(EVENTS, SEED, ACCOUNTS), SEED))
    return path


def start(day: Path, data: Path, restarts: int, *more: str) -> "subprocess.Popen[bytes]":
    command = processes.replay_command([day], data, 2, (*FLAGS, *SETTINGS, *more))
    return processes.start([*command, "--restarts", str(restarts)])


def families(supervisor: int) -> Iterator[tuple[int, int]]:
    """Yield process 0 and its worker of each life, once both are there."""
    before: set[int] = set()
    while True:
        first = processes.children_of(supervisor)
        found = [*first, *(child for each in first for child in processes.children_of(each))]
        if len(found) == 2 and not before & set(found):
            before = set(found)
            yield found[0], found[1]
        select.select([], [], [], POLL_SECONDS)


def wait_for_epoch(process: "subprocess.Popen[bytes]", data: Path) -> None:
    """Wait until the engine has written another snapshot, or the run has ended."""
    before = newest(data)
    while process.poll() is None and newest(data) == before:
        select.select([], [], [], POLL_SECONDS)


def newest(data: Path) -> int:
    files = (data / "recovery").glob("part-*.sqlite3-wal")
    return max((file.stat().st_mtime_ns for file in files), default=0)


def events_of(said: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]


@pytest.mark.slow
def test_workers_that_die_and_stand_still_are_replaced_and_nothing_is_lost(
    day: Path, tmp_path: Path
) -> None:
    plan = make_plan(tmp_path / "unbroken", [day], SETTINGS)
    assert run(plan, RunOptions(engine="loop")).is_complete

    data = make_plan(tmp_path / "data", [day], SETTINGS).data
    process = start(day, data, 9)
    lives = families(process.pid)
    for blow in (signal.SIGKILL, signal.SIGSTOP):
        _, worker = next(lives)
        wal = data / "store.sqlite3-wal"
        wait_for_work(process, data, [wal.stat().st_mtime_ns] if wal.is_file() else [])
        wait_for_epoch(process, data)
        with suppress(ProcessLookupError):
            os.kill(worker, blow)
    out, said = process.communicate()

    assert process.returncode == 0, said
    assert json.loads(out)["complete"]
    difference = compare(read_content(plan.data), read_content(data))
    assert difference.is_none, difference
    (*_, last) = (event for event in events_of(said) if event["event"] == "run_restarted")
    assert last["died"] >= 1
    assert last["hung"] >= 1


def test_an_output_that_waits_for_kafka_says_so(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("slow")
    mock_kafka.set_round_trip(400)  # of several requests before the first message
    beats: list[int] = []
    sink = KafkaSink(f"kafka://{mock_kafka.bootstrap}/slow", {}, lambda: beats.append(1))
    sink.send([("key", b"value")])
    assert beats
    mock_kafka.set_round_trip(0)
    sink.close()


def test_a_refusal_in_one_of_two_processes_is_told_and_not_tried_again(
    day: Path, tmp_path: Path, mock_kafka: MockKafka
) -> None:
    mock_kafka.create_topic("refused", 1)
    mock_kafka.refuse(PRODUCE_API, *[KafkaError.MSG_SIZE_TOO_LARGE] * 50)
    output = f"outputs.alerts=kafka://{mock_kafka.bootstrap}/refused"
    process = start(day, tmp_path / "data", 9, output)
    _, said = process.communicate()
    assert process.returncode == exits.UNAVAILABLE
    assert "did not take a message for topic refused" in said.decode()
    assert "PanicException" not in said.decode()
    events = [event["event"] for event in events_of(said) if event["process"] == 0]
    assert events.count("run_started") == 1
    assert "run_restarted" not in events
